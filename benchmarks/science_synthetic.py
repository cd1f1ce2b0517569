"""Learning curves with known truth, made by seed.

A curve is a noise-free level over the rounds, a standard deviation of the noise for each round, and
its final level (the asymptote). Kinds: seven families of growth, late bloomers, jumps
by a decayed learning rate, a slow decline, divergence, collapse (for good or for a while),
oscillation and constants. Test sets use seeds from TEST_SEED on, everything tuned on synthetic
curves was tuned on seeds from TRAINING_SEED on.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tasks.analysis.curve import Curve, Floats, from_arrays

TRAINING_SEED = 1_000_000
TEST_SEED = 2_000_000

Kind = Literal[
    "growth", "late", "jump", "decline", "divergence", "collapse", "dip", "oscillation", "constant"
]
SHARES: dict[Kind, float] = {
    "growth": 0.73,
    "late": 0.07,
    "jump": 0.05,
    "decline": 0.03,
    "divergence": 0.02,
    "collapse": 0.02,
    "dip": 0.02,
    "oscillation": 0.03,
    "constant": 0.03,
}
SHORTEST, LONGEST = 40, 400


@dataclass(frozen=True, eq=False)
class Synthetic:
    """One curve; index i is round i + 1 in every array.

    clean is the noise-free level, sigma the noise's standard deviation, asymptote the level that
    the clean curve tends to as it goes at each round (what an unchanged run would reach);
    onset is the round (from 1) at which a collapse or divergence begins, None without one.
    """

    kind: Kind
    clean: Floats
    sigma: Floats
    observed: Floats
    asymptote: Floats
    onset: int | None
    wave: Floats

    @property
    def curve(self) -> Curve:
        """Return the part that an analysis may see."""
        return from_arrays(self.kind, np.arange(1, len(self.clean) + 1), self.observed)


def make(seed: int, noise: float | None = None) -> Synthetic:
    """Make the curve of that seed; `noise` fixes the deviation, by default drawn."""
    rng = np.random.default_rng(seed)
    kinds = list(SHARES)
    kind = kinds[rng.choice(len(kinds), p=np.array(list(SHARES.values())))]
    count = int(np.exp(rng.uniform(np.log(SHORTEST), np.log(LONGEST))))
    bare = MAKERS[kind](rng, count)
    sigma = _noise_levels(rng, bare, noise)
    observed = np.clip(bare.clean + bare.wave + sigma * _unit_noise(rng, count, noise), 0.0, 1.0)
    return replace(bare, sigma=sigma, observed=observed)


def _gap(rng: np.random.Generator, count: int) -> Floats:
    """Return the gap left to gain, from 1 to 0, of one of seven families."""
    x = np.arange(1, count + 1, dtype=np.float64)
    tau = count * np.exp(rng.uniform(np.log(0.02), np.log(0.8)))
    family = rng.integers(7)
    if family == 0:
        return np.asarray((1 + x / tau) ** -np.exp(rng.uniform(np.log(0.3), np.log(3.0))))
    if family == 1:
        return np.asarray(np.exp(-x / tau))
    if family == 2:
        return np.asarray(np.exp(-((x / tau) ** rng.uniform(0.4, 1.0))))
    if family == 3:
        return np.asarray(1 / (1 + (x / tau) ** rng.uniform(0.8, 3.0)))
    if family == 4:
        return np.asarray(np.log(2) / np.log(2 + x / (0.1 * tau)))
    if family == 5:
        return np.asarray(1 - np.exp(-4.0 * np.exp(-x / tau)))
    share = rng.uniform(0.3, 0.9)
    return np.asarray(share * np.exp(-x / (0.3 * tau)) + (1 - share) * np.exp(-x / (3 * tau)))


def _ends(rng: np.random.Generator) -> tuple[float, float]:
    """Return the untrained level and the asymptote."""
    start = rng.choice([0.01, 0.1, 0.1, 0.25, 0.5])
    return float(start), float(start + (1 - start) * rng.beta(5, 1.5))


def _bare(
    kind: Kind, clean: Floats, asymptote: Floats | float, onset: int | None = None
) -> Synthetic:
    nothing = np.zeros_like(clean)
    end = np.broadcast_to(np.asarray(asymptote, dtype=np.float64), clean.shape).copy()
    return Synthetic(kind, clean, nothing, clean, end, onset, nothing)


def _growth(rng: np.random.Generator, count: int) -> Synthetic:
    start, end = _ends(rng)
    return _bare("growth", end - (end - start) * _gap(rng, count), end)


def _late(rng: np.random.Generator, count: int) -> Synthetic:
    start, end = _ends(rng)
    wait = rng.uniform(0.05, 0.45) * count
    x = np.arange(1, count + 1)
    width = wait * rng.uniform(0.1, 0.35)
    return _bare("late", start + (end - start) / (1 + np.exp(-(x - wait) / width)), end)


def _jump(rng: np.random.Generator, count: int) -> Synthetic:
    bare = _growth(rng, count)
    clean, asymptote = bare.clean.copy(), bare.asymptote.copy()
    x = np.arange(1, count + 1)
    for moment in (0.5, 0.75):
        at = int(moment * count)
        gain = (1 - asymptote[-1]) * rng.uniform(0.2, 0.6)
        rise = gain * (1 - np.exp(-np.maximum(0, x - at) / max(1.0, 0.02 * count)))
        clean += rise
        asymptote[at:] += gain
    return _bare("jump", clean, asymptote)


def _decline(rng: np.random.Generator, count: int) -> Synthetic:
    bare = _growth(rng, count)
    at = int(rng.uniform(0.3, 0.7) * count)
    x = np.arange(1, count + 1)
    loss = rng.uniform(0.02, 0.1) * np.maximum(0, x - at) / count
    clean = bare.clean - loss
    return _bare("decline", clean, np.where(x > at, clean, bare.asymptote))


def _divergence(rng: np.random.Generator, count: int) -> Synthetic:
    start, _ = _ends(rng)
    bare = _growth(rng, count)
    at = int(rng.uniform(0.25, 0.9) * count)
    x = np.arange(1, count + 1)
    fall = np.exp(rng.uniform(np.log(0.005), np.log(0.05))) * np.maximum(0, x - at)
    clean = np.maximum(bare.clean - fall, min(start, bare.clean[0]))
    return _bare("divergence", clean, np.where(x > at, start, bare.asymptote), at + 1)


def _collapse(rng: np.random.Generator, count: int) -> Synthetic:
    bare = _growth(rng, count)
    at = int(rng.uniform(0.25, 0.9) * count)
    low = bare.clean[0] * rng.uniform(0.5, 1.0)
    clean = bare.clean.copy()
    clean[at:] = low
    asymptote = bare.asymptote.copy()
    asymptote[at:] = low
    return _bare("collapse", clean, asymptote, at + 1)


def _dip(rng: np.random.Generator, count: int) -> Synthetic:
    bare = _growth(rng, count)
    at = int(rng.uniform(0.25, 0.8) * count)
    since = np.arange(count) - at
    depth = rng.uniform(0.2, 0.9) * (bare.clean[at] - bare.clean[0])
    hurt = depth * np.exp(-np.maximum(0, since) / rng.uniform(3, 10)) * (since >= 0)
    return _bare("dip", bare.clean - hurt, bare.asymptote, at + 1)


def _oscillation(rng: np.random.Generator, count: int) -> Synthetic:
    bare = _growth(rng, count)
    period = rng.uniform(4, max(5, 0.05 * count))
    size = rng.uniform(0.04, 0.1) * min(1.0, 2 * (1 - bare.asymptote[0]) + 0.3)
    wave = size * np.sin(2 * np.pi * np.arange(count) / period + rng.uniform(0, 6))
    return replace(bare, kind="oscillation", wave=wave)


def _constant(rng: np.random.Generator, count: int) -> Synthetic:
    level = rng.uniform(0.05, 0.98)
    return _bare("constant", np.full(count, level), level)


MAKERS: dict[Kind, Callable[[np.random.Generator, int], Synthetic]] = {
    "growth": _growth,
    "late": _late,
    "jump": _jump,
    "decline": _decline,
    "divergence": _divergence,
    "collapse": _collapse,
    "dip": _dip,
    "oscillation": _oscillation,
    "constant": _constant,
}


def _noise_levels(rng: np.random.Generator, bare: Synthetic, noise: float | None) -> Floats:
    count = len(bare.clean)
    if noise is not None:
        return np.full(count, noise)
    sigma = np.exp(rng.uniform(np.log(0.0005), np.log(0.03)))
    # many real runs are noisier while they are far from their end
    extra = rng.uniform(0, 0.1) * np.clip(bare.asymptote - bare.clean, 0, 1) * rng.integers(2)
    return np.asarray(sigma + extra)


def _unit_noise(rng: np.random.Generator, count: int, noise: float | None) -> Floats:
    """Return white Gaussian noise of fixed size; else at times heavy tails or memory."""
    kind = 0 if noise is not None else rng.choice(3, p=[0.6, 0.2, 0.2])
    if kind == 1:
        return np.asarray(rng.standard_t(4, count) / np.sqrt(2.0))
    white = rng.normal(size=count)
    if kind == 0:
        return white
    memory = rng.uniform(0.2, 0.6)
    made = np.empty(count)
    state = 0.0
    for index, shock in enumerate(white):
        state = memory * state + np.sqrt(1 - memory**2) * shock
        made[index] = state
    return made
