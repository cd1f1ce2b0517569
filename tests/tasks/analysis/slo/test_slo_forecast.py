"""The forecast of a budget: what leaves the window, what may come, and when it says nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tasks.analysis.slo.counting import Events
from tasks.analysis.slo.forecast import BudgetForecast, Past, budget_used, forecast
from tasks.core.slos import Slo

AT = datetime(2026, 11, 30, 7, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
DAY = 96
Array = np.ndarray[Any, Any]


def slo(objective: float = 0.99, window: str = "30d") -> Slo:
    ratio = {"total": "t", "bad": "b"}
    return Slo.model_validate(
        {"id": "s", "objective": objective, "window": window, "ratio": ratio, "summary": "s"}
    )


def events(bad: Array, total: Array | float = 100.0, seen: Array | None = None) -> Events:
    all_of = np.broadcast_to(np.asarray(total, float), bad.shape)
    is_seen = np.ones(len(bad), bool) if seen is None else seen
    return Events(AT, QUARTER, all_of, bad.astype(float), is_seen)


def chance(days: int, share: float) -> Array:
    return np.random.default_rng(4).binomial(100, share, days * DAY)


@pytest.mark.parametrize(
    ("bad", "needs"),
    [
        (chance(6, 0.01), "6 of 7 days"),
        (np.append(np.zeros(8 * DAY - 1), 19), "19 of 20 bad events"),
        (np.zeros(0), "0 of 7 days"),
    ],
)
def test_too_little_data_is_no_forecast(bad: Array, needs: str) -> None:
    assert forecast(slo(), events(bad)) == BudgetForecast(needs=needs)


def test_the_least_data_is_enough() -> None:
    assert not forecast(slo(), events(np.append(np.zeros(7 * DAY - 1), 20))).needs
    # data begin with the indicator's first value, not with the window
    late = np.arange(30 * DAY) >= 24 * DAY
    assert forecast(slo(), events(chance(30, 0.01), seen=late)).needs == "6 of 7 days"


def test_a_budget_that_is_hardly_used_does_not_end_within_the_window() -> None:
    found = forecast(slo(), events(chance(30, 0.001)))

    assert (found.low, found.day, found.high) == (None, None, None)
    assert found.chances[1] <= found.chances[7] <= found.chances[30] < 0.2
    assert found.fan[0][1] == pytest.approx(0.9, abs=0.03)
    assert len(found.fan) == 30


def test_a_burn_of_twice_the_budget_ends_when_the_calm_part_is_gone() -> None:
    # 15 days at nothing, 6 at twice the budget: 40 % is used, and a day takes 2/30 more
    found = forecast(slo(), events(np.append(np.zeros(24 * DAY), chance(6, 0.02))))

    assert found.day is not None
    assert found.low is not None
    assert found.low <= found.day
    assert 4 <= found.day <= 14
    assert found.chances[1] < 0.2 < 0.5 < found.chances[30]


def test_bad_events_of_the_past_leave_the_window_when_known() -> None:
    bad = np.zeros(30 * DAY)
    # an outage of a quarter that used 80 % of the budget, 27 days ago
    bad[3 * DAY : 3 * DAY + 24] = 96
    bad[15 * DAY] = 20
    after = forecast(slo(), events(bad)).fan

    assert after[1][1] < 0.25
    assert after[4][1] > 0.85


def test_a_budget_that_is_spent_is_spent_now() -> None:
    found = forecast(slo(), events(chance(30, 0.02)))

    assert (found.low, found.day, found.high) == (0, 0, 0)
    assert found.chances == {1: 1, 7: 1, 30: 1}


def test_an_outage_that_lasts_goes_on() -> None:
    calm = chance(30, 0.001)
    burning = calm.copy()
    burning[-24:] = 90

    assert forecast(slo(), events(burning)).chances[1] > forecast(slo(), events(calm)).chances[1]
    assert forecast(slo(), events(burning)).chances[1] > 0.5


def test_the_same_history_has_the_same_forecast() -> None:
    assert forecast(slo(), events(chance(20, 0.005))) == forecast(slo(), events(chance(20, 0.005)))


@pytest.mark.parametrize("window", [1, 24, 200, 400])
def test_the_window_is_that_of_each_hour_ahead(window: int) -> None:
    # without a bad event to come, the window is what it has of the past
    rng = np.random.default_rng(1)
    known = rng.poisson(5, 300).astype(float)
    past = Past(known, np.full(300, 1e6), 3)
    used = budget_used(past, 0.5, window, 500)

    ahead = np.maximum(np.diff(used, axis=1), -1)
    assert used.shape == (2000, 500)
    total = np.minimum(np.arange(301, 801), window) * 1e6
    bad = np.median(used, axis=0) * total * 0.5
    at = min(window, 300) // 2
    left = known[max(0, 300 - window + at + 1) :].sum() if at + 1 < window else 0.0
    assert bad[at] == pytest.approx(left + 5 * min(at + 1, window), rel=0.4)
    assert np.isfinite(ahead).all()


@pytest.mark.parametrize("total", [0.0, 0.4])
def test_no_traffic_is_no_error(total: float) -> None:
    with np.errstate(all="raise"):
        found = forecast(
            slo(), events(np.append(np.zeros(8 * DAY), [20.0, 0]), np.full(8 * DAY + 2, total))
        )
    assert not found.needs
