"""Tiers of an SLO, and counting of events: factors, windows, first values."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from tasks.analysis.slo.counting import growth
from tasks.analysis.slo.tiers import needed_events, tiers_of
from tasks.core.slos import Slo

MINUTE = timedelta(minutes=1)
NAN = float("nan")


def slo(objective: float, window: str = "30d") -> Slo:
    ratio = {"total": "x_total", "bad": "y_total"}
    values = {"id": "a", "objective": objective, "window": window, "ratio": ratio, "summary": "s"}
    return Slo.model_validate(values)


@pytest.mark.parametrize(
    ("objective", "window", "factors"),
    [
        (0.999, "30d", [14.4, 6.0, 1.0]),
        # share × window / long
        (0.999, "7d", [3.36, 1.4, 1.0]),
        (0.999, "90d", [43.2, 18.0, 3.0]),
        # 14.4 × 0.1 is more than all, 6 × 0.1 is not
        (0.9, "30d", [6.0, 6.0, 1.0]),
        (0.8, "30d", [3.0, 3.0, 1.0]),
        (0.5, "30d", [1.5, 1.5, 1.0]),
        (0.931, "30d", [14.4, 6.0, 1.0]),
        (0.93, "30d", [6.0, 6.0, 1.0]),
    ],
)
def test_factors_follow_from_the_window_and_can_be_reached(
    objective: float, window: str, factors: list[float]
) -> None:
    found = list(tiers_of(slo(objective, window), MINUTE))

    assert [tier.factor for tier in found] == factors
    assert all(tier.factor * (1 - objective) < 1 for tier in found)
    assert [tier.is_rescaled for tier in found] == [t.factor != t.wanted for t in found]


def test_short_windows_have_four_samples_or_the_tier_is_left_out() -> None:
    def usable(window: str, sampling: timedelta) -> list[str]:
        return [t.name for t in tiers_of(slo(0.99, window), sampling) if t.is_usable]

    assert usable("1h", timedelta(seconds=15)) == ["fast", "slow", "ticket"]
    assert usable("1h", MINUTE) == ["ticket"]
    assert usable("1h", timedelta(minutes=5)) == []
    assert usable("30d", MINUTE) == ["fast", "slow", "ticket"]


@pytest.mark.parametrize(("objective", "events"), [(0.999, 4), (0.9, 6), (0.75, 11), (0.5, 29)])
def test_the_least_traffic_lets_a_total_outage_fire(objective: float, events: int) -> None:
    assert needed_events(slo(objective).budget) == events


@pytest.mark.parametrize(
    ("values", "is_known", "expected"),
    [
        ([0, 3, 3, 7], [1, 1, 1, 1], [0, 3, 0, 4]),
        # a reset: what it counted since
        ([5, 9, 2, 4], [1, 1, 1, 1], [0, 4, 2, 2]),
        # 5 first errors of a known target, and a million old ones
        ([NAN, NAN, 5, 5], [1, 1, 1, 1], [0, 0, 5, 0]),
        ([NAN, NAN, 1e6, 1e6], [0, 0, 1, 1], [0, 0, 0, 0]),
        ([1e6, 1e6], [1, 1], [0, 0]),
        # it comes and goes
        ([4, NAN, NAN, 6], [1, 0, 0, 1], [0, 0, 0, 2]),
        ([NAN, NAN], [1, 1], [0, 0]),
    ],
)
def test_each_series_grows_by_what_it_counted(
    values: list[float], is_known: list[Any], expected: list[float]
) -> None:
    grown, is_counted = growth(np.array(values, float), np.array(is_known, bool), MINUTE)

    assert grown.tolist() == expected
    # the first sample says nothing of what was before
    assert not is_counted[0]


def test_a_gap_of_more_than_an_hour_makes_a_baseline() -> None:
    for gap, counted in ((59, 5.0), (60, 0.0)):
        values = np.array([10.0, *[NAN] * gap, 15.0])
        grown, _ = growth(values, np.zeros(len(values), bool), MINUTE)
        assert grown.sum() == counted
