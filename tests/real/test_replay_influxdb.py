"""Replay from the lake into a real InfluxDB: complete, once, and after kills."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tasks.core.receipt import SinkValues
from tasks.core.window import Window
from tasks.runs.reconcile.compare import compare, landed_points
from tests.real.test_influxdb_sink import service_at
from tests.support.lake_and_sink import Standing, standing_at
from tests.support.ledger_behaviours import owed
from tests.support.servers import InfluxServer
from tests.support.workbench import at


@pytest.fixture
def filled(tmp_path: Path, influxdb: InfluxServer, bucket: str) -> Iterator[Standing]:
    """Six landed hours, none of them loaded."""
    with standing_at(tmp_path, service_at(influxdb, bucket)) as standing:
        standing.collect()
        yield standing


@pytest.mark.promise("Replay: every value of the range reaches a new or emptied bucket")
def test_a_fresh_bucket_gets_every_point(
    filled: Standing, influxdb: InfluxServer, bucket: str
) -> None:
    outcome = filled.replay()

    assert outcome.state == "unchanged"
    assert outcome.sinks == {"influxdb": SinkValues(owed=284, loaded=284)}
    assert influxdb.count_values(bucket, filled.bench.measurement.name) == 284 == filled.held
    landed = landed_points(filled.bench.landed(0, 6), filled.bench.measurement)
    assert compare(landed, filled.stored()) is None
    assert owed(filled.bench.ledger, filled.sink.target, "example", "production") == []


@pytest.mark.promise("Replay: replaying twice stores every value once")
def test_twice_doubles_nothing(filled: Standing, influxdb: InfluxServer, bucket: str) -> None:
    first, second = filled.replay(), filled.replay()

    assert first.sinks == second.sinks
    assert influxdb.count_values(bucket, filled.bench.measurement.name) == 284


def test_only_the_window(filled: Standing) -> None:
    outcome = filled.replay(Window(at(1), at(3)))

    assert outcome.sinks["influxdb"].loaded == 96
    times = np.concatenate([series.times for series in filled.stored().values()])
    hours = {int(each) // 3_600_000_000_000 % 24 for each in times}
    assert hours == {1, 2}


@pytest.mark.promise("Replay: every value of the range reaches a new or emptied bucket")
def test_an_emptied_bucket_of_the_same_name_is_filled_again(
    filled: Standing, influxdb: InfluxServer, bucket: str
) -> None:
    filled.replay()
    filled.sink._http.delete(
        "1970-01-01T00:00:00Z", "2200-01-01T00:00:00Z", '_measurement="example"'
    )
    assert influxdb.count_values(bucket, "example") == 0

    assert filled.replay().sinks["influxdb"].loaded == 284
    assert influxdb.count_values(bucket, "example") == 284


@pytest.mark.promise(
    "Replay: after InfluxDB was killed in mid-replay the rest is pending, and the next replay completes it"
)
def test_influxdb_killed_in_mid_replay(
    tmp_path: Path, make_influxdb: Callable[[], InfluxServer]
) -> None:
    server = make_influxdb()
    bucket = server.make_bucket()
    with standing_at(tmp_path, service_at(server, bucket)) as standing:
        standing.collect()
        standing.chunk_rows = 12
        reported = standing.progress

        def killing(*facts: object) -> None:
            reported.append(facts)  # type: ignore[arg-type]
            server.kill()

        standing._tell = killing  # type: ignore[method-assign]
        broken = standing.replay()
        counts = broken.sinks["influxdb"]
        assert (broken.state, counts.owed) == ("pending", 284)
        assert 0 < counts.loaded < 284
        assert counts.pending == 284 - counts.loaded
        pending = owed(standing.bench.ledger, standing.sink.target, "example", "production")
        assert sum(state.values for state in pending) == counts.pending

        server.start()
        del standing._tell  # type: ignore[attr-defined]
        assert standing.replay().sinks == {"influxdb": SinkValues(owed=284, loaded=284)}
        assert server.count_values(bucket, "example") == 284
