"""What the tests of faults share: two histories of one service, and an installation that reads them.

`first` is what a Prometheus had when it was read first, `changed` what it has later: other shares,
shares that are impossible now, and half an hour of sizes that is gone.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from tasks.core.catalogue import Catalogue
from tasks.core.measurement import Measurement
from tasks.core.receipt import Receipt, SinkValues
from tasks.core.window import Window, iso
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tests.support.history import history, selector
from tests.support.installation import Installation, entry
from tests.support.ledger_behaviours import owed
from tests.support.one_run import one_run
from tests.support.servers import InfluxServer, PrometheusServer
from tests.support.service_history import Key, answered, stored

START = datetime(2026, 3, 1, tzinfo=UTC)
CELLS = 3
WINDOW = Window(START, START + timedelta(hours=CELLS))
SPAN = (iso(WINDOW.start), iso(WINDOW.stop))
STEP = 60
SAMPLES = CELLS * 3600 // STEP
ROOMS = ("a", "b")
NAME = "rooms"
WRITE, DELETE, RANGE = "/api/v2/write", "/api/v2/delete", "/api/v1/query_range"
# longer than PromQL looks back for a value
GONE = slice(60, 90)


def first_history() -> str:
    """Three hours of two rooms; a share of each thirty is impossible."""
    return _history(_series())


def fewer_history() -> str:
    """The same, of which some sizes are gone."""
    return _history(_fewer())


def changed_history() -> str:
    """The same, of which some values changed, some cannot be, and some sizes are gone."""
    series = _fewer()
    for values in series.values():
        values[::7] += 0.001
    for name in (selector("share", {"room": room}) for room in ROOMS):
        series[name][1::45] = 1.5
    return _history(series)


def _fewer() -> dict[str, np.ndarray[Any, Any]]:
    series = _series()
    series[selector("size", {"room": "b"})][GONE] = np.nan
    return series


def _series() -> dict[str, np.ndarray[Any, Any]]:
    series: dict[str, np.ndarray[Any, Any]] = {}
    for number, room in enumerate(ROOMS):
        share = (np.arange(SAMPLES) % 50) / 100 + number / 1000
        share[::30] = 1.5
        series[selector("share", {"room": room})] = share
        series[selector("size", {"room": room})] = np.arange(SAMPLES) * 1000.0 + number
    return series


def _history(series: dict[str, np.ndarray[Any, Any]]) -> str:
    return history(series, int(START.timestamp()), STEP)


def an_installation(
    folder: Path, prometheus: str, influxdb: InfluxServer, bucket: str, **pipeline: Any
) -> Installation:
    """Reads the Prometheus at the URL and fills the bucket, a few posts a cell."""
    folder.mkdir(exist_ok=True)
    here = Installation(
        folder,
        {
            "PROMETHEUS_URL": prometheus,
            "INFLUXDB_URL": influxdb.url,
            "INFLUXDB_TOKEN": influxdb.token,
            "INFLUXDB_ORG": influxdb.org,
            "INFLUXDB_BUCKET": bucket,
        },
    )
    rooms = entry("share", "size", tags=("room",))
    for name, spec in rooms["fields"].items():
        spec["query"] = f"max by (room) ({name})"
    rooms["fields"]["share"]["unit"] = "ratio"
    here.configure({NAME: rooms}, **pipeline)
    here.write_yaml("sinks.yaml", {"influxdb": {"lines_per_post": 50, "timeout": "20s"}})
    return here


def run(here: Installation, prometheus: str | None = None) -> Receipt:
    """One run over the window, in this process; of this Prometheus from now on."""
    if prometheus is not None:
        here.variables["PROMETHEUS_URL"] = prometheus
    return one_run(here.environment, *SPAN)


def measurement(here: Installation) -> Measurement:
    """The one of the catalogue."""
    return Catalogue.read(here.config / "metrics.yaml")[NAME]


def values_of(server: PrometheusServer, here: Installation) -> dict[Key, float]:
    """What the server answers over the window, impossible shares too."""
    return answered(server, [measurement(here)], WINDOW)


def possible(values: dict[Key, float]) -> dict[Key, float]:
    """Those that the suite lets through."""
    return {key: value for key, value in values.items() if key[1] != "share" or 0 <= value <= 1}


def impossible(values: dict[Key, float]) -> set[Key]:
    """The keys of those that it holds back."""
    return values.keys() - possible(values).keys()


def read_again(before: dict[Key, float], now: dict[Key, float]) -> dict[Key, float]:
    """What is to be there when `now` was answered after `before`: what vanished is kept."""
    kept = {key: value for key, value in possible(before).items() if key not in now}
    return {**kept, **possible(now)}


def landed(here: Installation, window: Window = WINDOW) -> dict[Key, float]:
    """Every value of the window in the lake."""
    entry = measurement(here)
    frame = Lake(str(here.home / "lake")).read(entry, "production", window)
    found: dict[Key, float] = {}
    for field in entry.fields:
        for time, room, value in _filled(frame, field):
            key = (NAME, field, (("room", room),), time)
            assert key not in found
            found[key] = value
    return found


def _filled(frame: Any, field: str) -> Iterator[tuple[float, str, float]]:
    rows = frame[frame[field].notna()]
    times = [moment.timestamp() for moment in rows["time"]]
    return zip(times, rows["room"].astype("object"), rows[field].tolist(), strict=True)


def assert_whole(
    here: Installation,
    influxdb: InfluxServer,
    expected: dict[Key, float],
    quarantined: set[Key] | None = None,
) -> None:
    """InfluxDB and the lake have exactly these values, once; nothing is owed any more."""
    bucket = here.variables["INFLUXDB_BUCKET"]
    assert stored(influxdb, bucket) == expected
    assert influxdb.count_values(bucket, NAME) == len(expected)
    assert landed(here) == expected
    with closing(Ledger(f"sqlite:///{here.home / 'ledger.db'}")) as ledger:
        target = f"{here.variables['INFLUXDB_URL']} {influxdb.org}/{bucket}"
        assert owed(ledger, target, NAME, "production") == []
    if quarantined is not None:
        assert held_back(here) == Counter(quarantined)


def held_back(here: Installation) -> Counter[Key]:
    """The keys of all records of the quarantine."""
    records = Lake(str(here.home / "lake")).quarantined(NAME, "production")
    rooms = [text.split('"')[3] for text in records["tags"]]
    parts = zip(records["field"], rooms, records["time"], strict=True)
    return Counter(
        (NAME, field, (("room", room),), time.timestamp()) for field, room, time in parts
    )


def sums(receipt: Receipt) -> SinkValues:
    """What the receipt says of InfluxDB; that it adds up was checked when it was written."""
    return receipt.sinks["influxdb"]
