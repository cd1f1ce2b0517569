"""What every ledger answers about gaps, on SQLite or on PostgreSQL: checks that the tests of both run."""

from collections.abc import Callable, Iterable
from datetime import timedelta

from tasks.core.window import Window
from tasks.ledger.gaps import covered_beyond, find_gaps, most_of
from tasks.ledger.ledger import Ledger
from tests.support.ledger_behaviours import HOUR, START, cell, state


def cover(ledger: Ledger, hours: Iterable[int], **changes: object) -> None:
    """Records these hours as read to their end."""
    ledger.record(state(hour, covered_until=cell(hour).stop, **changes) for hour in hours)


def gaps(ledger: Ledger, first: int, last: int) -> list[tuple[int, int]]:
    """The stretches between two hours, in hours after START."""
    window = Window(START + first * HOUR, START + last * HOUR)
    found = find_gaps(ledger, "m", "production", window, HOUR)
    return [((s.start - START) // HOUR, (s.stop - START) // HOUR) for s in found.stretches]


def what_nobody_covered_is_a_gap(ledger: Ledger) -> None:
    assert gaps(ledger, 0, 6) == [(0, 6)]
    cover(ledger, [1, 2, 4])
    assert gaps(ledger, 0, 6) == [(0, 1), (3, 4), (5, 6)]
    assert gaps(ledger, 1, 3) == []
    assert gaps(ledger, 2, 4) == [(3, 4)]
    cover(ledger, [0, 3, 5])
    assert gaps(ledger, 0, 6) == []


def a_cell_read_in_part_is_a_gap_and_one_without_data_is_none(ledger: Ledger) -> None:
    cover(ledger, [0, 3])
    cover(ledger, [1], state="no_data", landed_digest="")
    ledger.record([state(2, covered_until=cell(2).stop - timedelta(microseconds=1))])
    assert gaps(ledger, 0, 4) == [(2, 3)]


def gaps_of_others_are_others(ledger: Ledger) -> None:
    cover(ledger, range(4))
    cover(ledger, [0, 1], environment="staging")
    cover(ledger, [2], measurement="n")
    window = Window(START, START + 4 * HOUR)
    assert find_gaps(ledger, "m", "staging", window, HOUR).count == 2
    assert find_gaps(ledger, "n", "production", window, HOUR).count == 3
    assert find_gaps(ledger, "m", "production", window, HOUR).count == 0


def stretches_go_on_from_slice_to_slice(ledger: Ledger) -> None:
    covered = set(range(1000)) - {5, 127, 128, 129, *range(250, 520), 999}
    cover(ledger, covered)
    assert gaps(ledger, 0, 1000) == [(5, 6), (127, 130), (250, 520), (999, 1000)]


def what_is_covered_beyond_now_is_found(ledger: Ledger) -> None:
    cover(ledger, [0, 1, 2, 4])
    beyond = covered_beyond(ledger, "m", "production", START + 1.5 * HOUR, HOUR)
    assert [found.cell for found in beyond] == [cell(1), cell(2), cell(4)]
    assert covered_beyond(ledger, "m", "production", START + 5 * HOUR, HOUR) == []
    assert covered_beyond(ledger, "m", "staging", START, HOUR) == []


def the_fullest_of_the_newest_cells_is_known(ledger: Ledger) -> None:
    assert most_of(ledger, "rows", "m", "production") == 0
    cover(ledger, [0], rows=900)
    cover(ledger, range(1, 1001), rows=7)
    cover(ledger, [1001], rows=8)
    assert most_of(ledger, "rows", "m", "production") == 8


GAP_CHECKS: list[Callable[[Ledger], None]] = [
    what_nobody_covered_is_a_gap,
    a_cell_read_in_part_is_a_gap_and_one_without_data_is_none,
    gaps_of_others_are_others,
    stretches_go_on_from_slice_to_slice,
    what_is_covered_beyond_now_is_found,
    the_fullest_of_the_newest_cells_is_known,
]
