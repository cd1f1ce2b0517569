"""The InfluxDB sink at a real VictoriaMetrics, which keeps each sample as often as it is sent."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from pydantic import SecretStr

from tasks.core.errors import SinkRefused
from tasks.core.measurement import Measurement
from tasks.core.ports import CellAnswer, CellToLoad
from tasks.core.receipt import SinkValues
from tasks.core.services import InfluxService, InfluxTuning
from tasks.core.window import Window
from tasks.sinks.influxdb_checks import check, create_bucket
from tasks.sinks.influxdb_read import InfluxReader
from tests.support.servers import VictoriaServer
from tests.support.sink_samples import HOUR, make_cell, make_measurement, sink_to, to_load

numbers = count()


@pytest.fixture
def measurement() -> Measurement:
    """Of a name of its own, since tests share the server."""
    made = make_measurement(("room",), x="float", n="int", s="string", ok="bool")
    return made.model_copy(update={"name": f"m{next(numbers)}"})


@pytest.fixture
def load(
    victoria: VictoriaServer, measurement: Measurement
) -> Iterator[Callable[..., list[CellAnswer]]]:
    with sink_to(service_at(victoria)) as sink:

        def load(*cells: CellToLoad) -> list[CellAnswer]:
            answers = sink.load(measurement, "production", list(cells))
            for answer in answers:
                answer.values.check("influxdb")
            return sorted(answers, key=lambda answer: answer.cell.start)

        yield load


def service_at(server: VictoriaServer) -> InfluxService:
    token = SecretStr("any")
    return InfluxService(url=server.url, token=token, origin="INFLUXDB_URL", token_from="X")


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"time": 15 * n, "room": "a", "x": float(n), **more} for n in range(count)]


def all_of(measurement: Measurement) -> str:
    return f'{{__name__=~"{measurement.name}_.+"}}'


def test_a_day_is_there_with_every_number_and_text_is_skipped(
    victoria: VictoriaServer, measurement: Measurement, load: Callable[..., list[CellAnswer]]
) -> None:
    content = rows(240, n=3, s="text", ok=True)
    answers = load(*(to_load(measurement, make_cell(n), content) for n in range(24)))
    assert [each.values for each in answers] == [
        SinkValues(owed=960, loaded=720, skipped_by_rule=240)
    ] * 24
    assert victoria.count_values(all_of(measurement)) == 24 * 720
    found = victoria.stored(f"{measurement.name}_x")
    (samples,) = found.values()
    start = make_cell(0).start.timestamp()
    assert sorted(samples) == [(start + 15 * n, float(n % 240)) for n in range(24 * 240)]
    assert '"environment": "production"' in next(iter(found))


@pytest.mark.promise("Loading: VictoriaMetrics is sent no value twice, since it would keep both")
def test_a_cell_that_grows_is_sent_on_from_where_it_was(
    victoria: VictoriaServer, measurement: Measurement, load: Callable[..., list[CellAnswer]]
) -> None:
    cell = to_load(measurement, make_cell(0), rows(10))
    (first,) = load(cell)
    grown = to_load(measurement, make_cell(0), rows(15))
    (second,) = load(CellToLoad(grown.cell, grown.frame, sent_until=first.sent_until))
    assert first.values == SinkValues(owed=10, loaded=10)
    assert second.values == SinkValues(owed=15, loaded=5, skipped_by_rule=10)
    assert victoria.count_values(all_of(measurement)) == 15
    (third,) = load(CellToLoad(grown.cell, grown.frame, sent_until=second.sent_until))
    assert third.values == SinkValues(owed=15, skipped_by_rule=15)
    assert third.sent_until == second.sent_until
    assert victoria.count_values(all_of(measurement)) == 15


@pytest.mark.promise(
    "Loading: a cell of which VictoriaMetrics would have to delete values is pending, with what to do"
)
def test_a_cell_to_be_erased_is_pending_until_its_series_are_deleted(
    victoria: VictoriaServer, measurement: Measurement, load: Callable[..., list[CellAnswer]]
) -> None:
    cells = [to_load(measurement, make_cell(n), rows(4)) for n in range(3)]
    (before, *_) = load(cells[0], cells[1])
    assert victoria.count_values(all_of(measurement)) == 8
    shrunk = to_load(measurement, make_cell(0), rows(2), erase_first=True)
    for until in (None, before.sent_until):  # as after a replay, and as in every run
        owed = CellToLoad(shrunk.cell, shrunk.frame, erase_first=True, sent_until=until)
        (pending, other) = load(owed, cells[2])
        assert isinstance(pending.error, SinkRefused)
        assert "docs/sinks.md" in pending.error.fix
        assert (pending.values, pending.sent_until) == (SinkValues(owed=2, pending=2), None)
        assert (other.values.loaded, other.error) == (4, None)
    assert victoria.count_values(all_of(measurement)) == 4 + 4 + 2 * 4

    victoria.delete_series(f'{{__name__=~"{measurement.name}_.+", environment="production"}}')
    (now, _) = load(shrunk, cells[1])
    assert now.values == SinkValues(owed=2, loaded=2)
    assert victoria.count_values(all_of(measurement)) == 2 + 4


def test_a_cell_to_be_erased_of_which_it_has_nothing_is_loaded(
    victoria: VictoriaServer, measurement: Measurement, load: Callable[..., list[CellAnswer]]
) -> None:
    # just outside of the cell, on both sides
    edges = ((-1, 3599.999), (1, 0.0))
    load(
        *(
            to_load(measurement, make_cell(n), [{"time": at, "room": "a", "x": 1.0}])
            for n, at in edges
        )
    )
    assert victoria.count_values(all_of(measurement)) == 2
    (answer,) = load(to_load(measurement, make_cell(0), rows(3), erase_first=True))
    assert (answer.values.loaded, answer.error) == (3, None)
    assert victoria.count_values(all_of(measurement)) == 5


def test_what_it_keeps_no_more_is_skipped(
    victoria: VictoriaServer, measurement: Measurement, load: Callable[..., list[CellAnswer]]
) -> None:
    old = make_cell(0, datetime.now(UTC).replace(microsecond=0) - timedelta(days=3650, minutes=30))
    (answer,) = load(to_load(measurement, old, rows(240)))
    kept = victoria.count_values(all_of(measurement))
    assert 100 < kept < 130
    assert answer.values == SinkValues(owed=240, loaded=kept, skipped_by_rule=240 - kept)


def test_a_line_that_it_cannot_read_costs_only_itself(
    victoria: VictoriaServer, measurement: Measurement, load: Callable[..., list[CellAnswer]]
) -> None:
    content = rows(8)
    content[5]["room"] = "x\\ y"
    (answer,) = load(to_load(measurement, make_cell(0), content))
    assert answer.values == SinkValues(owed=8, loaded=7, refused=1)
    assert "incorrect influx line" in answer.refusals["reason"].iloc[0]
    assert victoria.stored(all_of(measurement)).keys() == {
        f'{{"__name__": "{measurement.name}_x", "environment": "production", "room": "a"}}'
    }


def test_doctor_knows_it_and_reading_back_is_refused(
    victoria: VictoriaServer, measurement: Measurement
) -> None:
    service = service_at(victoria)
    found = check(service)
    assert [(each.what, each.ok) for each in found] == [("reachable", True), ("may write", True)]
    assert found[0].detail == "VictoriaMetrics, keeps 3650 days, 0:00:00"
    assert create_bucket(service).ok
    reader = InfluxReader(service, InfluxTuning(), 0.0)
    cell = make_cell(0)
    with pytest.raises(SinkRefused, match=r"docs/sinks\.md"):
        reader.counts(measurement, "production", Window(cell.start, cell.stop), HOUR)
    reader.close()
