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
from tests.support.process import environment
from tests.support.servers import PrefectServer
from tests.support.serving import eventually, serving
from tests.support.whole_way import Source

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PATIENCE = 180
ROOT = Path(__file__).parents[2]
PREFECT = Path(sys.executable).with_name("prefect")
HOURLY = "collect/hourly"


@dataclass
class Pool:
    """A clone that is deployed to a work pool, and an installation of its workers."""

    clone: Path
    installation: Installation
    client: SyncPrefectClient
    workers: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @contextmanager
    def worker(self, **places: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A worker that was started in a folder of its own; all of it ends with the block."""
        here = self.installation
        kept = {k: v for k, v in here.environment.items() if not k.startswith("FEDVITALS_")}
        name = f"worker-{len(self.workers)}"
        own = {"PREFECT_HOME": str(here.folder / name), "PREFECT_WORKER_QUERY_SECONDS": "1"}
        with (here.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(PREFECT), "worker", "start", "--pool", "fedvitals", "--name", name],
                cwd=here.folder,
                env={**kept, **own, **places},
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


def prefect(clone: Path, server: PrefectServer, *arguments: str) -> None:
    """Prefect's own command, in the clone."""
    env = environment({**server.client_env(), "PREFECT_HOME": str(clone.parent / "prefect")})
    subprocess.run([str(PREFECT), "--no-prompt", *arguments], cwd=clone, env=env, check=True)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, server: PrefectServer) -> Path:
    """As the guide has it, but for the schedules, and twice: once with folders of its own."""
    made = tmp_path_factory.mktemp("pool") / "clone"
    (made / "deployments").mkdir(parents=True)
    (made / "flows").symlink_to(ROOT / "flows")
    shipped = (ROOT / "deployments" / "prefect.yaml").read_text("utf-8")
    content = yaml.safe_load(shipped.replace("active: true", "active: false"))
    (hourly,) = [each for each in content["deployments"] if each["name"] == "hourly"]
    here = placed(made)
    env = {"FEDVITALS_HOME": str(here.home), "FEDVITALS_CONFIG": str(here.config)}
    pool = {**hourly["work_pool"], "job_variables": {"env": env}}
    content["deployments"].append({**hourly, "name": "placed", "work_pool": pool})
    path = made / "deployments" / "prefect.yaml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    prefect(made, server, "work-pool", "create", "fedvitals", "--type", "process")
    names = ("--name", "hourly", "--name", "placed")
    prefect(made, server, "deploy", *names, "--prefect-file", "deployments/prefect.yaml")
    return made


def placed(clone: Path) -> Installation:
    """The installation that the deployment itself names."""
    return Installation(clone.parent / "placed").configure({"a": entry("a")})


@pytest.fixture
def pool(tmp_path: Path, clone: Path, server: PrefectServer, source: Source) -> Iterator[Pool]:
    variables = {"PREFECT_API_URL": server.api_url, "PROMETHEUS_URL": source.url}
    here = Installation(tmp_path / "worker", variables).configure({"a": entry("a")})
    with (
        temporary_settings({PREFECT_API_URL: server.api_url}),
        get_client(sync_client=True) as client,
    ):
        yield Pool(clone, here, client)


def places(pool: Pool) -> dict[str, str]:
    here = pool.installation
    return {"FEDVITALS_HOME": str(here.home), "FEDVITALS_CONFIG": str(here.config)}


@pytest.mark.promise(
    "Prefect: a work pool's run uses its worker's home and config, and fails without them"
)
def test_a_worker_that_does_not_say_where_home_is(pool: Pool) -> None:
    before = sorted(pool.clone.rglob("*"))
    with pool.worker():
        name, message = pool.ending()
        # what the deployment says does as well
        assert pool.ending("collect/placed")[0] == "Completed"

    assert name == "Failed"
    assert message.startswith("FEDVITALS_HOME and FEDVITALS_CONFIG: no absolute path is set")
    assert "Fix: set it for the worker, or in job_variables.env" in message
    # nothing is made where the code is
    assert sorted(pool.clone.rglob("*")) == before
    assert placed(pool.clone).kept("collect")["values"]["landed"] > 0


@pytest.mark.promise(
    "Prefect: a work pool's run uses its worker's home and config, and fails without them"
)
@pytest.mark.promise(
    "Prefect: after a worker's death its place is free once its run is deleted, and another worker goes on"
)
def test_workers_die(pool: Pool, source: Source, server: PrefectServer) -> None:
    """The first by itself, the second with its machine."""
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(pool.worker(**places(pool)))
        alone, worker = at_work(pool, source)
        worker.kill()
        source.gate.set()
        assert pool.ended(alone).state_name == "Crashed"

        # the place was free at once; the other worker has it
        whole, worker = at_work(pool, source)
        kill_whole(worker)
        source.gate.set()
        stack.enter_context(pool.worker(**places(pool)))
        name, message = pool.ending()
        assert (name, "concurrency limit" in message) == ("Cancelled", True)
        assert pool.client.read_flow_run(whole).state_name == "Running"

        # as the runbook has it
        prefect(pool.clone, server, "flow-run", "delete", str(whole))
        name, message = pool.ending()

    assert (name, pool.clone.joinpath(".fedvitals").exists()) == ("Completed", False)
    assert pool.installation.kept("collect")["values"]["landed"] > 0


def at_work(pool: Pool, source: Source) -> tuple[UUID, "subprocess.Popen[bytes]"]:
    """A run that waits for the source, and its worker."""
    source.gate.clear()
    source.reached.clear()
    run = pool.start()
    assert source.reached.wait(PATIENCE)
    return run, pool.workers[worker_of(pool, run)]


def worker_of(pool: Pool, run: UUID) -> int:
    """The pid of the worker whose child works on the run."""
    pid = int(str(pool.client.read_flow_run(run).infrastructure_pid).split(":")[-1])
    (found,) = {each.pid for each in psutil.Process(pid).parents()} & set(pool.workers)
    return found


@pytest.mark.promise("Prefect: a work pool's worker does not break the runs of `serve` beside it")
def test_a_worker_beside_serve(pool: Pool) -> None:
    """Which takes over deployments that were deployed to the pool."""
    log = pool.installation.folder / "serve.log"
    pool.installation.variables["PREFECT_RUNNER_POLL_FREQUENCY"] = "1"
    with pool.worker(**places(pool)) as worker, serving(pool.installation):
        eventually(lambda: "serving backfill/backfill" in log.read_text(), PATIENCE)
        assert pool.ending()[0] == "Completed"
        assert worker.poll() is None
        assert b"submitting" not in (pool.installation.folder / "worker-0.log").read_bytes()
    assert pool.client.read_deployment_by_name(HOURLY).work_pool_name is None
