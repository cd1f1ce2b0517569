"""kill -9 at every boundary and in the midst of every stage; then one run that is let through, and
InfluxDB and the lake have, value by value, what they would have had without."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from tasks.lake.delta import _write
from tasks.lake.durability import sync
from tasks.lake.windows import append_states
from tasks.ledger.ledger import Ledger
from tasks.pipeline.land import _Landing, land
from tasks.pipeline.process import _compare, process
from tasks.runs.base.plan import make_plan
from tasks.sinks.influxdb import InfluxSink, _Load
from tasks.sinks.influxdb_http import InfluxHttp
from tasks.sources.prometheus import PrometheusSource, ask_range
from tasks.stages.artifacts import publish
from tasks.validation.validate import validate
from tests.support.faults import (
    DELETE,
    SPAN,
    WRITE,
    an_installation,
    assert_whole,
    changed_history,
    first_history,
    impossible,
    possible,
    read_again,
    run,
    values_of,
)
from tests.support.installation import Installation
from tests.support.nursery import FAULT_POINT, Nursery
from tests.support.proxy import Fault, a_proxy
from tests.support.servers import InfluxServer, PrefectServer, PrometheusServer

pytestmark = pytest.mark.slow

KILLED = -signal.SIGKILL
# of a whole command, on the slowest machine
PATIENCE = 250


def point(function: Any, when: str, number: int = 1) -> str:
    """As the fault point's own module reads it."""
    inner = getattr(function, "fn", function)
    return f"{inner.__module__}:{inner.__qualname__}:{when}:{number}"


# each boundary between two stages, and points inside of each; the first run has two chunks: the
# newest cell, then the two before it
FIRST = [
    point(make_plan, "after"),
    point(PrometheusSource.extract, "before"),
    point(ask_range, "before", 2),
    point(_compare, "after"),
    point(validate, "after"),
    point(land, "before", 2),
    point(_write, "parquet"),
    point(_write, "entry"),
    point(_Landing._commit_quarantine, "after"),
    point(_write, "parquet", 2),
    point(_write, "entry", 2),
    *(point(sync, "before", number) for number in (4, 8, 16)),
    point(_Landing._commit_rows, "after"),
    point(Ledger.record, "after", 2),
    point(InfluxHttp.write, "before", 2),
    point(InfluxHttp.write, "after", 5),
    point(InfluxSink.load, "after"),
    point(Ledger.record_loads, "after"),
    point(process, "after", 2),
    point(append_states, "before"),
    point(append_states, "after"),
    point(Ledger.keep_receipt, "after"),
    point(append_states, "after", 2),
]
# the second one finds other values in all cells
CHANGED = [
    point(_Landing._forget, "after"),
    point(_Landing._commit_quarantine, "after"),
    point(_write, "entry", 2),
    point(_Landing._commit_rows, "after"),
    point(_Landing._commit_rows, "after", 2),
    point(Ledger.record, "after", 2),
    point(InfluxHttp.delete, "after"),
    point(_Load.erase, "after"),
    point(InfluxHttp.write, "after"),
    point(Ledger.record_loads, "before"),
    point(append_states, "before"),
]
# the file system is watched by what Linux has for it
NEEDS_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs inotify")


def cases(points: list[str]) -> list[object]:
    marked = {"parquet", "entry"}
    return [
        pytest.param(each, marks=NEEDS_LINUX if each.split(":")[2] in marked else ())
        for each in points
    ]


@dataclass(frozen=True)
class Service:
    """The same service when it was read first, and later."""

    first: PrometheusServer
    changed: PrometheusServer


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with ExitStack() as stack:
        texts = (first_history(), changed_history())
        homes = [tmp_path_factory.mktemp("prometheus") for _ in texts]
        servers = [PrometheusServer(home, text) for home, text in zip(homes, texts, strict=True)]
        yield Service(*[stack.enter_context(server) for server in servers])


@pytest.fixture
def here(
    tmp_path: Path, service: Service, influxdb: InfluxServer, make_bucket: Callable[[], str]
) -> Installation:
    return an_installation(tmp_path, service.first.url, influxdb, make_bucket())


def killed(here: Installation, nursery: Nursery, where: str) -> None:
    """A run that dies there, and nowhere else."""
    log = here.folder / "child.log"
    nursery.begin(here.environment, *SPAN, log, where)
    assert nursery.end() == KILLED, log.read_text()


