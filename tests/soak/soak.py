"""A run every ten seconds for SOAK_MINUTES (20), nearly each with a fault of its own, by chance.

Real Prometheus, real InfluxDB, and runs that are processes. Afterwards the faults end, runs go on
until nothing is owed, and everything that Prometheus has of the time is in InfluxDB and in the lake,
once. Otherwise the exit code is 1 and the difference is printed. SOAK_SEED repeats the choices.
"""

import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.core.receipt import Receipt
from tasks.core.window import Window
from tasks.ledger.ledger import Ledger
from tests.real.test_faults_kill import CHANGED, FIRST
from tests.support.faults import (
    NAME,
    RANGE,
    ROOMS,
    WRITE,
    an_installation,
    landed,
    measurement,
    possible,
)
from tests.support.history import history, selector
from tests.support.installation import Installation
from tests.support.nursery import Nursery, a_nursery
from tests.support.one_run import one_run
from tests.support.proxy import Fault, Proxy, a_proxy
from tests.support.servers import InfluxServer, PrometheusServer
from tests.support.service_history import Key, answered, stored

EVERY_SECONDS = 10
STEP = 5
# of the source's time, before the first run and after the last one
MARGIN_SECONDS = 1800
KILLED = -signal.SIGKILL
# what a run may end with: good, something bad, something pending, or killed
ENDS = {0, 1, 3, KILLED}
MOST_LAST_RUNS = 30
MOST_SHOWN = 20


@dataclass(frozen=True)
class World:
    """All that takes part, and the dice."""

    prometheus: PrometheusServer
    influxdb: InfluxServer
    source: Proxy
    sink: Proxy
    here: Installation
    nursery: Nursery
    other: Nursery
    dice: random.Random

    @property
    def log(self) -> Path:
        """What the runs said."""
        return self.here.folder / "runs.log"

    def run(self, point: str | None = None) -> int:
        """One run to its end; its exit code."""
        self.nursery.begin(self.here.environment, None, None, self.log, point)
        return self.nursery.end()


def calm(world: World) -> list[int]:
    """Nothing happens."""
    return [world.run()]


def killed_at_a_point(world: World) -> list[int]:
    """kill -9 at a place of the code, if it comes by there."""
    place, _ = world.dice.choice([*FIRST, *CHANGED]).rsplit(":", 1)
    return [world.run(f"{place}:{world.dice.randint(1, 3)}")]


def killed_some_time(world: World) -> list[int]:
    """kill -9 within the second that a run takes."""
    pid = world.nursery.begin(world.here.environment, None, None, world.log)
    timer = threading.Timer(world.dice.uniform(0.02, 1.2), _kill, [pid])
    timer.start()
    code = world.nursery.end()
    timer.cancel()
    timer.join()
    return [code]


def _kill(pid: int) -> None:
    # it may just have ended
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def two_at_once(world: World) -> list[int]:
    """Two runs of the same."""
    world.nursery.begin(world.here.environment, None, None, world.log)
    world.other.begin(world.here.environment, None, None, world.log)
    return [world.nursery.end(), world.other.end()]


def influxdb_is_down(world: World) -> list[int]:
    """Killed before the run, back after it."""
    world.influxdb.kill()
    return [world.run()]


def influxdb_dies(world: World) -> list[int]:
    """Killed in the midst of a post."""
    kill = world.influxdb.kill
    deaths = [Fault("half_request", act=kill), Fault("unanswered", act=kill), Fault("swallowed", act=kill)]  # fmt: skip
    world.sink.script(WRITE, *_some(world), world.dice.choice(deaths))
    return [world.run()]


def influxdb_is_unwell(world: World) -> list[int]:
    """Refuses, hangs, or breaks off, some posts or all of them."""
    faults = [
        Fault("status", 429, retry_after="1"),
        Fault("status", 503, retry_after="3600"),
        Fault("status", 500),
        Fault("hang"),
        Fault("half_request"),
        Fault("swallowed"),
        Fault("half_answer"),
    ]
    if world.dice.random() < 0.5:
        world.sink.always[WRITE] = world.dice.choice(faults)
    else:
        world.sink.script(WRITE, *_some(world), *world.dice.sample(faults, 2))
    return [world.run()]


def prometheus_dies(world: World) -> list[int]:
    """Killed in the midst of a query."""
    world.source.script(RANGE, *_some(world), Fault("unanswered", act=world.prometheus.kill))
    return [world.run()]


def prometheus_is_unwell(world: World) -> list[int]:
    """Half an answer, or none, once or always."""
    fault = world.dice.choice([Fault("half_answer"), Fault("status", 503), Fault("unanswered")])
    if world.dice.random() < 0.5:
        world.source.always[RANGE] = fault
    else:
        world.source.script(RANGE, *_some(world), fault)
    return [world.run()]


def killed_while_influxdb_is_down(world: World) -> list[int]:
    """Both at once."""
    world.influxdb.kill()
    return killed_at_a_point(world)


def _some(world: World) -> list[None]:
    return [None] * world.dice.randint(0, 2)


FAULTS: tuple[Callable[[World], list[int]], ...] = (
    calm,
    killed_at_a_point,
    killed_at_a_point,
    killed_at_a_point,
    killed_some_time,
    killed_some_time,
    two_at_once,
    influxdb_is_down,
    influxdb_dies,
    influxdb_is_unwell,
    prometheus_dies,
    prometheus_is_unwell,
    killed_while_influxdb_is_down,
)


