"""The whole way: a Prometheus of the test's own, fedvitals as a process, lake and real InfluxDB, by value."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pandas as pd
from pytest_httpserver import HTTPServer
from werkzeug import Response

from tasks.core.catalogue import Catalogue
from tasks.core.measurement import Measurement
from tasks.core.receipt import Receipt
from tasks.core.series import ALL_TIME
from tasks.core.window import Window, iso
from tasks.lake.tables import Lake
from tests.support.fakes.prometheus import FakePrometheus, FakeSeries
from tests.support.installation import Installation, Ran, entry
from tests.support.nursery import Nursery
from tests.support.one_run import one_run
from tests.support.servers import InfluxServer
from tests.support.service_history import Key, stored

HOUR = timedelta(hours=1)
START = datetime(2026, 1, 5, tzinfo=UTC)
# what the slowest machine needs until a process has come to where it is awaited
PATIENCE = 240
# the host's time (ISO 8601) and its time zone
Clock = tuple[str, str] | None


def hours(number: float, first: float = 0) -> Window:
    """So many hours, the first so many after START."""
    return Window(START + first * HOUR, START + (first + number) * HOUR)


def span(window: Window) -> tuple[str, str, str, str]:
    """The arguments that name the window."""
    return "--start", iso(window.start), "--stop", iso(window.stop)


@dataclass
class Source(FakePrometheus):
    """Answers as long as its gate is open; `reached` is set once a query waits there.

    It has nothing from `until` on, however late it is elsewhere.
    A series' value is a function of the time in milliseconds, so that all it has is known.
    """

    gate: Event = field(default_factory=Event)
    reached: Event = field(default_factory=Event)
    until: datetime | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.gate.set()

    def _routed(self, path: str, method: str, form: Mapping[str, str]) -> Response:
        if path == "/api/v1/query_range" and not self.gate.is_set():
            self.reached.set()
            assert self.gate.wait(PATIENCE)
        return super()._routed(path, method, form)

    def put(self, query: str, scale: float = 1.0, **labels: str) -> None:
        """A series of the query that grows with the time, once more for each label's value."""
        known = list(self.queries.get(query, ()))
        shift = len(known) / 8

        def value(time: int) -> str | None:
            if self.until is not None and time >= self.until.timestamp() * 1000:
                return None
            return str(scale * (time // 1000 % 86_400) + shift)

        made = FakeSeries(labels, value)
        self.queries[query] = [*known, made]

    def values(self, entries: Mapping[str, Measurement], window: Window) -> dict[Key, float]:
        """All that it has for the catalogue in the window."""
        found: dict[Key, float] = {}
        for each in entries.values():
            step = each.step // timedelta(milliseconds=1)
            start, stop = (int(at.timestamp() * 1000) for at in (window.start, window.stop))
            for name, spec in each.fields.items():
                for series in self.queries.get(spec.query or "", ()):
                    tags = tuple(sorted(series.labels.items()))
                    for time in range(start, stop, step):
                        text = series.value(time)
                        if text is not None:
                            found[each.name, name, tags, time / 1000] = float(text)
        return found


@dataclass(frozen=True)
class Ended:
    """How a run that was a process ended, and all it said."""

    code: int
    text: str

    @property
    def receipt(self) -> Any:
        """The receipt of a run that came to its end, behind what it logged."""
        return json.loads(self.text[self.text.index("{\n") :])


@dataclass
class WholeWay:
    """An installation that reads the source and fills a bucket of the InfluxDB."""

    installed: Installation
    source: Source
    influxdb: InfluxServer
    bucket: str
    logs: Iterator[int] = field(default_factory=count)

    @property
    def catalogue(self) -> Catalogue:
        """As it is configured now."""
        return Catalogue.read(self.installed.config / "metrics.yaml")

    def collect(self, window: Window | None) -> Receipt:
        """A run in this process.

        Raises:
            FedvitalsError: what ended it before it had a receipt.
        """
        return one_run(self.installed.environment, *_texts(window))

    @contextmanager
    def begun(
        self, nursery: Nursery, window: Window | None, point: str | None = None, clock: Clock = None
    ) -> Iterator["Running"]:
        """A run as a process, which dies at the point. It is at its end when the block is."""
        log = self.installed.folder / f"run-{next(self.logs)}.log"
        environment = self.installed.environment
        pid = nursery.begin(environment, *_texts(window), log, point, clock)
        running = Running(nursery, pid, log)
        with ExitStack() as at_end:
            at_end.callback(running.ended)
            at_end.push(lambda kind, *_: running.kill() if kind is not None else None)
            yield running

    def run(
        self, nursery: Nursery, window: Window | None, point: str | None = None, clock: Clock = None
    ) -> Ended:
        """A run as a process, to its end."""
        with self.begun(nursery, window, point, clock) as running:
            return running.ended()

    def command(self, *arguments: str) -> Ran:
        """Another command of fedvitals, in this process."""
        return self.installed.here(*arguments)

    def landed(self) -> dict[Key, float]:
        """Every value of the lake."""
        lake = Lake(str(self.installed.home / "lake"))
        found: dict[Key, float] = {}
        for each in self.catalogue.values():
            # what runs say of themselves is no source's
            if each.source != "receipt" and lake.has(each.name):
                found |= _values(each, lake.read(each, "production", ALL_TIME))
        return found

    def loaded(self) -> dict[Key, float]:
        """Every value of the bucket, of which none is there twice."""
        return stored(self.influxdb, self.bucket)

    def assert_whole(self, window: Window) -> None:
        """Source, lake and InfluxDB have the same values, and some."""
        expected = self.source.values(self.catalogue, window)
        assert expected
        for place, found in (("lake", self.landed()), ("influxdb", self.loaded())):
            others = differing(found, expected)
            # what is no test module tells nothing of an assertion by itself
            assert not others, f"found in {place}, and expected: {others}"


def differing(found: Mapping[Key, float], expected: Mapping[Key, float]) -> dict[Key, Any]:
    """What is not the same, with what was found and what was expected; short enough to be read."""
    keys = [key for key in {**found, **expected} if found.get(key) != expected.get(key)]
    return {key: (found.get(key), expected.get(key)) for key in sorted(keys)[:10]}


@dataclass
class Running:
    """A run that is a process."""

    nursery: Nursery
    pid: int
    log: Path
    code: int | None = None

    def kill(self) -> None:
        """Ends it at once, when it is not at its end already."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)

    def ended(self) -> Ended:
        """Waits for its end."""
        if self.code is None:
            self.code = self.nursery.end()
        return Ended(self.code, self.log.read_text("utf-8"))


def _texts(window: Window | None) -> tuple[str | None, str | None]:
    return (None, None) if window is None else (iso(window.start), iso(window.stop))


@contextmanager
def whole_way(installed: Installation, influxdb: InfluxServer, bucket: str) -> Iterator[WholeWay]:
    """The installation connected to all; configure it before it runs."""
    with HTTPServer(threaded=True) as server:
        source = Source(server)
        installed.variables |= {
            "PROMETHEUS_URL": source.url,
            "INFLUXDB_URL": influxdb.url,
            "INFLUXDB_TOKEN": influxdb.token,
            "INFLUXDB_ORG": influxdb.org,
            "INFLUXDB_BUCKET": bucket,
        }
        try:
            yield WholeWay(installed, source, influxdb, bucket)
        finally:
            source.gate.set()


def put_two(way: WholeWay, *names: str, **pipeline: Any) -> WholeWay:
    """Measurements of two rooms each, a value a minute."""
    way.installed.configure(
        {name: entry(name, tags=("room",)) for name in names}, retry_timeout="2s", **pipeline
    )
    for name in names:
        for room in ("a", "b"):
            way.source.put(name, 0.25, room=room)
    return way


def _values(of: Measurement, frame: pd.DataFrame) -> dict[Key, float]:
    found: dict[Key, float] = {}
    for row in frame.to_dict("records"):
        tags = tuple(sorted((tag, row[tag]) for tag in of.tags if not pd.isna(row[tag])))
        for name in of.fields:
            if not pd.isna(row[name]):
                found[of.name, name, tags, row["time"].timestamp()] = float(row[name])
    return found


def wait_until(is_so: Callable[[], bool]) -> None:
    """Waits for something that a process of the test brings about."""
    pause, waited = Event(), 0.0
    while not is_so():
        assert waited < PATIENCE, "it did not come"
        pause.wait(0.02)
        waited += 0.02
