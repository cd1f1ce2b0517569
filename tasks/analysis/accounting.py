"""Epsilon recomputed from a run's privacy terms, by dp-accounting."""

import math
from functools import lru_cache
from importlib.util import find_spec

from tasks.core.training import PrivacyTerms

ORDERS = (*range(2, 65), 80, 96, 128, 192, 256, 512)
"""Whole orders have a closed form; the series for fractions does not always converge."""
MOST_ROUNDS = 1_000_000


def is_installed() -> bool:
    """Return whether the optional dp-accounting is installed."""
    return find_spec("dp_accounting") is not None


def is_reported(terms: PrivacyTerms | None) -> bool:
    """Return whether noise multiplier, sampling rate and delta are known and possible."""
    return (
        terms is not None
        and terms.noise_multiplier is not None
        and terms.sampling_rate is not None
        and terms.delta is not None
        and 0.0 < terms.noise_multiplier < float("inf")
        and 0.0 < terms.sampling_rate <= 1.0
        and 0.0 < terms.delta < 1.0
    )


@lru_cache(maxsize=4096)
def epsilon_after(
    noise_multiplier: float, sampling_rate: float, delta: float, rounds: int
) -> float:
    """Return epsilon of that many rounds of the Poisson-subsampled Gaussian mechanism.

    By the accountant of Rényi differential privacy (Mironov, "Rényi differential privacy", CSF 2017;
    of the sampled Gaussian: Mironov, Talwar and Zhang, arXiv 1908.10530, 2019), neighbours differing
    by one client. Needs dp-accounting.
    """
    if rounds <= 0:
        return 0.0
    import dp_accounting
    from dp_accounting.rdp import rdp_privacy_accountant as rdp

    noise = dp_accounting.GaussianDpEvent(noise_multiplier)
    event = dp_accounting.PoissonSampledDpEvent(sampling_rate, noise)
    relation = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    accountant = rdp.RdpAccountant(orders=ORDERS, neighboring_relation=relation)
    accountant.compose(event, rounds)
    return float(accountant.get_epsilon(delta))


def rounds_within(
    noise_multiplier: float, sampling_rate: float, delta: float, budget: float
) -> int | None:
    """Return the most rounds within the budget, None for a million, by dp-accounting."""

    def spent(rounds: int) -> float:
        return epsilon_after(noise_multiplier, sampling_rate, delta, rounds)

    if spent(1) > budget:
        return 0
    within, over = 1, 32
    while spent(over) <= budget:
        within, over = over, over * 8
        if over > MOST_ROUNDS:
            return None
    while over - within > 1:
        guess = _between(within, spent(within), over, spent(over), budget)
        # one off the guess as well, so that both ends close in
        for rounds in (guess, guess + 1):
            if within < rounds < over:
                within, over = (rounds, over) if spent(rounds) <= budget else (within, rounds)
    return within


def _between(within: int, low: float, over: int, high: float, budget: float) -> int:
    """Interpolate where the budget lies: epsilon is nearly a power of the rounds."""
    part = math.log(budget / low) / math.log(high / low) if low > 0.0 else 0.5
    guess = int(within * (over / within) ** part)
    return min(max(guess, within), over - 1)
