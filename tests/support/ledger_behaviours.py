"""What every ledger does, on SQLite or on PostgreSQL: checks that the tests of both run."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tasks.core.receipt import Receipt
from tasks.core.state import CellState, LoadState
from tasks.core.window import Cell, Window
from tasks.ledger.deferred import deferred_cells, put_aside, take_up
from tasks.ledger.ledger import Ledger
from tasks.ledger.pending import pending_cells, pending_values

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = Window(START, START + 24 * HOUR)


def cell(hour: float) -> Cell:
    return Cell(START + hour * HOUR, START + (hour + 1) * HOUR)


def state(hour: float = 0, **changes: object) -> CellState:
    whole = CellState(
        measurement="m",
        environment="production",
        cell=cell(hour),
        source="prometheus",
        covered_until=cell(hour).stop - timedelta(microseconds=1),
        state="landed",
        source_digest="s",
        landed_digest="l",
        rows=2**40,
        values=2,
        quarantined=3,
        delete_count=4,
        catalogue_digest="c",
        run_id="run-1",
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def load(hour: float = 0, **changes: object) -> LoadState:
    whole = LoadState("influxdb", "m", "production", cell(hour), "l", 4, 2, 0)
    return replace(whole, **changes)  # type: ignore[arg-type]


def owed(ledger: Ledger, sink: str, measurement: str, environment: str) -> list[CellState]:
    """The cells that the sink lacks, newest first."""
    return list(pending_cells(ledger, sink, measurement, environment))


def states_go_there_and_back(ledger: Ledger) -> None:
    assert ledger.cells("m", "production", DAY) == {}
    states = [state(0), state(1, state="no_data", landed_digest=""), state(2, rows=0)]
    ledger.record(states)
    assert ledger.cells("m", "production", DAY) == {each.cell: each for each in states}
    found = ledger.cells("m", "production", DAY)[cell(0)]
    assert found.covered_until.utcoffset() == timedelta(0)
    ledger.record([])
    assert len(ledger.cells("m", "production", DAY)) == 3


def a_state_is_replaced_and_no_other(ledger: Ledger) -> None:
    others = [state(1), state(0, environment="staging"), state(0, measurement="n")]
    ledger.record([state(0), *others])
    ledger.record([state(0, rows=9, run_id="run-2")])
    assert ledger.cells("m", "production", DAY) == {
        cell(0): state(0, rows=9, run_id="run-2"),
        cell(1): state(1),
    }
    assert ledger.cells("m", "staging", DAY) == {cell(0): others[1]}
    assert ledger.cells("n", "production", DAY) == {cell(0): others[2]}


def a_window_gives_the_cells_that_touch_it(ledger: Ledger) -> None:
    ledger.record(state(hour) for hour in range(5))

    def hours(start: float, stop: float) -> list[float]:
        window = Window(START + start * HOUR, START + stop * HOUR)
        found = ledger.cells("m", "production", window)
        return sorted((each.start - START) / HOUR for each in found)

    assert hours(1, 3) == [1, 2]
    assert hours(1.5, 1.6) == [1]
    assert hours(0.999, 3.001) == [0, 1, 2, 3]
    # half a second is a longer text than a whole one
    second = 1 / 3600
    assert hours(2, 2 + 0.5 * second) == [2]
    assert hours(1 + 0.5 * second, 2) == [1]
    assert hours(7, 9) == []


def newest_and_oldest_are_by_time(ledger: Ledger) -> None:
    assert ledger.newest("m", "production") is None
    assert ledger.oldest("m", "production") is None
    ledger.record([state(3), state(20), state(1), state(23, environment="staging")])
    newest, oldest = ledger.newest("m", "production"), ledger.oldest("m", "production")
    assert (newest, oldest) == (state(20), state(1))


def pending_is_what_a_sink_lacks(ledger: Ledger) -> None:
    ledger.record(
        [
            state(0),
            state(1),
            state(2, landed_digest="newer"),
            state(3, landed_digest="", state="no_data"),
            state(4, environment="staging"),
        ]
    )
    assert owed(ledger, "influxdb", "m", "production") == [
        state(2, landed_digest="newer"),
        state(1),
        state(0),
    ]
    ledger.record_loads([load(0), load(2, landed_digest="older"), load(1, sink="other")])
    pending = owed(ledger, "influxdb", "m", "production")
    assert [each.cell for each in pending] == [cell(2), cell(1)]
    ledger.record_loads([load(2, landed_digest="newer"), load(1)])
    assert owed(ledger, "influxdb", "m", "production") == []
    assert [each.cell for each in owed(ledger, "other", "m", "production")] == [cell(2), cell(0)]
    # back to what was loaded before is not what is loaded now
    ledger.record([state(2, landed_digest="older")])
    assert [each.cell for each in owed(ledger, "influxdb", "m", "production")] == [cell(2)]


def what_was_loaded_long_ago_hides_nothing(ledger: Ledger) -> None:
    """Slices that the sink has whole are passed over, whatever the order in which they were written."""
    hours = [*range(400, 600), *range(400)]
    ledger.record(state(hour, landed_digest=f"{hour}") for hour in hours)
    ledger.record_loads(load(hour, landed_digest=f"{hour}") for hour in range(600))
    assert owed(ledger, "influxdb", "m", "production") == []
    ledger.record([state(599, landed_digest="new"), state(130, landed_digest="new")])
    # two that were given each other's rows
    ledger.record([state(5, landed_digest="6"), state(6, landed_digest="5")])
    # of a cell that is landed no more nothing is owed
    ledger.record([state(300, landed_digest="", state="no_data")])
    found = owed(ledger, "influxdb", "m", "production")
    assert [each.cell for each in found] == [cell(599), cell(130), cell(6), cell(5)]


def what_a_sink_lacks_is_counted(ledger: Ledger) -> None:
    ledger.record([state(0), state(1), state(2), state(3, run_id="mine")])
    ledger.record_loads([load(1)])

    def values(hour: float) -> int:
        before = cell(hour).start
        return pending_values(ledger, "influxdb", "m", "production", before, "mine")

    assert [values(hour) for hour in (0, 1, 2, 3, 9)] == [0, 2, 2, 4, 4]


def cells_are_set_aside_and_taken_up(ledger: Ledger) -> None:
    assert deferred_cells(ledger, "m", "production") == {}
    put_aside(ledger, "m", "production", [cell(1), cell(0)], "run-1", "it's wrong")
    put_aside(ledger, "m", "staging", [cell(1)], "run-1", "wrong")
    put_aside(ledger, "m", "production", [cell(1)], "run-2", "still wrong")
    assert deferred_cells(ledger, "m", "production") == {cell(0): "run-1", cell(1): "run-2"}
    take_up(ledger, "m", "production", [cell(1), cell(7)])
    assert deferred_cells(ledger, "m", "production") == {cell(0): "run-1"}
    assert deferred_cells(ledger, "m", "staging") == {cell(1): "run-1"}


def loads_go_there_and_back(ledger: Ledger) -> None:
    loads = [load(0), load(1, loaded=0, refused=7)]
    ledger.record_loads([*loads, load(0, sink="other"), load(0, environment="staging")])
    assert ledger.loads("influxdb", "m", "production", DAY) == {each.cell: each for each in loads}
    assert ledger.loads("influxdb", "m", "production", cell(1)) == {cell(1): loads[1]}
    assert ledger.loads("nothing", "m", "production", DAY) == {}
    ledger.record_loads([load(0, delete_count=5)])
    assert ledger.loads("influxdb", "m", "production", cell(0)) == {
        cell(0): load(0, delete_count=5)
    }


def forgotten_loads_are_owed_again(ledger: Ledger) -> None:
    ledger.record([state(0), state(1), state(2)])
    others = [load(1, sink="other"), load(1, environment="staging"), load(1, measurement="n")]
    ledger.record_loads([load(0), load(1), load(2), *others])
    ledger.forget_loads("influxdb", "m", "production", cell(1))
    assert owed(ledger, "influxdb", "m", "production") == [state(1)]
    assert ledger.loads("other", "m", "production", cell(1)) == {cell(1): others[0]}
    assert ledger.loads("influxdb", "m", "staging", cell(1)) == {cell(1): others[1]}
    assert ledger.loads("influxdb", "n", "production", cell(1)) == {cell(1): others[2]}


def the_last_page_is_kept(ledger: Ledger) -> None:
    url = "http://localhost:8000/metrics"
    assert ledger.last_page("production", url) is None
    ledger.keep_page("production", url, START, b"one\x00\xff")
    ledger.keep_page("staging", url, START, b"other")
    assert ledger.last_page("production", url) == (START, b"one\x00\xff")
    later = START + timedelta(microseconds=1)
    ledger.keep_page("production", url, later, b"two")
    assert ledger.last_page("production", url) == (later, b"two")
    assert ledger.last_page("staging", url) == (START, b"other")


def receipt(run_id: str, flow: str = "collect", environment: str = "production") -> Receipt:
    """The shortest of such a run."""
    return Receipt(flow=flow, run_id=run_id, environment=environment, status="ok", window=None)


def runs_and_sound_suites_are_kept(ledger: Ledger) -> None:
    final = receipt("run-1").model_copy(update={"report": "the report's path"})
    ledger.keep_receipt(receipt("run-1"))
    ledger.keep_receipt(final)
    assert ledger.last_runs("collect", "production", "run-2", 9) == [final.model_dump_json()]
    assert ledger.verified(["digest"]) == frozenset()
    ledger.keep_verified("digest")
    ledger.keep_verified("digest")
    assert ledger.verified(["other", "digest"]) == {"digest"}
    assert ledger.verified([]) == frozenset()


def the_last_runs_are_the_newest_of_their_kind(ledger: Ledger) -> None:
    ids = ["20260131T235959-ffffff", "20260201T000000-aaaaaa", "20260201T000001-000000"]
    for run_id in ids:
        ledger.keep_receipt(receipt(run_id))
    ledger.keep_receipt(receipt("20260131T235959-eeeeee", environment="staging"))
    ledger.keep_receipt(receipt("20260131T235959-dddddd", flow="backfill"))
    one, two, three = (receipt(run_id).model_dump_json() for run_id in ids)
    assert ledger.last_runs("collect", "production", "20260201T000002-000000", 9) == [
        three,
        two,
        one,
    ]
    assert ledger.last_runs("collect", "production", ids[2], 9) == [two, one]
    assert ledger.last_runs("collect", "production", ids[2], 1) == [two]
    assert ledger.last_runs("collect", "production", ids[0], 9) == []
    assert ledger.last_runs("collect", "nowhere", ids[2], 9) == []


def odd_names_stay_apart(ledger: Ledger) -> None:
    odd = ["o'brien", '"; DROP TABLE cells; --', "täst 日本", "%", "_", "a\\"]
    ledger.record(state(0, environment=name, rows=number) for number, name in enumerate(odd))
    for number, name in enumerate(odd):
        assert ledger.cells("m", name, DAY)[cell(0)].rows == number


CHECKS: list[Callable[[Ledger], None]] = [
    states_go_there_and_back,
    a_state_is_replaced_and_no_other,
    a_window_gives_the_cells_that_touch_it,
    newest_and_oldest_are_by_time,
    pending_is_what_a_sink_lacks,
    what_was_loaded_long_ago_hides_nothing,
    what_a_sink_lacks_is_counted,
    cells_are_set_aside_and_taken_up,
    loads_go_there_and_back,
    forgotten_loads_are_owed_again,
    the_last_page_is_kept,
    runs_and_sound_suites_are_kept,
    the_last_runs_are_the_newest_of_their_kind,
    odd_names_stay_apart,
]
