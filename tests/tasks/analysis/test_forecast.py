from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.analysis.curve import Curve, from_arrays
from tasks.analysis.forecast import Forecast, NoForecast, forecast, level_now, plan_of


def curve(values: Any, start: int = 1, name: str = "run") -> Curve:
    reported = np.asarray(values, dtype=np.float64)
    return from_arrays(name, np.arange(start, start + len(reported)), reported)


def power(rounds: int, end: float = 0.9, scale: float = 5.0) -> Any:
    return end - (end - 0.1) * (1.0 + np.arange(rounds) / scale) ** -1.2


def made(values: Any, planned: int | None, history: Any = ()) -> Forecast:
    result = forecast(curve(values), planned, history)
    assert isinstance(result, Forecast)
    return result


def test_a_smooth_run_is_seen_through() -> None:
    whole = power(100)

    result = made(whole[:40], 100)

    assert result.final.low <= whole[-5:].mean() <= result.final.high
    assert result.final.estimate == pytest.approx(whole[-5:].mean(), abs=0.02)
    assert result.final.level == 0.8


def test_past_runs_narrow_the_forecast() -> None:
    rng = np.random.default_rng(0)
    past = [
        curve(power(60, end, 6.0) + 0.005 * rng.normal(size=60), name=f"past {n}")
        for n, end in enumerate(np.linspace(0.82, 0.9, 20))
    ]
    seen = power(60, 0.86, 6.0)[:8] + 0.005 * rng.normal(size=8)

    alone, helped = made(seen, 60), made(seen, 60, past)

    assert helped.final.high - helped.final.low < 0.7 * (alone.final.high - alone.final.low)
    assert helped.history_share > 0.4
    assert len(helped.neighbours) == 20
    assert helped.final.estimate == pytest.approx(power(60, 0.86, 6.0)[-5:].mean(), abs=0.015)


def test_a_plan_unlike_that_of_all_past_runs_is_forecast_with_care() -> None:
    rng = np.random.default_rng(0)
    past = [
        curve(power(100, end, 6.0) + 0.005 * rng.normal(size=100), name=f"past {n}")
        for n, end in enumerate(np.linspace(0.6, 0.9, 20))
    ]
    seen = power(100, 0.8, 6.0)[:30] + 0.005 * rng.normal(size=30)

    finals = [made(seen, planned, past).final for planned in (100, 101, 120, 200, 300)]

    widths = [final.high - final.low for final in finals]
    assert widths[0] < widths[1] < 1.1 * widths[2] < widths[3]
    assert widths[1] < 0.1
    assert max(widths) < 0.25
    assert all(final.low < power(100, 0.8, 6.0)[-5:].mean() < final.high for final in finals[:3])


def test_a_collapsed_past_run_teaches_nothing() -> None:
    past = [curve([*power(40), *[0.1] * 20], name="broken"), curve(power(60), name="good")]

    assert made(power(20), 60, past).neighbours == ("good",)


def test_without_a_plan_the_longest_similar_run_is_the_plan() -> None:
    past = [curve(power(50)), curve(power(80)), curve(power(10))]

    assert made(power(20), None, past).final_round == 80
    assert plan_of(curve(power(20), start=0), past) == 79


def test_without_plan_and_history_there_is_no_forecast() -> None:
    assert forecast(curve(power(20)), None) == NoForecast(
        "the planned number of rounds is unknown: set it (total rounds), or give a history of"
        " longer runs"
    )


def test_two_rounds_are_too_few() -> None:
    assert forecast(curve([0.1, np.nan, 0.2]), 50) == NoForecast(
        "a forecast needs 3 rounds with a value, there are 2"
    )


def test_a_plan_that_is_over_leaves_the_mean_of_the_last_five() -> None:
    result = made([0.1] * 10 + [0.5, 0.6, 0.7, 0.8, 0.9], 15)

    assert (result.final.low, result.final.high) == (pytest.approx(0.7), pytest.approx(0.7))
    assert len(result.rounds) == 0
    assert result.reach(0.6).probability == 1.0
    assert result.reach(0.8).probability == 0.0


def test_a_target_reached_already_takes_no_rounds() -> None:
    reached = made([0.1, 0.5, *[0.8] * 10], 40).reach(0.7)

    assert (reached.estimate, reached.low, reached.high, reached.probability) == (0, 0, 0, 1)


def test_a_target_beyond_the_possible_is_never_reached() -> None:
    reached = made(power(30), 60).reach(1.2)

    assert (reached.estimate, reached.high, reached.probability) == (None, None, 0.0)


def test_a_target_ahead_is_reached_in_time() -> None:
    whole = power(100)
    means = np.convolve(whole, np.full(5, 0.2), mode="valid")
    true = int(np.argmax(means >= 0.8)) + 5 - 20

    reached = made(whole[:20], 100).reach(0.8)

    assert reached.estimate is not None
    assert reached.low is not None
    assert reached.low <= true
    assert reached.high is None or reached.high >= true
    assert reached.probability > 0.5


def test_the_same_run_gets_the_same_forecast() -> None:
    assert np.array_equal(made(power(20), 60).levels, made(power(20), 60).levels)


def test_a_long_future_is_drawn_on_a_thinner_grid() -> None:
    result = made(power(50), 100_000)

    assert len(result.rounds) <= 401
    assert result.rounds[-1] == 100_000
    assert result.levels.shape == (1000, len(result.rounds))


def test_rounds_go_by_the_curves_own_numbers() -> None:
    result = forecast(curve(power(20), start=101), 150)

    assert isinstance(result, Forecast)
    assert (result.rounds[0], result.rounds[-1], result.last_round) == (121, 150, 120)


def test_a_collapsed_run_is_forecast_from_what_it_did_since() -> None:
    result = made([*power(50), *[0.1] * 20], 100)

    assert result.final.estimate == pytest.approx(0.1, abs=0.05)
    assert result.n == 19


def test_holes_are_bridged() -> None:
    values = power(40)
    values[::3] = np.nan
    values[-2:] = np.nan

    result = made(values, 80)

    assert result.final.low <= power(80)[-5:].mean() <= result.final.high
    assert level_now(curve(values)) == pytest.approx(power(40)[-9:].mean(), abs=0.02)


unit = st.floats(0.0, 1.0, width=32)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(unit | st.just(float("nan")), min_size=1, max_size=40),
    st.integers(1, 120),
    st.lists(st.lists(unit, min_size=1, max_size=60), max_size=3),
)
def test_any_series_has_ordered_intervals_or_a_reason(
    values: list[float], planned: int, past: list[list[float]]
) -> None:
    result = forecast(curve(values), planned, [curve(one) for one in past])

    if isinstance(result, NoForecast):
        assert result.reason
        return
    assert 0.0 <= result.final.low <= result.final.estimate <= result.final.high <= 1.0
    reached = result.reach(0.5)
    assert 0.0 <= reached.probability <= 1.0
    if reached.high is not None:
        assert reached.low is not None
        assert reached.estimate is not None
        assert 0 <= reached.low <= reached.estimate <= reached.high
