"""Epsilon: equal to dp-accounting's own answer, growing, and bounded by the budget."""

from itertools import pairwise

import dp_accounting
import pytest
from dp_accounting.rdp import rdp_privacy_accountant

from deployments.services.fl_server import privacy
from deployments.services.fl_server.settings import FederationSettings

DEFAULTS = FederationSettings()
MECHANISM = privacy.Mechanism(DEFAULTS.sampling_rate, DEFAULTS.noise_multiplier, DEFAULTS.delta)


def direct_epsilon(sampling_rate: float, noise: float, delta: float, rounds: int) -> float:
    accountant = rdp_privacy_accountant.RdpAccountant(orders=privacy.ORDERS)
    for _ in range(rounds):
        accountant.compose(
            dp_accounting.PoissonSampledDpEvent(sampling_rate, dp_accounting.GaussianDpEvent(noise))
        )
    return float(accountant.get_epsilon(delta))


@pytest.mark.parametrize(
    ("sampling_rate", "noise", "delta", "rounds"),
    [(0.4, 2.2, 1e-5, 1), (0.4, 2.2, 1e-5, 5), (0.1, 1.0, 1e-6, 5)],
)
def test_epsilon_equals_a_round_by_round_account(
    sampling_rate: float, noise: float, delta: float, rounds: int
) -> None:
    counted = privacy.epsilon_after(privacy.Mechanism(sampling_rate, noise, delta), rounds)
    assert counted == pytest.approx(direct_epsilon(sampling_rate, noise, delta, rounds), rel=1e-9)


def test_whole_orders_cost_next_to_nothing_against_all_orders() -> None:
    accountant = rdp_privacy_accountant.RdpAccountant()
    gaussian = dp_accounting.GaussianDpEvent(MECHANISM.noise_multiplier)
    accountant.compose(dp_accounting.PoissonSampledDpEvent(MECHANISM.sampling_rate, gaussian), 60)
    tightest = accountant.get_epsilon(MECHANISM.delta)
    counted = privacy.epsilon_after(MECHANISM, 60)
    assert tightest <= counted <= 1.02 * tightest


def test_epsilon_grows_with_every_round_from_zero() -> None:
    spent = [privacy.epsilon_after(MECHANISM, rounds) for rounds in range(20)]
    assert spent[0] == 0.0
    assert all(later > earlier for earlier, later in pairwise(spent))


def test_more_noise_costs_less_and_more_sampling_costs_more() -> None:
    base = privacy.epsilon_after(MECHANISM, 10)
    assert privacy.epsilon_after(privacy.Mechanism(0.4, 3.0, 1e-5), 10) < base
    assert privacy.epsilon_after(privacy.Mechanism(0.6, 2.2, 1e-5), 10) > base


def test_the_default_run_uses_most_of_its_budget_and_no_more() -> None:
    used = privacy.epsilon_after(MECHANISM, DEFAULTS.rounds) / DEFAULTS.epsilon_budget
    assert 0.7 < used < 0.9


def test_the_budget_affords_what_equals_it_and_nothing_above() -> None:
    cost = privacy.epsilon_after(MECHANISM, 3)
    assert privacy.affords(MECHANISM, 3, cost)
    assert not privacy.affords(MECHANISM, 4, cost)


def test_remaining_never_falls_below_zero() -> None:
    assert privacy.remaining(2.0, 10.0) == 8.0
    assert privacy.remaining(11.0, 10.0) == 0.0