@pytest.mark.promise("Faults: kill -9 of a first run at each point between and inside its stages")
@pytest.mark.parametrize("where", cases(FIRST))
def test_the_first_run_is_killed(
    where: str, here: Installation, nursery: Nursery, service: Service, influxdb: InfluxServer
) -> None:
    killed(here, nursery, where)

    receipt = run(here)

    values = values_of(service.first, here)
    # a line may say that the lake got its states again
    assert not any(line.problems for line in receipt.measurements)
    assert_whole(here, influxdb, possible(values), impossible(values))


@pytest.mark.promise(
    "Faults: kill -9 of a run that finds other values in every cell, its erasure in InfluxDB among them"
)
@pytest.mark.parametrize("where", cases(CHANGED))
def test_the_run_that_finds_other_values_is_killed(
    where: str, here: Installation, nursery: Nursery, service: Service, influxdb: InfluxServer
) -> None:
    run(here)
    here.variables["PROMETHEUS_URL"] = service.changed.url
    killed(here, nursery, where)

    receipt = run(here)

    assert [line.problems for line in receipt.measurements] == [()]
    before, now = values_of(service.first, here), values_of(service.changed, here)
    assert len(read_again(before, now)) > len(possible(now))
    assert_whole(here, influxdb, read_again(before, now), impossible(now))


@pytest.mark.promise("Faults: kill -9 while InfluxDB has half of a post, or has not answered yet")
def test_killed_while_influxdb_has_half_of_a_post(
    here: Installation,
    nursery: Nursery,
    service: Service,
    influxdb: InfluxServer,
) -> None:
    pids: Queue[int] = Queue()
    with a_proxy(influxdb.url) as proxy:
        here.variables["INFLUXDB_URL"] = proxy.url
        kill = Fault("half_request", act=lambda: os.kill(pids.get(), signal.SIGKILL))
        proxy.script(WRITE, None, None, kill)
        pids.put(nursery.begin(here.environment, *SPAN, here.folder / "child.log"))
        assert nursery.end() == KILLED
        assert len(proxy.times(WRITE)) == 3

        run(here)

        values = values_of(service.first, here)
        assert_whole(here, influxdb, possible(values), impossible(values))


@pytest.mark.promise("Faults: kill -9 while InfluxDB has half of a post, or has not answered yet")
@pytest.mark.parametrize("path", [DELETE, WRITE])
def test_killed_when_influxdb_has_done_it_and_before_its_answer(
    path: str,
    here: Installation,
    nursery: Nursery,
    service: Service,
    influxdb: InfluxServer,
) -> None:
    pids: Queue[int] = Queue()
    with a_proxy(influxdb.url) as proxy:
        here.variables["INFLUXDB_URL"] = proxy.url
        run(here)
        here.variables["PROMETHEUS_URL"] = service.changed.url
        proxy.script(path, Fault("swallowed", act=lambda: os.kill(pids.get(), signal.SIGKILL)))
        pids.put(nursery.begin(here.environment, *SPAN, here.folder / "child.log"))
        assert nursery.end() == KILLED

        run(here)

        before, now = values_of(service.first, here), values_of(service.changed, here)
        assert_whole(here, influxdb, read_again(before, now), impossible(now))


@pytest.mark.promise("Faults: kill -9 of the whole command `collect`, also while it reports")
@pytest.mark.parametrize("where", [point(_Landing._commit_rows, "after"), point(publish, "before")])
def test_the_whole_command_is_killed(
    where: str,
    here: Installation,
    prefect_server: PrefectServer,
    service: Service,
    influxdb: InfluxServer,
) -> None:
    here.variables["PREFECT_API_URL"] = prefect_server.api_url
    armed = {"PYTHONPATH": str(FAULT_POINT), "FAULT_POINT": where}
    command = ("collect", "--start", SPAN[0], "--stop", SPAN[1], "--json")

    dead = replace(here, variables={**here.variables, **armed}).run(*command, timeout=PATIENCE)
    ran = here.run(*command, timeout=PATIENCE)

    assert (dead.code, dead.out) == (KILLED, "")
    assert [line.get("problems", []) for line in ran.document["measurements"]] == [[]]
    values = values_of(service.first, here)
    assert_whole(here, influxdb, possible(values), impossible(values))
