"""How epsilon goes on: exact for the mechanism it is made for, unbroken by odd numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.analysis import accounting
from tasks.analysis.spending import Reported, pace, reported
from tasks.core.training import PrivacyTerms, Round

NAN, INF = float("nan"), float("inf")


def rounds(*epsilons: float | None, first: int = 1) -> tuple[Round, ...]:
    return tuple(
        Round(n, None, None, None, None, e, None) for n, e in enumerate(epsilons, start=first)
    )


def terms(budget: float | None = None, remaining: float | None = None) -> PrivacyTerms:
    return PrivacyTerms(None, None, None, budget, remaining)


def last_rounds(epsilon: Reported) -> tuple[float, float, float]:
    going = pace(epsilon)
    assert going is not None
    assert epsilon.budget is not None
    draws = epsilon.last_round + going.rounds_for(epsilon.budget - going.spent_now)
    low, middle, high = np.quantile(draws, [0.1, 0.5, 0.9])
    return float(low), float(middle), float(high)


def test_what_is_reported() -> None:
    found = reported(rounds(0.1, 0.2, None, 0.4), terms(budget=1.0))
    assert found.rounds.tolist() == [1, 2, 4]
    assert found.spent.tolist() == [0.1, 0.2, 0.4]
    assert (found.spent_now, found.budget, found.fell, found.odd) == (0.4, 1.0, False, 0)


def test_odd_epsilons_are_counted_and_left_out() -> None:
    found = reported(rounds(0.1, NAN, INF, -1.0, 1e300, 0.3, 0.2), terms(budget=1.0))
    assert found.spent.tolist() == [0.1, 0.3, 0.2]
    assert (found.fell, found.odd) == (True, 4)


def test_what_remains_stands_in_for_what_is_not_reported() -> None:
    assert reported(rounds(None, None), terms(8.0, 6.0)).spent_now == 2.0
    assert reported(rounds(1.0, 2.0), terms(None, 6.0)).budget == 8.0
    # neither can be had of what remains alone
    alone = reported(rounds(None, None), terms(None, 6.0))
    assert (alone.spent_now, alone.budget) == (None, None)


def test_even_spending_goes_on_evenly() -> None:
    low, middle, high = last_rounds(reported(rounds(*[0.1 * n for n in range(1, 21)]), terms(3.0)))
    assert middle == pytest.approx(30.0, abs=1.0)
    assert low < middle < high
    assert high - low < 6.0


def test_spending_that_slows_down_lasts_longer_than_a_line_says() -> None:
    roots = [float(np.sqrt(n)) for n in range(1, 26)]
    low, middle, high = last_rounds(reported(rounds(*roots), terms(7.0)))
    # 7² rounds; a line from the last step says 44 or 45
    assert middle == pytest.approx(49.0, abs=1.5)
    assert low < 49.0 < high


def test_one_number_is_enough_for_a_wide_answer() -> None:
    low, _, high = last_rounds(reported(rounds(*[None] * 10), terms(4.0, 2.0)))
    # never sooner than a straight line says
    assert low <= 20.0 < high
    assert high - low > 5.0


@pytest.mark.parametrize(
    "epsilon",
    [
        reported((), terms(8.0)),
        reported(rounds(None), terms(8.0)),
        reported(rounds(NAN), terms(None, 5.0)),
    ],
    ids=["no round", "not reported", "NaN"],
)
def test_no_pace_without_an_epsilon(epsilon: Reported) -> None:
    assert pace(epsilon) is None


def test_nothing_spent_lasts_for_ever() -> None:
    going = pace(reported(rounds(*[1.0] * 10), terms(3.0)))
    assert going is not None
    assert np.isinf(going.rounds_for(2.0)).all()


@pytest.mark.slow
def test_the_pace_of_the_accountant_is_held() -> None:
    held = 0
    cases = [
        (noise, rate, times)
        for noise in (0.8, 2.0, 5.0)
        for rate in (0.02, 0.5)
        for times in (1.2, 1.5, 2.5)
    ]
    for noise, rate, times in cases:
        spent = [accounting.epsilon_after(noise, rate, 1e-5, n) for n in range(1, 31)]
        truth = accounting.rounds_within(noise, rate, 1e-5, times * spent[-1])
        low, _, high = last_rounds(reported(rounds(*spent), terms(times * spent[-1])))
        held += truth is not None and low <= truth <= high
    assert held >= 0.7 * len(cases)


def test_the_fan_and_the_last_round_agree() -> None:
    epsilon = reported(rounds(*[float(np.sqrt(n)) for n in range(1, 26)]), terms(7.0))
    going = pace(epsilon)
    assert going is not None
    ahead = going.rounds_for(7.0 - going.spent_now)
    # by the same draw, unevenness aside, the budget is used up to a round's worth
    assert np.abs(going.spent_each(ahead) - 7.0).max() < 0.5
    assert going.spent_at(np.array([0.0, 10.0])).shape == (1000, 2)
    assert np.allclose(going.spent_at(np.array([0.0])), going.spent_now)


numbers = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True, width=32))


@settings(max_examples=60)
@given(st.lists(numbers, max_size=12), numbers, numbers)
def test_no_epsilon_breaks_it(
    epsilons: list[float | None], budget: float | None, remaining: float | None
) -> None:
    epsilon = reported(rounds(*epsilons), terms(budget, remaining))
    going = pace(epsilon)
    if going is not None and epsilon.budget is not None:
        ahead = going.rounds_for(epsilon.budget - going.spent_now)
        assert not np.isnan(ahead).any()
        assert (ahead >= -1.0).all()
