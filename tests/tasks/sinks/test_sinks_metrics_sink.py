"""What sinks for metrics share: what is sent when, never twice, and every value accounted for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from tasks.core.errors import FedvitalsError, SinkUnavailable, TooManySeries
from tasks.core.measurement import FieldSpec
from tasks.core.metric_services import Metric, MetricsTuning
from tasks.core.ports import CellAnswer, CellToLoad
from tasks.core.receipt import SinkValues
from tasks.core.services import Service
from tasks.core.state import CellState
from tasks.core.window import Cell, floor
from tasks.pipeline.load import deliver
from tasks.sinks.metrics_sink import Ages, MetricsSink, Prepared, Unfit, Volume
from tasks.sinks.points import Point
from tests.support.sink_samples import make_frame, make_measurement
from tests.support.workbench import HOUR, Bench

MEASUREMENT = make_measurement(("room",), x="float", y="int", note="string")
HERE = floor(datetime.now(UTC), HOUR) - HOUR
EARLY = Cell(HERE - 2 * HOUR, HERE - HOUR)
CELL = Cell(HERE - HOUR, HERE)
SENT = {"latency.x": Metric(name="x.there")}
DOWN = SinkUnavailable(sink="list", url="http://127.0.0.1:9", problem="down", retry_after=None)
KILLED = KeyboardInterrupt()
MINUTE = timedelta(minutes=1)


def tuning(**changed: object) -> MetricsTuning:
    return MetricsTuning.model_validate({"enabled": True, "send": SENT, **changed})


@dataclass
class ListSink(MetricsSink):
    """Keeps what is sent; a request holds `size` points, a value of 13 is refused, one of 14 unfit."""

    settings: MetricsTuning = field(default_factory=tuning)
    size: int = 2
    errors: list[BaseException | None] = field(default_factory=list)
    requests: list[list[Point]] = field(default_factory=list)
    back: timedelta = timedelta(days=1)
    unwanted: float | None = None

    name = "list"
    check_id = "list_refused"

    def __post_init__(self) -> None:
        MetricsSink.__init__(self, Service(url="http://127.0.0.1:9", origin=""), self.settings, 0.0)

    @property
    def ages(self) -> Ages:
        return Ages(self.back, HOUR)

    def takes(self, point: Point) -> bool:
        return point.value != self.unwanted

    def prepare(self, points: Sequence[Point]) -> Iterator[Prepared | Unfit]:
        fit = [point for point in points if point.value != 14]
        yield from (Unfit(point, "too large") for point in points if point.value == 14)
        for first in range(0, len(fit), self.size):
            yield Prepared(fit[first : first + self.size], b"")

    def send(self, request: Prepared) -> Mapping[int, str]:
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        self.requests.append(list(request.points))
        return {n: "unlucky" for n, point in enumerate(request.points) if point.value == 13}

    def close(self) -> None:
        pass

    @property
    def sent(self) -> list[float]:
        return [point.value for request in self.requests for point in request]


def cell(values: Sequence[float], at: Cell = CELL, **more: object) -> CellToLoad:
    """A cell of a value a minute, with a number and a text that nobody wants."""
    start = at.start.timestamp()
    rows = [
        {"time": start + 60 * n, "room": "a", "x": value, "y": n, "note": "n"}
        for n, value in enumerate(values)
    ]
    return CellToLoad(at, make_frame(MEASUREMENT, rows), **more)  # type: ignore[arg-type]


def load(sink: MetricsSink, *cells: CellToLoad) -> list[CellAnswer]:
    """The whole answers."""
    answers = sink.load(MEASUREMENT, "production", list(cells))
    return [answer for answer in answers if answer.is_whole]


def test_what_is_selected_is_sent_by_time_and_the_rest_is_counted_as_skipped() -> None:
    sink = ListSink()
    (early, late) = load(sink, cell([1, 2, 3], EARLY), cell([4, 5]))

    assert sink.sent == [1, 2, 3, 4, 5]
    assert [len(request) for request in sink.requests] == [2, 2, 1]
    assert early.values == SinkValues(owed=9, loaded=3, skipped_by_rule=6)
    assert (late.cell, late.values.loaded, late.error) == (CELL, 2, None)
    (point, *_) = sink.requests[0]
    assert point.series == ("x.there", (("environment", "production"),))
    assert point.time == EARLY.start.timestamp()


def test_a_measurement_that_is_not_selected_sends_nothing() -> None:
    sink = ListSink(settings=tuning(send={}))
    (answer,) = load(sink, cell([1]))
    assert (sink.sent, answer.values) == ([], SinkValues(owed=3, skipped_by_rule=3))


@pytest.mark.parametrize(
    ("reduce", "expected"), [("mean", [2.0, 5.0]), ("max", [3.0, 5.0]), ("last", [3.0, 5.0])]
)
def test_values_of_a_step_become_one_point(reduce: str, expected: list[float]) -> None:
    send = {"latency.x": {"reduce": reduce, "scale": 1.0}}
    sink = ListSink(settings=tuning(send=send, step="3m"))
    (answer,) = load(sink, cell([1, 2, 3, 5]))
    assert sink.sent == expected
    assert answer.values.loaded == 4


@pytest.mark.parametrize(("scale", "unit"), [(1.0, "seconds"), (1000.0, "")])
def test_a_point_has_the_catalogue_s_unit_unless_it_is_scaled(scale: float, unit: str) -> None:
    spec = FieldSpec(query="q", unit="seconds", description="how long")
    measurement = MEASUREMENT.model_copy(update={"fields": {"x": spec}})
    settings = tuning(send={"latency.x": {"scale": scale}})
    sink = ListSink(settings=settings)
    list(sink.load(measurement, "production", [cell([1])]))
    (point,) = sink.requests[0]
    assert (point.unit, point.description) == (unit, "how long")


def test_a_tag_that_is_not_sent_is_averaged_over_and_one_that_is_makes_series() -> None:
    start = CELL.start.timestamp()
    rows = [{"time": start, "room": room, "x": value} for room, value in (("a", 1.0), ("b", 3.0))]
    both = CellToLoad(CELL, make_frame(MEASUREMENT, rows))
    (mixed, apart) = (ListSink(), ListSink(settings=tuning(tags={"room": "raum"})))
    load(mixed, both)
    load(apart, both)
    assert mixed.sent == [2.0]
    assert [point.labels for point in apart.requests[0]] == [(("raum", "a"),), (("raum", "b"),)]


def test_what_is_too_old_is_skipped_and_counted() -> None:
    sink = ListSink(back=timedelta(minutes=90, seconds=30) + (datetime.now(UTC) - HERE))
    (early, late) = load(sink, cell([1.0] * 60, EARLY), cell([2]))
    assert early.values.loaded == 29
    assert early.values.skipped_by_rule == 180 - 29
    assert late.values.loaded == 1


def test_a_point_is_as_old_as_the_start_of_its_step() -> None:
    sink = ListSink(settings=tuning(step="10m"), back=datetime.now(UTC) - HERE + 115 * MINUTE)
    (answer,) = load(sink, cell([1.0] * 60, EARLY))
    # of the step at 0:00 the rows from 0:06 on would be young enough
    assert [point.time - EARLY.start.timestamp() for point in sink.requests[0]] == [600, 1200]
    assert (answer.values.loaded, answer.values.pending) == (50, 0)


def test_points_that_the_service_does_not_take_are_skipped_and_counted() -> None:
    sink = ListSink(unwanted=2)
    answers = load(sink, cell([2, 2], EARLY), cell([1, 2, 3]))
    (first, second) = sorted(answers, key=lambda answer: answer.cell.start)
    assert sink.sent == [1, 3]
    assert first.values == SinkValues(owed=6, skipped_by_rule=6)
    assert second.values == SinkValues(owed=9, loaded=2, skipped_by_rule=7)
    assert (first.error, second.error) == (None, None)


def test_refusals_are_quarantined_with_their_reason_and_the_rest_is_loaded() -> None:
    sink = ListSink()
    (answer,) = load(sink, cell([1, 13, 14, 2]))
    assert sink.sent == [1, 13, 2]
    assert answer.values == SinkValues(owed=12, loaded=2, refused=2, skipped_by_rule=8)
    kept = answer.refusals.sort_values("number")
    assert kept["number"].tolist() == [13, 14]
    assert kept["reason"].tolist() == ["unlucky", "too large"]
    assert set(kept["stage"]) == {"sink"}


def test_a_request_that_fails_leaves_the_rest_pending_and_later_loads_do_not_try() -> None:
    sink = ListSink(errors=[None, DOWN])
    (first, second) = load(sink, cell([1, 2, 3]), cell([], EARLY))
    assert first.error is DOWN
    assert first.values == SinkValues(owed=9, loaded=2, pending=1, skipped_by_rule=6)
    assert second.error is None
    (again,) = load(sink, cell([7]))
    assert again.error is DOWN
    assert sink.sent == [1, 2]


def test_more_series_than_allowed_are_refused_with_their_count() -> None:
    sink = ListSink(settings=tuning(tags={"room": "room"}, max_series=1))
    load(sink, cell([1]))
    rows = [{"time": CELL.start.timestamp(), "room": "other", "x": 1.0}]
    (answer,) = load(sink, CellToLoad(CELL, make_frame(MEASUREMENT, rows)))
    assert isinstance(answer.error, TooManySeries)
    assert "2 series (max_series 1)" in str(answer.error)
    assert answer.values == SinkValues(owed=1, pending=1)


def test_the_volume_counts_series_points_and_requests_of_any_age() -> None:
    long_ago = Cell(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 1, tzinfo=UTC))
    frame = cell([1, 2, 3], long_ago).frame
    assert ListSink().volume(MEASUREMENT, frame) == Volume(1, 3, 2)
    assert ListSink(settings=tuning(send={})).volume(MEASUREMENT, frame) == Volume(0, 0, 0)


class Ledgered:
    """Loads one cell through the ledger, as a run does."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def load(self, sink: MetricsSink, values: Sequence[float], digest: str) -> SinkValues:
        nothing = CellState.of_nothing(MEASUREMENT, "production", CELL, "prometheus", "run")
        state = replace(nothing, landed_digest=digest)
        had = self._bench.ledger.loads(sink.target, MEASUREMENT.name, "production", CELL)
        until = had[CELL].sent_until if CELL in had else self._bench.ledger.rebuilt_at()
        owed = {state: cell(values, sent_until=until)}
        loaded = deliver(
            sink, MEASUREMENT, "production", owed, self._bench.lake, self._bench.ledger
        )
        return loaded.sinks[sink.name]

    def digest(self, sink: MetricsSink) -> str | None:
        had = self._bench.ledger.loads(sink.target, MEASUREMENT.name, "production", CELL)
        return had[CELL].landed_digest if CELL in had else None


