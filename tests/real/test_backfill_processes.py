"""`fedvitals backfill` as processes: killed and started again, four at once, and on a Dask cluster."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import psutil
import pytest
from pytest_httpserver import HTTPServer

from tasks.core.catalogue import Catalogue
from tasks.core.window import Window, iso
from tasks.lake.tables import Lake
from tests.support.fakes.prometheus import FakePrometheus, FakeSeries
from tests.support.installation import COMMAND, Installation, entry
from tests.support.servers import InfluxServer, PrefectServer
from tests.support.service_history import stored

pytestmark = pytest.mark.slow

HOURS = 12
START = datetime(2026, 1, 5, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=HOURS))
SPAN = ("--start", iso(WINDOW.start), "--stop", iso(WINDOW.stop))
# what the slowest machine needs until all commands are under way
PATIENCE = 240


@dataclass
class GatedPrometheus(FakePrometheus):
    """Answers the query `a`, whose value is the time, as long as the gate is open."""

    gate: Event = field(default_factory=Event)
    pause: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.gate.set()
        counted = FakeSeries({}, lambda _: "1")
        self.queries |= {"a": [FakeSeries({}, self._value)], "count(\na\n)": [counted]}

    def _value(self, time_: int) -> str:
        assert self.gate.wait(PATIENCE)
        # once a range, at its first moment
        if time_ % 3_600_000 == 0:
            time.sleep(self.pause)
        return str(time_ // 1000)

    @property
    def windows(self) -> list[str]:
        """The start of each range of data that was asked for."""
        return [form["start"] for form in self.asked if form.get("query") == "a"]


@pytest.fixture
def prometheus() -> Iterator[GatedPrometheus]:
    with HTTPServer(threaded=True) as server:
        yield GatedPrometheus(server)


def an_installation(
    folder: Path, prefect: PrefectServer, prometheus: GatedPrometheus
) -> Installation:
    folder.mkdir(exist_ok=True)
    made = Installation(
        folder, {"PREFECT_API_URL": prefect.api_url, "PROMETHEUS_URL": prometheus.url}
    )
    # the service waits at its gate for longer than a query should take
    return made.configure({"a": entry("a")}, retry_timeout="60s")


@pytest.fixture
def installed(
    tmp_path: Path, prefect_server: PrefectServer, prometheus: GatedPrometheus
) -> Installation:
    return an_installation(tmp_path / "here", prefect_server, prometheus)


@contextmanager
def begun(here: Installation, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process, which is killed at the end of the block if it still runs."""
    process = subprocess.Popen(
        [str(COMMAND), "backfill", *SPAN, "--chunk", "1h", "--json", *arguments],
        cwd=here.folder,
        env=here.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def landed(here: Installation) -> list[tuple[Any, float]]:
    measurement = Catalogue.read(here.config / "metrics.yaml")["a"]
    frame = Lake(str(here.home / "lake")).read(measurement, "production", WINDOW)
    return list(zip(frame["time"].tolist(), frame["a"].tolist(), strict=True))


def whole() -> list[float]:
    return [START.timestamp() + 60 * n for n in range(60 * HOURS)]


@pytest.mark.promise(
    "Backfill: a killed backfill continues, and reads again only the chunks that were under way"
)
def test_killed_and_started_again_it_goes_on(
    installed: Installation, prometheus: GatedPrometheus
) -> None:
    prometheus.pause = 0.5
    with begun(installed) as process:
        wait_until(lambda: len(prometheus.windows) >= 6 or process.poll() is not None)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = len(set(prometheus.windows))
    assert 6 <= before < HOURS
    prometheus.pause = 0.0

    again = installed.here("backfill", *SPAN, "--chunk", "1h", "--json")

    assert again.code == 0
    assert [value for _, value in landed(installed)] == whole()
    asked = Counter(prometheus.windows)
    assert len(asked) == HOURS
    # of the two workers each had one chunk under way
    assert sum(count - 1 for count in asked.values()) <= 2
    assert again.document["values"]["landed"] >= 60 * (HOURS - before)
    once_more = installed.here("backfill", *SPAN, "--json")
    assert once_more.document["values"]["extracted"] == 0
    assert Counter(prometheus.windows) == asked


@pytest.mark.promise("Two runs: of four backfills of one window one works, and the others name it")
def test_of_four_at_once_one_works_and_the_others_name_it(
    installed: Installation, prometheus: GatedPrometheus
) -> None:
    prometheus.gate.clear()
    with (
        begun(installed) as first,
        begun(installed) as second,
        begun(installed) as third,
        begun(installed) as fourth,
    ):
        four = [first, second, third, fourth]
        wait_until(lambda: sum(one.poll() is not None for one in four) == 3)
        [worker] = [one for one in four if one.poll() is None]
        prometheus.gate.set()
        out, _ = worker.communicate(timeout=PATIENCE)
        others = [(one.returncode, one.communicate()[0]) for one in four if one is not worker]
    receipt = json.loads(out)
    assert (worker.returncode, receipt["values"]["landed"]) == (0, 60 * HOURS)
    for code, text in others:
        assert code == 3
        [line] = json.loads(text)["measurements"]
        assert line["state"] == "pending"
        holder = f"locked by run {receipt['run_id']} (process {worker.pid} on "
        assert holder in line["problems"][0]
    assert Counter(prometheus.windows).most_common(1)[0][1] == 1
    assert [value for _, value in landed(installed)] == whole()


@pytest.mark.promise(
    "Backfill: Dask lands what threads land, and commits only under the run's lock"
)
def test_dask_lands_what_threads_land(
    tmp_path: Path, prefect_server: PrefectServer, prometheus: GatedPrometheus
) -> None:
    documents, rows = [], []
    for runner in ("threads", "dask"):
        here = an_installation(tmp_path / runner, prefect_server, prometheus)
        ran = here.run(
            "backfill", *SPAN, "--chunk", "3h", "--runner", runner, "--json", timeout=PATIENCE
        )
        assert (ran.code, runner) == (0, runner)
        differs = dict.fromkeys(("seconds", "run_id", "lag_seconds", "places"))
        documents.append({**ran.document, **differs})
        rows.append(landed(here))
        again = here.here("backfill", *SPAN, "--json")
        assert again.document["values"]["extracted"] == 0
    assert documents[0] == documents[1]
    assert rows[0] == rows[1]
    assert [value for _, value in rows[1]] == whole()


@pytest.mark.promise(
    "Backfill: the chunks of a killed Dask worker go to other workers, and every value arrives once"
)
def test_a_dask_worker_is_killed(
    tmp_path: Path,
    prefect_server: PrefectServer,
    prometheus: GatedPrometheus,
    influxdb: InfluxServer,
    bucket: str,
) -> None:
    here = an_installation(tmp_path / "here", prefect_server, prometheus)
    here.variables |= {
        "INFLUXDB_URL": influxdb.url,
        "INFLUXDB_TOKEN": influxdb.token,
        "INFLUXDB_ORG": influxdb.org,
        "INFLUXDB_BUCKET": bucket,
    }
    prometheus.pause = 1.0
    with begun(here, "--runner", "dask", "--workers", "2") as process:
        wait_until(lambda: len(prometheus.windows) >= 3 or process.poll() is not None)
        workers = dask_workers(process.pid)
        os.kill(workers[0], signal.SIGKILL)
        prometheus.pause = 0.0
        out, err = process.communicate(timeout=PATIENCE)

    # the cluster gives what it had under way to others, which find what of it was landed
    assert (process.returncode, len(workers)) == (0, 2), err
    assert json.loads(out)["measurements"][0]["problems"] == []
    again = here.here("backfill", *SPAN, "--json")
    assert (again.code, again.document["values"]["extracted"]) == (0, 0)
    assert [value for _, value in landed(here)] == whole()
    held = stored(influxdb, bucket)
    assert sorted(value for key, value in held.items() if key[0] == "a") == whole()


def dask_workers(pid: int) -> list[int]:
    """The processes of this run in which chunks are worked on."""
    return [
        child.pid
        for child in psutil.Process(pid).children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
