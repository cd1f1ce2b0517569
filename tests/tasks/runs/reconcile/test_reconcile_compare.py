import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.quarantine import Reason, records
from tasks.core.series import Points, SeriesKey, SeriesSum
from tasks.core.severity import Severity
from tasks.core.window import micros
from tasks.runs.reconcile.compare import (
    Difference,
    compare,
    facts_of,
    landed_points,
    reasons_of,
    refused_keys,
    sums_of,
    suspects,
)
from tests.support.suite_examples import a_measurement
from tests.support.workbench import FIELDS, at, cell, rows

M = a_measurement(fields=FIELDS)
GET = (("environment", "production"), ("method", "GET"))
PUT = (("environment", "production"), ("method", "PUT"))
SHARE = SeriesKey(GET, "share_ratio")


def nanos(hours: float) -> int:
    return micros(at(hours)) * 1000


def of(*pairs: tuple[float, float]) -> Points:
    """A float series of hours and values."""
    times = np.array([nanos(hour) for hour, _ in pairs], dtype="int64")
    return Points("float", times, np.array([value for _, value in pairs], dtype="float64"))


def test_landed_points_are_the_values_by_series() -> None:
    frame = rows(
        M,
        [at(0), at(1), at(0)],
        method=["GET", "GET", None],
        share_ratio=[0.5, None, 0.25],
        size_bytes=[None, 2**63 - 1, None],
        note=[None, "", None],
        is_ready=[False, None, None],
    )
    found = landed_points(frame, M)
    assert {
        (key.tags, key.field): (each.kind, each.times.tolist(), each.values.tolist())
        for key, each in found.items()
    } == {
        (GET, "share_ratio"): ("float", [nanos(0)], [0.5]),
        (GET, "size_bytes"): ("int", [nanos(1)], [2**63 - 1]),
        (GET, "note"): ("string", [nanos(1)], [""]),
        (GET, "is_ready"): ("bool", [nanos(0)], [False]),
        (GET[:1], "share_ratio"): ("float", [nanos(0)], [0.25]),
    }
    assert landed_points(frame.iloc[:0], M) == {}


def test_sums_are_made_cell_by_cell() -> None:
    points = {SHARE: of((0, 1e16), (0.5, 1.0), (0.9, -1e16), (2, 3.0))}
    assert sums_of(points, [cell(0), cell(1), cell(2)]) == {
        cell(0): {SHARE: SeriesSum(3, 0.0)},
        cell(2): {SHARE: SeriesSum(1, 3.0)},
    }


def test_suspects_differ_in_count_sum_or_series() -> None:
    one = {SHARE: SeriesSum(2, 1.0)}
    landed = {cell(0): one, cell(1): one, cell(2): one, cell(3): one}
    stored = {
        cell(0): one,
        cell(1): {SHARE: SeriesSum(1, 1.0)},
        cell(2): {SHARE: SeriesSum(2, 1.5)},
        cell(3): {SeriesKey(PUT, "share_ratio"): SeriesSum(2, 1.0)},
        cell(4): one,
    }
    assert suspects(landed, stored) == [cell(1), cell(2), cell(3), cell(4)]
    assert suspects({cell(0): one}, {}) == [cell(0)]
    assert suspects(landed, landed) == []


def test_compare_tells_missing_extra_and_changed() -> None:
    landed = {SHARE: of((0, 0.1), (1, 0.2), (2, 0.3))}
    stored = {SHARE: of((1, 0.2), (2, 0.30000000000000004), (3, 0.4))}
    found = compare(landed, stored)
    assert found is not None
    assert [
        {key: times.tolist() for key, times in each.items()}
        for each in (found.missing, found.extra, found.changed)
    ] == [{SHARE: [nanos(0)]}, {SHARE: [nanos(3)]}, {SHARE: [nanos(2)]}]
    assert compare(landed, landed) is None
    assert compare({}, {}) is None


def test_another_type_is_another_value() -> None:
    whole = Points("int", np.array([nanos(0)]), np.array([1]))
    found = compare({SHARE: of((0, 1.0))}, {SHARE: whole})
    assert found is not None
    assert list(found.changed) == [SHARE]


