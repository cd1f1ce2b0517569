"""The deployments in a work pool, as the guide says: two workers of a real Prefect server, one of
which dies, and a `serve` beside them."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import psutil
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from pytest_httpserver import HTTPServer

from tests.support.installation import Installation, entry
from tests.support.servers import PrefectServer
from tests.support.serving import eventually, serving
from tests.support.whole_way import Source

pytestmark = pytest.mark.timeout(600)
PATIENCE = 180
ROOT = Path(__file__).parents[2]
PREFECT = Path(sys.executable).with_name("prefect")
HOURLY = "collect/hourly"


@dataclass
class Pool:
    """A clone with the shipped deployments, an installation of the workers', and their server."""

    clone: Path
    installation: Installation
    client: SyncPrefectClient
    workers: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def prefect(self, *arguments: str) -> None:
        """Prefect's own command, in the clone."""
        command = [str(PREFECT), "--no-prompt", *arguments]
        env = {**self.installation.environment, "PREFECT_HOME": str(self.clone.parent / "prefect")}
        subprocess.run(command, cwd=self.clone, env=env, check=True)

    @contextmanager
    def worker(self, **places: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A worker that was started in a folder of its own; all of it ends with the block."""
        here = self.installation
        kept = {k: v for k, v in here.environment.items() if not k.startswith("FEDVITALS_")}
        name = f"worker-{len(self.workers)}"
        home = {"PREFECT_HOME": str(here.folder / name)}
        with (here.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(PREFECT), "worker", "start", "--pool", "fedvitals", "--name", name],
                cwd=here.folder,
                env={**kept, **home, **places},
                stdout=log,
                stderr=log,
            )
        self.workers[process.pid] = process
        try:
            yield process
        finally:
            kill_whole(process)

    def start(self, name: str = HOURLY) -> UUID:
        """A run of the deployment."""
        deployment = self.client.read_deployment_by_name(name)
        return self.client.create_flow_run_from_deployment(deployment.id).id

    def ended(self, run: UUID) -> FlowRun:
        """The run at its end."""

        def final() -> FlowRun | None:
            found = self.client.read_flow_run(run)
            return found if found.state is not None and found.state.is_final() else None

        found: FlowRun = eventually(final, PATIENCE)
        return found

    def ending(self, name: str = HOURLY) -> tuple[str, str]:
        """State and message of a run to its end."""
        state = self.ended(self.start(name)).state
        assert state is not None
        return state.name or "", state.message or ""


def kill_whole(process: "subprocess.Popen[bytes]") -> None:
    """End it and all that it started at once, as with its machine."""
    if process.poll() is None:
        whole = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for each in whole:
            each.send_signal(signal.SIGKILL)
        process.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with PrefectServer(tmp_path_factory.mktemp("prefect")) as running:
        yield running


@pytest.fixture
def source(httpserver: HTTPServer) -> Iterator[Source]:
    made = Source(httpserver)
    made.put("a")
    yield made
    made.gate.set()


@pytest.fixture
def pool(tmp_path: Path, server: PrefectServer, source: Source) -> Iterator[Pool]:
    """As the guide has it, but for the schedules."""
    variables = {"PREFECT_API_URL": server.api_url, "PROMETHEUS_URL": source.url}
    here = Installation(tmp_path / "worker", variables).configure({"a": entry("a")})
    clone = tmp_path / "clone"
    (clone / "deployments").mkdir(parents=True)
    (clone / "flows").symlink_to(ROOT / "flows")
    shipped = (ROOT / "deployments" / "prefect.yaml").read_text("utf-8")
    (clone / "deployments" / "prefect.yaml").write_text(
        shipped.replace("active: true", "active: false"), "utf-8"
    )
    with (
        temporary_settings({PREFECT_API_URL: server.api_url}),
        get_client(sync_client=True) as client,
    ):
        made = Pool(clone, here, client)
        made.prefect("work-pool", "create", "fedvitals", "--type", "process", "--overwrite")
        made.prefect("deploy", "--name", "hourly", "--prefect-file", "deployments/prefect.yaml")
        yield made


def places(pool: Pool) -> dict[str, str]:
    here = pool.installation
    return {"FEDVITALS_HOME": str(here.home), "FEDVITALS_CONFIG": str(here.config)}


def with_places(pool: Pool) -> None:
    """Deploys anew, with the folders as job variables."""
    path = pool.clone / "deployments" / "prefect.yaml"
    content = yaml.safe_load(path.read_text("utf-8"))
    for each in content["deployments"]:
        each["work_pool"]["job_variables"] = {"env": places(pool)}
    path.write_text(yaml.safe_dump(content), "utf-8")
    pool.prefect("deploy", "--name", "hourly", "--prefect-file", "deployments/prefect.yaml")


@pytest.mark.promise(
    "Prefect: a work pool's run uses its worker's home and config, and fails without them"
)
def test_a_worker_that_does_not_say_where_home_is(pool: Pool) -> None:
    before = sorted(pool.clone.rglob("*"))
    with pool.worker():
        name, message = pool.ending()

        # what the deployment says does as well
        with_places(pool)
        assert pool.ending()[0] == "Completed"

    assert name == "Failed"
    assert message.startswith("FEDVITALS_HOME and FEDVITALS_CONFIG: no absolute path is set")
    assert "Fix: set it for the worker, or in job_variables.env" in message
    # nothing is made where the code is
    assert sorted(pool.clone.rglob("*")) == before
    assert pool.installation.kept("collect")["values"]["landed"] > 0


@pytest.mark.promise(
    "Prefect: a work pool's run uses its worker's home and config, and fails without them"
)
@pytest.mark.promise(
    "Prefect: after a worker's death its place is free once its run is deleted, and another worker goes on"
)
@pytest.mark.parametrize("whole", [True, False])
def test_one_of_two_workers_dies(pool: Pool, source: Source, whole: bool) -> None:
    """With its machine, or just by itself."""
    source.gate.clear()
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(pool.worker(**places(pool)))
        dying = pool.start()
        assert source.reached.wait(PATIENCE)
        worker = pool.workers[worker_of(pool, dying)]
        if whole:
            kill_whole(worker)
        worker.kill()
        source.gate.set()

        if whole:
            # the place is held for the dead one
            name, message = pool.ending()
            assert (name, "concurrency limit" in message) == ("Cancelled", True)
            assert pool.client.read_flow_run(dying).state_name == "Running"
            # as the runbook has it
            pool.prefect("flow-run", "delete", str(dying))
        else:
            assert pool.ended(dying).state_name == "Crashed"
        assert pool.ending()[0] == "Completed"

    assert pool.installation.kept("collect")["values"]["landed"] > 0
    assert not (pool.clone / ".fedvitals").exists()


def worker_of(pool: Pool, run: UUID) -> int:
    """The pid of the worker whose child works on the run."""
    pid = int(str(pool.client.read_flow_run(run).infrastructure_pid).split(":")[-1])
    (found,) = {each.pid for each in psutil.Process(pid).parents()} & set(pool.workers)
    return found


@pytest.mark.promise("Prefect: a work pool's worker does not break the runs of `serve` beside it")
def test_a_worker_beside_serve(pool: Pool) -> None:
    """Which takes over deployments that were deployed to the pool."""
    log = pool.installation.folder / "serve.log"
    with pool.worker(**places(pool)) as worker, serving(pool.installation):
        eventually(lambda: "serving backfill/backfill" in log.read_text(), PATIENCE)
        assert pool.ending()[0] == "Completed"
        assert worker.poll() is None
        assert b"submitting" not in (pool.installation.folder / "worker-0.log").read_bytes()
    assert pool.client.read_deployment_by_name(HOURLY).work_pool_name is None
