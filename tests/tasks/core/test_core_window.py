"""Windows on the grid, and the texts of times and durations."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.errors import UsageInvalid
from tasks.core.window import (
    Cell,
    Window,
    ceil,
    floor,
    follows,
    format_duration,
    groups_of,
    iso,
    micros,
    parse_duration,
    parse_time,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

# around the epoch, the summer times of many places, and a leap day
moments = st.datetimes(datetime(1968, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
grids = st.integers(1, 14 * 24 * 3600).map(lambda seconds: timedelta(seconds=seconds))


@settings(deadline=None)
@given(moments, grids)
def test_floor_and_ceil_hold_a_moment_within_one_step(moment: datetime, grid: timedelta) -> None:
    low, high = floor(moment, grid), ceil(moment, grid)
    assert low <= moment < low + grid
    assert high - grid < moment <= high
    assert floor(low, grid) == ceil(low, grid) == low
    assert (low == high) == (moment == low)


@settings(deadline=None)
@given(moments, moments, grids)
def test_cells_cover_a_window_exactly_once(one: datetime, other: datetime, grid: timedelta) -> None:
    start, stop = sorted((one, other))
    stop = min(stop, start + 50 * grid)
    if start == stop:
        return
    window = Window(start, stop)
    cells = list(window.cells(grid))
    assert all(a.stop == b.start for a, b in pairwise(cells))
    assert cells[0].start <= start < cells[0].stop
    assert cells[-1].start < stop <= cells[-1].stop
    assert window.widened(grid) == Window(cells[0].start, cells[-1].stop)
    assert all(cell.length == grid for cell in cells)


def test_a_moment_on_the_grid_belongs_to_the_cell_that_it_starts() -> None:
    window = Window(NOON, NOON + 2 * HOUR)
    assert list(window.cells(HOUR)) == [
        Cell(NOON, NOON + HOUR),
        Cell(NOON + HOUR, NOON + 2 * HOUR),
    ]
    assert window.widened(HOUR) == window
    odd = Window(NOON + timedelta(microseconds=1), NOON + HOUR + timedelta(microseconds=1))
    assert [cell.start for cell in odd.cells(HOUR)] == [NOON, NOON + HOUR]


def test_grid_starts_at_the_epoch_whatever_the_zone() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    moment = datetime(2026, 1, 31, 12, 45, tzinfo=india)
    assert floor(moment, HOUR) == datetime(2026, 1, 31, 7, tzinfo=UTC)
    before = datetime(1969, 12, 31, 23, 30, tzinfo=UTC)
    assert floor(before, HOUR) == datetime(1969, 12, 31, 23, tzinfo=UTC)
    assert ceil(before, HOUR) == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("stop", [NOON, NOON - HOUR])
def test_empty_or_backward_window_is_refused(stop: datetime) -> None:
    with pytest.raises(UsageInvalid, match=r"--start/--stop: the window \[2026-01-31T12:00:00Z"):
        Window(NOON, stop)


def test_time_without_a_zone_is_refused() -> None:
    with pytest.raises(UsageInvalid, match="no time zone"):
        Window(NOON.replace(tzinfo=None), NOON)


def test_clipped_ends_a_window_and_leaves_none_when_nothing_is_left() -> None:
    window = Window(NOON, NOON + HOUR)
    assert window.clipped(NOON + HOUR / 2) == Window(NOON, NOON + HOUR / 2)
    assert window.clipped(NOON + 2 * HOUR) == window
    assert window.clipped(NOON) is None
    assert window.clipped(NOON - HOUR) is None


def test_a_cell_is_no_window_and_both_are_ordered_by_time() -> None:
    assert Cell(NOON, NOON + HOUR) != Window(NOON, NOON + HOUR)
    later = Cell(NOON + HOUR, NOON + 2 * HOUR)
    assert sorted([later, Cell(NOON, NOON + HOUR)])[1] == later
    assert later.length == HOUR


@settings(deadline=None)
@given(moments)
def test_micros_and_iso_are_exact(moment: datetime) -> None:
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros(moment)) == moment
    assert datetime.fromisoformat(iso(moment)) == moment
    assert iso(moment).endswith("Z")


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("15s", timedelta(seconds=15)),
        ("250ms", timedelta(milliseconds=250)),
        ("1h30m", timedelta(minutes=90)),
        ("0.5h", timedelta(minutes=30)),
        ("1.1h", timedelta(minutes=66)),
        ("2w1d", timedelta(days=15)),
        ("1h1h", timedelta(hours=2)),
    ],
)
def test_durations_are_read(text: str, length: timedelta) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not a duration such as 15s"),
        ("15", "is not a duration"),
        ("s", "is not a duration"),
        ("1H", "is not a duration"),
        ("1y", "is not a duration"),
        ("-1s", "is not a duration"),
        ("1h 30m", "is not a duration"),
        ("1e3s", "is not a duration"),
        ("PT15S", "is not a duration"),
        ("٣s", "is not a duration"),
        ("0s", "is not positive"),
        ("0.0000001ms", "is not positive"),
        ("1.5ms", "is finer than a millisecond"),
        ("99999999999999d", "is too long"),
    ],
)
def test_what_is_no_duration_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_duration(text)


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(seconds=90), "90s"),
        (timedelta(minutes=60), "1h"),
        (timedelta(days=7), "1w"),
        (timedelta(days=8), "8d"),
        (timedelta(milliseconds=1500), "1500ms"),
    ],
)
def test_durations_are_written_in_the_largest_whole_unit(length: timedelta, text: str) -> None:
    assert format_duration(length) == text


@settings(deadline=None)
@given(st.integers(1, 10**12))
def test_durations_go_there_and_back(milliseconds: int) -> None:
    length = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(length)) == length


@pytest.mark.parametrize(
    "length", [timedelta(0), timedelta(seconds=-1), timedelta(microseconds=1500)]
)
def test_what_cannot_be_written_exactly_is_refused(length: timedelta) -> None:
    with pytest.raises(ValueError, match="not a positive number of milliseconds"):
        format_duration(length)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", NOON),
        ("-24h", NOON - 24 * HOUR),
        ("+1h30m", NOON + 1.5 * HOUR),
        ("2026-01-30", datetime(2026, 1, 30, tzinfo=UTC)),
        ("2026-01-30T06:00:00", datetime(2026, 1, 30, 6, tzinfo=UTC)),
        ("2026-01-30T06:00:00Z", datetime(2026, 1, 30, 6, tzinfo=UTC)),
        ("2026-01-30T06:00:00+02:00", datetime(2026, 1, 30, 4, tzinfo=UTC)),
    ],
)
def test_times_are_read(text: str, moment: datetime) -> None:
    found = parse_time(text, NOON)
    assert found == moment
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "-0s",
        " now",
        "yesterday",
        "2026-02-30",
        "1769860800",
        "-99999999d",
        "-9999999999999999d",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
    ],
)
def test_what_is_no_time_is_refused_with_its_argument(text: str) -> None:
    with pytest.raises(UsageInvalid, match=r"^--start: ") as caught:
        parse_time(text, NOON, "--start")
    assert repr(text) in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text", ["0001-01-01", "0226-01-31", "1969-12-31", "2262-01-02", "-30000d"]
)
def test_a_time_that_no_store_can_hold_is_refused(text: str) -> None:
    with pytest.raises(UsageInvalid, match=r"^--start: .* Fix: give one from 1970 to 2262$"):
        parse_time(text, NOON, "--start")


@pytest.mark.parametrize("text", ["1970-01-01", "2262-01-01"])
def test_the_first_and_the_last_time_are_taken(text: str) -> None:
    assert iso(parse_time(text, NOON)) == f"{text}T00:00:00Z"


def test_groups_end_at_a_gap_and_where_they_are_full() -> None:
    hours = [Cell(NOON + n * HOUR, NOON + (n + 1) * HOUR) for n in (0, 1, 2, 4, 5)]
    assert list(groups_of(hours, 2, fits=follows)) == [hours[:2], hours[2:3], hours[3:]]
    assert list(groups_of(hours, 9, most_items=4)) == [hours[:4], hours[4:]]
    # older cells that come behind newer ones do not follow them
    assert list(groups_of(hours[1::-1], 9, fits=follows)) == [[hours[1]], [hours[0]]]
    assert list(groups_of([], 2)) == []


def test_an_item_that_is_too_large_is_alone_in_its_group() -> None:
    assert list(groups_of([1, 5, 1, 2, 1], 3, size=lambda item: item)) == [[1], [5], [1, 2], [1]]