@pytest.fixture
def ledgered(bench: Bench) -> Ledgered:
    return Ledgered(bench)


def test_rows_that_come_later_are_sent_and_those_before_are_not_sent_again(
    ledgered: Ledgered,
) -> None:
    sink = ListSink()
    ledgered.load(sink, [1, 2], "one")
    values = ledgered.load(sink, [1, 2, 3], "two")
    assert sink.sent == [1, 2, 3]
    assert values == SinkValues(owed=9, loaded=1, skipped_by_rule=8)
    assert ledgered.digest(sink) == "two"


@pytest.mark.parametrize("error", [DOWN, KILLED], ids=["down", "killed"])
def test_what_ends_a_load_midway_doubles_nothing_that_was_answered(
    ledgered: Ledgered, error: FedvitalsError | KeyboardInterrupt
) -> None:
    sink = ListSink(errors=[None, error])
    try:
        ledgered.load(sink, [1, 2, 3], "one")
    except KeyboardInterrupt:
        assert error is KILLED
    assert ledgered.digest(sink) == ""
    fresh = ListSink()
    ledgered.load(fresh, [1, 2, 3], "one")
    assert (sink.sent, fresh.sent) == ([1, 2], [3])
    assert ledgered.digest(fresh) == "one"


@pytest.mark.parametrize("unfit", [(), (14,)], ids=["all fit", "one is unfit"])
def test_a_request_that_ends_within_a_step_leaves_the_rest_of_the_step_owed(
    unfit: tuple[float, ...],
) -> None:
    sink = ListSink(settings=tuning(tags={"room": "room"}), size=1, errors=[None, DOWN])
    start = CELL.start.timestamp()
    rows = [{"time": start, "room": room, "x": n} for n, room in enumerate("abc")]
    rows += [{"time": start + 60, "room": "d", "x": value} for value in unfit]
    (answer,) = load(sink, CellToLoad(CELL, make_frame(MEASUREMENT, rows)))
    assert (sink.sent, answer.values.pending) == ([0], 2)
    assert answer.sent_until == CELL.start


def test_after_the_loss_of_the_ledger_it_starts_at_now(ledgered: Ledgered, bench: Bench) -> None:
    bench.ledger.note_rebuilt(CELL.start + timedelta(minutes=1))
    sink = ListSink()
    ledgered.load(sink, [1, 2, 3], "one")
    assert sink.sent == [2, 3]


def test_what_a_service_cannot_do_with_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match=r"latency\.x\.reduce is statistics"):
        tuning(send={"latency.x": {"reduce": "statistics"}})


def test_frames_without_rows_are_answered(ledgered: Ledgered) -> None:
    assert ledgered.load(ListSink(), [], "") == SinkValues()
