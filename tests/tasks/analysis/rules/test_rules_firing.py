"""Prometheus's states of an alert, by hand: minutes of breaches, and minutes at which it fires."""

from datetime import UTC, datetime, timedelta

import pytest

from tasks.analysis.rules.firing import Alert, replay

START = datetime(2026, 11, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def at(minute: float) -> datetime:
    return START + minute * MINUTE


def minutes(*spans: tuple[int, int]) -> list[int]:
    return [minute for first, last in spans for minute in range(first, last + 1)]


@pytest.mark.parametrize(
    ("for_", "keep", "breaches", "fires"),
    [
        # it fires at once, and is resolved by the first evaluation without a breach
        (0, 0, minutes((3, 5)), [(3, 3, 6)]),
        (2, 0, minutes((3, 5)), [(3, 5, 6)]),
        # pending only
        (3, 0, minutes((3, 5)), []),
        # one evaluation without a breach begins `for` anew
        (2, 0, minutes((3, 5), (7, 9)), [(3, 5, 6), (7, 9, 10)]),
        (3, 0, minutes((3, 5), (7, 9)), []),
        # kept for 3 minutes from the first evaluation without a breach, at 6
        (0, 3, minutes((3, 5)), [(3, 3, 9)]),
        (0, 3, minutes((3, 5), (8, 8)), [(3, 3, 12)]),
        (0, 3, minutes((3, 5), (9, 9)), [(3, 3, 12 + 1)]),
        (0, 3, minutes((3, 5), (10, 10)), [(3, 3, 9), (10, 10, 14)]),
        # what is pending is not kept
        (5, 3, minutes((3, 5), (7, 11)), []),
    ],
)
def test_an_alert_fires_as_prometheus_says(
    for_: int, keep: int, breaches: list[int], fires: list[tuple[int, int, int]]
) -> None:
    expected = [tuple(map(at, span)) for span in fires]

    assert (
        replay(Alert(for_ * MINUTE, keep * MINUTE, MINUTE), map(at, breaches), at(60)) == expected
    )
    # the state goes on from one query to the next
    for cut in range(len(breaches)):
        alert = Alert(for_ * MINUTE, keep * MINUTE, MINUTE)
        parts = breaches[:cut], breaches[cut:]
        spans = replay(alert, map(at, parts[0]), at(parts[1][0]))
        assert spans + replay(alert, map(at, parts[1]), at(60)) == expected


def test_the_state_after_the_last_evaluation() -> None:
    alert = Alert(2 * MINUTE, timedelta(0), MINUTE)
    states = []
    for minute in (3, 4, 5):
        alert.breach(at(minute))
        states.append(alert.state)
    alert.quiet(at(6))
    states.append(alert.state)
    alert.quiet(at(6.1))

    assert [*states, alert.state] == ["pending", "pending", "firing", "firing", "ok"]
