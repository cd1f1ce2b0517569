"""The run's privacy ledger: client-level differential privacy, by dp-accounting.

DP-FedAvg (McMahan, Ramage, Talwar and Zhang, ICLR 2018): clients are drawn independently (Poisson
sampling), each update is clipped, the Gaussian noise on the sum is noise_multiplier clip norms;
neighbours differ by one client. Epsilon is the RDP accountant's (Mironov 2017; Mironov, Talwar and
Zhang 2019). Monitoring figures (losses, accuracies, drift) carry no noise and are not covered.
"""

from dataclasses import dataclass
from functools import lru_cache

import dp_accounting  # type: ignore[import-untyped, unused-ignore]
from dp_accounting.rdp import (  # type: ignore[import-untyped, unused-ignore]
    rdp_privacy_accountant as rdp,
)

# whole orders have a closed form; the series for fractions does not converge at these noises
ORDERS = (*range(2, 65), 80, 96, 128, 192, 256, 512)


@dataclass(frozen=True)
class Mechanism:
    """The mechanism of a round: sampling probability, noise in clip norms, delta."""

    sampling_rate: float
    noise_multiplier: float
    delta: float


@lru_cache(maxsize=8192)
def epsilon_after(mechanism: Mechanism, rounds: int) -> float:
    """Return epsilon after that many rounds, at the mechanism's delta."""
    if rounds == 0:
        return 0.0
    event = dp_accounting.PoissonSampledDpEvent(
        mechanism.sampling_rate, dp_accounting.GaussianDpEvent(mechanism.noise_multiplier)
    )
    accountant = rdp.RdpAccountant(
        orders=ORDERS, neighboring_relation=dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    )
    accountant.compose(event, rounds)
    return float(accountant.get_epsilon(mechanism.delta))


def affords(mechanism: Mechanism, rounds: int, budget: float) -> bool:
    """Return whether that many rounds stay within the budget (equal is within)."""
    return epsilon_after(mechanism, rounds) <= budget


def remaining(epsilon: float, budget: float) -> float:
    """Return the remaining budget, never below 0."""
    return max(0.0, budget - epsilon)
