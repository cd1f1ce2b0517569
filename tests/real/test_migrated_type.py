"""A field that becomes a float, in a real InfluxDB that holds integers of it in the same shard."""

from pathlib import Path

import pandas as pd
import pytest

from tasks.core.ports import CellToLoad
from tasks.core.services import Environment, InfluxService, InfluxTuning
from tasks.core.settings import Pipeline, load_settings
from tasks.core.window import parse_duration
from tasks.ledger.locks import FileLocks
from tasks.pipeline.recovery import Rebuilding
from tasks.runs.migrate import erase_with, migrate
from tasks.sinks.influxdb import InfluxSink
from tests.support.servers import InfluxServer
from tests.support.suite_examples import a_measurement
from tests.support.workbench import HOUR, a_bench, at, cell, rows

pytestmark = pytest.mark.promise(
    "Migration: an int that became a float loads completely, although InfluxDB refuses mixed types in a shard"
)

INT = a_measurement(fields={"size_bytes": "int"})
FLOAT = a_measurement(fields={"size_bytes": "float"})
HOURS = range(4)


def test_integers_that_became_floats_load_whole(
    tmp_path: Path, influxdb: InfluxServer, bucket: str
) -> None:
    service = InfluxService(
        url=influxdb.url, token=influxdb.token, org=influxdb.org, bucket=bucket, origin="test"
    )
    bench = a_bench(tmp_path)
    bench.measurement = INT
    sink = InfluxSink(service, InfluxTuning(), deadline_seconds=10)
    bench.sink = sink  # type: ignore[assignment]
    for hour in HOURS:
        frame = rows(INT, [at(hour + 0.25)], size_bytes=[hour])
        bench.lake.land(INT, frame, [cell(hour)], "production", None)
        sink.load(INT, "production", [CellToLoad(cell(hour), frame)])

    def floats(hour: int) -> pd.DataFrame:
        return rows(FLOAT, [at(hour + 0.25)], size_bytes=[float(hour)])

    # what makes the erasure of all cells needed
    first = CellToLoad(cell(0), floats(0), erase_first=True)
    assert sink.load(FLOAT, "production", [first])[0].values.refused == 1

    work = Rebuilding(
        bench.lake, bench.ledger, FileLocks(tmp_path / "locks"), {"example": FLOAT}, HOUR, "run-90"
    )
    settings = load_settings({"FEDVITALS_HOME": str(tmp_path / "home")})
    environment = Environment(name="production", services={"influxdb": service})
    object.__setattr__(settings, "environments", {"production": environment})
    object.__setattr__(settings, "pipeline", Pipeline(retry_timeout=parse_duration("10s")))
    reported = migrate(work, "example", {}, {}, dry=False, erase=erase_with(settings))
    assert (reported.cells, reported.cast) == (4, {"size_bytes": ("int64", "double")})
    # the least favourable way: one cell at a time, the newest first
    for hour in reversed(HOURS):
        (answer,) = sink.load(FLOAT, "production", [CellToLoad(cell(hour), floats(hour), True)])
        assert (answer.error, answer.values.loaded, answer.values.refused) == (None, 1, 0)
    sink.close()