def main() -> int:
    """The exit code."""
    minutes = float(os.environ.get("SOAK_MINUTES") or 20)
    seed = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(10**9))
    print(f"soak: {minutes:g} minutes, SOAK_SEED={seed}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="fedvitals-soak-") as folder,
        a_world(Path(folder), minutes, random.Random(seed)) as world,
    ):
        ends = soaked(world, minutes)
        print(f"soak: the runs ended with {dict(ends)}", flush=True)
        strange = [code for code in ends if code not in ENDS]
        if strange:
            print(world.log.read_text()[-5000:])
        is_owing = still_owes(world)
        return 1 if strange or is_owing or differs(world) else 0


@contextmanager
def a_world(folder: Path, minutes: float, dice: random.Random) -> Iterator[World]:
    """Everything running."""
    for name in ("prometheus", "influxdb"):
        (folder / name).mkdir()
    with ExitStack() as stack:
        enter = stack.enter_context
        # of times that have not come yet too, so that what it has never changes
        prometheus = enter(PrometheusServer(folder / "prometheus", _history(minutes)))
        influxdb = enter(InfluxServer(folder / "influxdb"))
        source, sink = enter(a_proxy(prometheus.url)), enter(a_proxy(influxdb.url))
        here = an_installation(
            folder / "here",
            source.url,
            influxdb,
            influxdb.make_bucket(),
            cell="1m",
            settle_delay="5s",
            retry_timeout="2s",
        )
        with here.changed("metrics.yaml") as content:
            content["measurements"][NAME]["step"] = f"{STEP}s"
        here.write_yaml("sinks.yaml", {"influxdb": {"lines_per_post": 10, "timeout": "1s"}})
        here.variables["INFLUXDB_URL"] = sink.url
        one, other = (enter(a_nursery(folder / f"{name}.log")) for name in ("one", "other"))
        yield World(prometheus, influxdb, source, sink, here, one, other, dice)


def _history(minutes: float) -> str:
    first = int(time.time() - MARGIN_SECONDS) // 60 * 60
    count = int(minutes * 60 + 2 * MARGIN_SECONDS) // STEP
    series: dict[str, np.ndarray[Any, Any]] = {}
    for number, room in enumerate(ROOMS):
        share = (np.arange(count) % 997) / 1000 + number / 10_000
        share[::97] = 1.5
        series[selector("share", {"room": room})] = share
        series[selector("size", {"room": room})] = np.arange(count) * 1000.0 + number
    return history(series, first, STEP)


def soaked(world: World, minutes: float) -> Counter[int]:
    """Runs with faults until the time is over; how often a run ended with each exit code."""
    ends: Counter[int] = Counter()
    end = time.monotonic() + 60 * minutes
    number = 0
    while (begun := time.monotonic()) < end:
        fault = world.dice.choice(FAULTS)
        codes = fault(world)
        recovered(world)
        ends.update(codes)
        number += 1
        print(f"{number:4} {fault.__name__:30} {codes}", flush=True)
        time.sleep(max(0.0, begun + EVERY_SECONDS - time.monotonic()))
    return ends


def recovered(world: World) -> None:
    """Both servers are up, and nothing spoils a request."""
    for proxy in (world.source, world.sink):
        proxy.clear()
    for server in (world.prometheus, world.influxdb):
        if not server.ready():
            server.kill()
            server.start()


def still_owes(world: World) -> bool:
    """Runs until nothing is owed any more; whether something is all the same."""
    for _ in range(MOST_LAST_RUNS):
        receipt = one_run(world.here.environment, None, None)
        if not _is_owing(receipt):
            return False
    print(f"soak: after {MOST_LAST_RUNS} runs without a fault there is still something owed")
    print(receipt.model_dump_json(indent=2))
    return True


def _is_owing(receipt: Receipt) -> bool:
    is_short = any(counts.pending for counts in receipt.sinks.values())
    return is_short or any(
        line.problems or line.state in ("failed", "pending") for line in receipt.measurements
    )


def differs(world: World) -> bool:
    """Whether InfluxDB or the lake has anything else than Prometheus; it is printed."""
    with closing(Ledger(f"sqlite:///{world.here.home / 'ledger.db'}")) as ledger:
        oldest, newest = ledger.oldest(NAME, "production"), ledger.newest(NAME, "production")
    assert oldest is not None
    assert newest is not None
    window = Window(oldest.cell.start, newest.covered_until)
    expected = possible(answered(world.prometheus, [measurement(world.here)], window))
    bucket = world.here.variables["INFLUXDB_BUCKET"]
    count = world.influxdb.count_values(bucket, NAME)
    print(f"soak: {len(expected)} values in {window.start} to {window.stop}, {count} in InfluxDB")
    unlike = [
        _shown("InfluxDB", expected, stored(world.influxdb, bucket)),
        _shown("the lake", expected, landed(world.here, window)),
    ]
    return count != len(expected) or not expected or any(unlike)


def _shown(where: str, expected: dict[Key, float], found: dict[Key, float]) -> bool:
    keys = sorted(key for key in {*expected, *found} if expected.get(key) != found.get(key))
    print(f"soak: {len(keys)} differences in {where}")
    for key in keys[:MOST_SHOWN]:
        print(f"  {key}: {expected.get(key)} in Prometheus, {found.get(key)} in {where}")
    return bool(keys)


if __name__ == "__main__":
    sys.exit(main())
