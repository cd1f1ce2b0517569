"""Epsilon by dp-accounting: known values, and the last round within a budget."""

import pytest

from tasks.analysis.accounting import epsilon_after, is_reported, rounds_within
from tasks.core.training import PrivacyTerms


def test_the_gaussian_mechanism_has_a_known_epsilon() -> None:
    # of one unsampled step with noise 5: about 0.79 at delta 1e-5
    assert epsilon_after(5.0, 1.0, 1e-5, 1) == pytest.approx(0.7945, abs=0.002)
    assert epsilon_after(5.0, 1.0, 1e-5, 0) == 0.0


def test_epsilon_grows_with_the_rounds_and_less_and_less() -> None:
    spent = [epsilon_after(2.0, 0.1, 1e-5, n) for n in (10, 20, 30)]
    assert 0.0 < spent[2] - spent[1] < spent[1] - spent[0]


@pytest.mark.parametrize(
    ("noise", "rate", "budget"), [(1.1, 0.1, 8.0), (2.0, 0.5, 8.0), (5.0, 1.0, 3.0)]
)
def test_the_last_round_is_within_and_the_next_is_not(
    noise: float, rate: float, budget: float
) -> None:
    found = rounds_within(noise, rate, 1e-5, budget)
    assert found is not None
    assert epsilon_after(noise, rate, 1e-5, found) <= budget
    assert epsilon_after(noise, rate, 1e-5, found + 1) > budget


def test_a_budget_for_nothing_and_one_for_ever() -> None:
    assert rounds_within(0.5, 0.5, 1e-5, 1.0) == 0
    assert rounds_within(50.0, 0.001, 1e-5, 8.0) is None


@pytest.mark.parametrize(
    ("terms", "reported"),
    [
        (PrivacyTerms(1e-5, 0.1, 1.1, None, None), True),
        (PrivacyTerms(1e-5, 1.0, 1.1, None, None), True),
        (None, False),
        (PrivacyTerms(None, 0.1, 1.1, None, None), False),
        (PrivacyTerms(1e-5, None, 1.1, None, None), False),
        (PrivacyTerms(1e-5, 0.1, None, None, None), False),
        (PrivacyTerms(1e-5, 0.1, 0.0, None, None), False),
        (PrivacyTerms(1e-5, 1.5, 1.1, None, None), False),
        (PrivacyTerms(1.0, 0.1, 1.1, None, None), False),
        (PrivacyTerms(float("nan"), 0.1, 1.1, None, None), False),
        (PrivacyTerms(1e-5, 0.1, float("inf"), None, None), False),
    ],
    ids=str,
)
def test_terms_that_can_be_counted_with(terms: PrivacyTerms | None, reported: bool) -> None:
    assert is_reported(terms) is reported
