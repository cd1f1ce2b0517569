"""Spending of the privacy budget: the epsilon reported, and its continuation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.analysis.curve import Floats, Ints
from tasks.core.training import PrivacyTerms, Round

DRAWS = 1000
SEED = 0
SHARES = np.linspace(0.0, 1.0, 21)  # tried shares of the slowing part in what a round spends now
RECENT = 40
DISCREPANCY = 0.02  # what a round spends is never known better than to this share
BEND = 0.25
"""Standard deviation of a power that the rounds ahead, in units of those so far, may be off by: what
made 80 % intervals hold 80 % of the accountant's own curves over noises, rates and budgets."""
MOST_BENT = 2.5
MOST_EPSILON = 1e9  # beyond this an epsilon is no privacy, and a slip
FALL = 1e-9
SQUEEZE = 1e-12


@dataclass(frozen=True, eq=False)
class Reported:
    """Epsilon as reported: spent up to the end of each round, finite, ascending.

    spent_now is the epsilon spent at the last round, None when unknown; fell is True when epsilon came
    back, which a budget cannot; odd counts impossible epsilons: NaN, below 0, or beyond any privacy.
    """

    rounds: Ints
    spent: Floats
    last_round: int
    first_round: int
    budget: float | None
    spent_now: float | None
    fell: bool
    odd: int