@pytest.mark.parametrize(
    ("stored", "is_equal"), [("a\r\nb", True), ("ab", False), ("a\n b", False)]
)
def test_line_ends_of_texts_are_those_of_the_transport(stored: str, is_equal: bool) -> None:
    landed, read = (
        Points("string", np.array([nanos(0)]), np.array([text], dtype="object"))
        for text in ("a\nb", stored)
    )
    assert (compare({SHARE: landed}, {SHARE: read}) is None) == is_equal


def test_facts_do_not_depend_on_order_and_tell_keys_apart() -> None:
    other = SeriesKey(PUT, "share_ratio")
    both = facts_of({SHARE: of((0, 0.5), (1, 0.25)), other: of((0, 1.0))})
    assert both == facts_of({other: of((0, 1.0)), SHARE: of((0, 0.5), (1, 0.25))})
    assert (both.count, both.sum) == (3, 1.75)
    swapped = facts_of({SHARE: of((0, 0.5)), other: of((0, 1.0), (1, 0.25))})
    moved = facts_of({SHARE: of((0, 0.5), (2, 0.25)), other: of((0, 1.0))})
    assert len({both.key_hash, swapped.key_hash, moved.key_hash}) == 3
    assert facts_of({}).key_hash == "0" * 16


@pytest.mark.promise("Reconcile: `--deep` finds every difference")
@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.integers(0, 20), st.floats(0, 1)),
    st.dictionaries(st.integers(0, 20), st.floats(0, 1)),
)
def test_compare_agrees_with_dictionaries(mine: dict[int, float], theirs: dict[int, float]) -> None:
    landed, stored = ({SHARE: of(*sorted(each.items()))} for each in (mine, theirs))
    found = compare(landed, stored) or Difference({}, {}, {})
    counts = [sum(map(len, each.values())) for each in (found.missing, found.extra, found.changed)]
    shared = mine.keys() & theirs.keys()
    assert counts == [
        len(mine.keys() - theirs.keys()),
        len(theirs.keys() - mine.keys()),
        sum(mine[key] != theirs[key] for key in shared),
    ]
    assert (facts_of(landed).key_hash == facts_of(stored).key_hash) == (
        mine.keys() == theirs.keys()
    )


def times(*hours: float) -> dict[SeriesKey, np.ndarray]:  # type: ignore[type-arg]
    return {SHARE: np.array([nanos(hour) for hour in hours], dtype="int64")}


REASONS = {
    "missing": (times(5), {}, {}, False, {"missing": 1}),
    "pending": (times(5), times(6), times(7, 8), True, {"pending": 4}),
    "extra and changed": ({}, times(6), times(7, 8), False, {"changed": 2, "extra": 1}),
    "refused, though old": (times(1, 2), {}, {}, False, {"refused": 1, "expired": 1}),
    "expired before pending": (times(0.5, 5), {}, {}, True, {"expired": 1, "pending": 1}),
    "kept since then": (times(3), {}, {}, False, {"missing": 1}),
}


@pytest.mark.parametrize(
    ("missing", "extra", "changed", "is_pending", "expected"), REASONS.values(), ids=REASONS.keys()
)
def test_reasons(
    missing: dict[SeriesKey, np.ndarray],  # type: ignore[type-arg]
    extra: dict[SeriesKey, np.ndarray],  # type: ignore[type-arg]
    changed: dict[SeriesKey, np.ndarray],  # type: ignore[type-arg]
    is_pending: bool,
    expected: dict[str, int],
) -> None:
    difference = Difference(missing, extra, changed)
    assert reasons_of(difference, is_pending, times(1), nanos(3)) == expected


def test_refused_keys_are_those_of_sinks() -> None:
    frame = rows(M, [at(0), at(1)], method=["GET", "PUT"], share_ratio=[0.5, 0.6])
    parts = [
        records(
            frame,
            M,
            np.array([n]),
            ["share_ratio"],
            Reason(stage, "value", "c", "e", Severity.HIGH, "", "r"),  # type: ignore[arg-type]
        )
        for n, stage in ((0, "sink"), (1, "suite"))
    ]
    found = refused_keys(parts[0])
    assert {key: each.tolist() for key, each in found.items()} == {
        SeriesKey(GET, "share_ratio"): [nanos(0)]
    }
    assert refused_keys(parts[1]) == {}