@dataclass(frozen=True, eq=False)
class Pace:
    """Draws of further epsilon from x0 rounds: spending a round, slowing share."""

    x0: float
    spent_now: float
    rate: Floats
    slowing: Floats
    unevenness: Floats
    bend: Floats

    def spent_at(self, ahead: Floats) -> Floats:
        """Return draws of epsilon after further rounds, of shape (draws, ahead)."""
        return self._spent(np.broadcast_to(ahead, (len(self.rate), len(ahead))))

    def spent_each(self, ahead: Floats) -> Floats:
        """Return each draw's spending after its own number of further rounds."""
        return self._spent(np.asarray(ahead)[:, None])[:, 0]

    def _spent(self, ahead: Floats) -> Floats:
        straight = ahead * (1.0 + ahead / self.x0) ** -self.bend[:, None]
        root = np.sqrt(self.x0 * (self.x0 + straight)) - self.x0
        steady = (1.0 - self.slowing)[:, None] * straight
        slowing = 2.0 * self.slowing[:, None] * root
        return np.asarray(self.spent_now + self.rate[:, None] * (steady + slowing))

    def rounds_for(self, left: float) -> Floats:
        """Return draws of the most further rounds within left; Inf when nothing is spent."""
        if left < 0.0:
            return np.full(len(self.rate), -1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            worth = np.where(self.rate > 0.0, left / self.rate, np.inf)
            worth = np.maximum(worth + self.unevenness * np.sqrt(worth), 0.0)
            # (1 - u) y² + 2 u √x0 y = (1 - u) x0 + 2 u x0 + worth, with y the root of the rounds
            a, b = 1.0 - self.slowing, self.slowing * np.sqrt(self.x0)
            c = self.x0 * (1.0 + self.slowing) + worth
            y = c / (b + np.sqrt(b * b + a * c))
            ahead = y * y - self.x0
            ahead = ahead * (1.0 + ahead / self.x0) ** self.bend
        return np.where(np.isfinite(worth), np.floor(ahead + 1e-9), np.inf)


def reported(rounds: Sequence[Round], terms: PrivacyTerms | None) -> Reported:
    """Collect the reported epsilons, without impossible ones.

    Without epsilons of rounds, spent_now is the budget less what remains; without a budget it is the
    sum of spent and remaining.
    """
    values = np.array([r.epsilon for r in rounds], dtype=np.float64)
    numbers = np.array([r.round for r in rounds], dtype=np.int64)
    good = np.isfinite(values) & (values >= 0.0) & (values <= MOST_EPSILON)
    odd = sum(1 for r in rounds if r.epsilon is not None) - int(good.sum())
    spent, at = values[good], numbers[good]
    remaining = _possible(terms.epsilon_remaining) if terms else None
    budget = _possible(terms.epsilon_budget) if terms else None
    now = float(spent[-1]) if len(spent) else None
    if now is None and budget is not None and remaining is not None:
        now = max(0.0, budget - remaining)
    if budget is None and now is not None and remaining is not None:
        budget = now + remaining
    fell = bool((np.diff(spent) < -FALL).any()) if len(spent) else False
    last, first = (int(numbers[-1]), int(numbers[0])) if len(numbers) else (0, 0)
    return Reported(at, spent, last, first, budget, now, fell, odd)


def _possible(value: float | None) -> float | None:
    return value if value is not None and abs(value) <= MOST_EPSILON else None


def started(epsilon: Reported) -> int:
    """Return the round before the first: -1 for a run that counts from 0."""
    return -1 if epsilon.first_round == 0 else 0


def pace(epsilon: Reported) -> Pace | None:
    """Estimate how epsilon goes on; None without any epsilon.

    What a round spends is r ((1 - u) + u √(x0 / x)) from round x0 on. Epsilon of a composed
    (sampled) Gaussian mechanism is T c + 2 √(T c log(1 / δ)) (Mironov 2017, proposition 3 with the
    best order), so its increments are a steady part and one that falls with the root of the rounds.
    u lies on a grid, r is Gaussian given u, weighed by how well the increments so far agree
    (Bayesian linear regression: Bishop 2006, 3.5). Increments that come back count as none.
    """
    if epsilon.spent_now is None:
        return None
    x0 = float(epsilon.last_round - started(epsilon))
    if x0 <= 0.0:
        return None
    rng = np.random.default_rng(SEED)
    middle, steps, sizes = _increments(epsilon)
    shapes = (1.0 - SHARES)[:, None] + SHARES[:, None] * np.sqrt(x0 / middle)
    rates = (shapes @ steps) / np.maximum(shapes**2 @ sizes, SQUEEZE)
    residuals = steps / sizes - rates[:, None] * shapes
    squares = (sizes * residuals**2).sum(axis=1) / sizes.sum()
    floor = (DISCREPANCY * max(float(rates.max()), SQUEEZE)) ** 2
    count = float(len(steps))
    logs = -0.5 * count * np.log(squares + floor)
    weights = np.exp(logs - logs.max())
    picked = rng.choice(len(SHARES), size=DRAWS, p=weights / weights.sum())
    spread = np.sqrt((squares[picked] + floor) / max(1.0, count - 1.0) + floor)
    degrees = max(1.0, count - 1.0)
    scatter = rng.standard_t(degrees, DRAWS) if count < 30 else rng.normal(size=DRAWS)
    rate: Floats = np.maximum(rates[picked] + spread * np.clip(scatter, -4.0, 4.0), 0.0)
    rough = np.sqrt(squares[picked] * np.median(sizes)) / np.maximum(rates[picked], SQUEEZE)
    unevenness = np.minimum(rough, 2.0) * rng.normal(size=DRAWS)
    now = epsilon.spent_now
    if epsilon.rounds.size and epsilon.rounds[-1] < epsilon.last_round:
        now += float(np.median(rate)) * float(epsilon.last_round - epsilon.rounds[-1])
    rate = rate if steps.any() else np.zeros(DRAWS)
    bend = BEND * np.clip(rng.normal(size=DRAWS), -MOST_BENT, MOST_BENT)
    return Pace(x0, now, rate, np.asarray(SHARES[picked]), unevenness, bend)


def _increments(epsilon: Reported) -> tuple[Floats, Floats, Floats]:
    """Return the recent increments: middle of their rounds, epsilon, number of rounds.

    With one epsilon only, all of it since the start; a step back counts as none.
    """
    origin = started(epsilon)
    if len(epsilon.spent) < 2:
        last = float(epsilon.last_round - origin)
        return np.array([last / 4.0]), np.array([epsilon.spent_now or 0.0]), np.array([last])
    x = (epsilon.rounds - origin).astype(np.float64)
    sizes, steps = np.diff(x), np.diff(epsilon.spent)
    middle = 0.25 * (np.sqrt(x[1:]) + np.sqrt(x[:-1])) ** 2
    kept = slice(max(0, len(steps) - max(RECENT, len(steps) // 2)), None)
    return middle[kept], np.maximum(steps[kept], 0.0), sizes[kept]
