"""Bayesian averaging over the shapes that agree with the observed rounds.

A shape j says that the level is u_j(x) p + v_j(x) q with two unknown numbers p and q. For each shape
and each scale of the discrepancy, p and q have a Gaussian prior, so their posterior and the evidence
are closed forms (variable projection: Golub and Pereyra 1973; Bayesian linear regression: Bishop,
"Pattern recognition and machine learning" 2006, 3.5). Shapes are averaged by prior times evidence
(Hoeting, Madigan, Raftery and Volinsky, "Bayesian model averaging", Statistical Science 1999). The
evidence is raised to the power TEMPER: no shape is true, and a coarsened posterior is the answer to
that (Miller and Dunson, "Robust Bayesian inference via coarsening", JASA 2019).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tasks.analysis.curve import Bools, Floats, Ints
from tasks.analysis.observed import Observed

SCALES = (0.1, 0.2, 0.4)
"""Scales of the discrepancy, in units of what was left to gain, a unit of log rounds."""
TEMPER = 0.7
TRIALS = 16  # pairs (p, q) tried of each shape
JITTER = 1e-10
IMPOSSIBLE = -1e6


class Shapes(Protocol):
    """A set of shapes with their priors; J of them."""

    log_prior: Floats  # log weights, shape (J,)
    centre: Floats  # prior means of p and q, shape (2, J)
    spread: Floats  # prior standard deviations of p and q, shape (2, J)

    def at(self, x: Floats) -> tuple[Floats, Floats]:
        """Return u and v, each of shape (J, x)."""

    def end(self) -> tuple[Floats, Floats]:
        """Return u and v at the end, each of shape (J,)."""

    def allowed(self, p: Floats, q: Floats) -> Bools:
        """Return which pairs, shape (J, trials), are possible."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """Weights of all (scale, shape, trial), and the input to draw curves."""

    observed: Observed
    shapes: Shapes
    inverses: Floats
    weights: Floats
    p: Floats
    q: Floats


@dataclass(frozen=True, eq=False)
class Draws:
    """Drawn noise-free curves: levels (draws, x), and ends, the level each tends to."""

    levels: Floats
    ends: Floats


def fit(observed: Observed, shapes: Shapes, rng: np.random.Generator) -> Posterior:
    """Return the posterior of every shape at every scale of the discrepancy."""
    u, v = shapes.at(observed.x)
    unit = observed.accumulated(np.minimum.outer(observed.x, observed.x))
    normal = rng.normal(size=(2, TRIALS))
    parts = [_fit_scale(observed, shapes, u, v, scale**2 * unit, normal) for scale in SCALES]
    inverses, logs, p, q = (np.stack(part) for part in zip(*parts, strict=True))
    weights = np.exp(logs - logs.max())
    return Posterior(observed, shapes, inverses, weights / weights.sum(), p, q)


def _fit_scale(
    observed: Observed, shapes: Shapes, u: Floats, v: Floats, walk: Floats, normal: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return inverse Cholesky factor, log weights, p and q ((J, trials)) at one scale."""
    factor = np.linalg.cholesky(walk + observed.noise_matrix)
    inverse = np.linalg.inv(factor)
    white_u, white_v, white_y = u @ inverse.T, v @ inverse.T, inverse @ observed.y
    precision = 1.0 / shapes.spread**2
    uu = (white_u * white_u).sum(axis=1) + precision[0]
    vv = (white_v * white_v).sum(axis=1) + precision[1]
    uv = (white_u * white_v).sum(axis=1)
    to_u = white_u @ white_y + precision[0] * shapes.centre[0]
    to_v = white_v @ white_y + precision[1] * shapes.centre[1]
    determinant = uu * vv - uv**2
    mean_p = (vv * to_u - uv * to_v) / determinant
    mean_q = (uu * to_v - uv * to_u) / determinant
    misfit = white_y @ white_y + (precision * shapes.centre**2).sum(axis=0)
    misfit = misfit - to_u * mean_p - to_v * mean_q
    evidence = -np.log(np.diag(factor)).sum() - 0.5 * misfit - 0.5 * np.log(determinant)
    evidence = evidence + 0.5 * np.log(precision).sum(axis=0)
    sd_p = np.sqrt(vv / determinant)
    sd_rest = 1.0 / np.sqrt(vv)
    p = mean_p[:, None] + sd_p[:, None] * normal[0]
    q = mean_q[:, None] - (uv / vv)[:, None] * (p - mean_p[:, None]) + sd_rest[:, None] * normal[1]
    # a penalty instead of a ban, in case no fitting pair is possible
    penalty = np.where(shapes.allowed(p, q), 0.0, IMPOSSIBLE)
    logs = (TEMPER * evidence + shapes.log_prior)[:, None] + penalty
    return inverse, logs, p, q


def draw(posterior: Posterior, x: Floats, count: int, rng: np.random.Generator) -> Draws:
    """Draw `count` noise-free curves at x, ascending, past and future."""
    flat = posterior.weights.ravel()
    picked = np.sort(rng.choice(len(flat), size=count, p=flat))
    scales, shapes, trials = np.unravel_index(picked, posterior.weights.shape)
    levels, ends = np.empty((count, len(x))), np.empty(count)
    # u and v at the observed rounds, at x, and at the end
    u_end, v_end = posterior.shapes.end()
    both = posterior.shapes.at(np.concatenate([posterior.observed.x, x]))
    basis = [np.column_stack(pair) for pair in zip(both, (u_end, v_end), strict=True)]
    for index in np.unique(scales):
        chosen = np.flatnonzero(scales == index)
        picks = (shapes[chosen], trials[chosen])
        levels[chosen], ends[chosen] = _draw_scale(posterior, x, int(index), picks, basis, rng)
    return Draws(levels, ends)


def _draw_scale(
    posterior: Posterior,
    x: Floats,
    index: int,
    chosen: tuple[Ints, Ints],
    basis: list[Floats],
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    observed, (shape, trial) = posterior.observed, chosen
    p = posterior.p[index, shape, trial][:, None]
    q = posterior.q[index, shape, trial][:, None]
    curves = p * basis[0][shape] + q * basis[1][shape]
    seen = len(observed.x)
    missed = _draw_discrepancy(posterior, x, index, observed.y - curves[:, :seen], rng)
    at_now = missed[:, np.searchsorted(x, observed.now, side="right") - 1]
    return curves[:, seen:-1] + missed, curves[:, -1] + at_now


def _draw_discrepancy(
    posterior: Posterior, x: Floats, index: int, residuals: Floats, rng: np.random.Generator
) -> Floats:
    """Draw the discrepancy at x: conditioned on the residuals up to now, free after."""
    observed, scale = posterior.observed, SCALES[index]
    past, ahead = x[x <= observed.now], x[x > observed.now]
    whitened = posterior.inverses[index]
    to_seen = scale**2 * observed.accumulated(np.minimum.outer(past, observed.x)) @ whitened.T
    own = scale**2 * observed.accumulated(np.minimum.outer(past, past))
    mean = residuals @ whitened.T @ to_seen.T
    remaining = own - to_seen @ to_seen.T
    jitter = JITTER * np.eye(len(past))
    # rounding may leave the difference of two covariances a hair below zero
    values, vectors = np.linalg.eigh(remaining + jitter)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    known = mean + rng.normal(size=mean.shape) @ root.T
    marks = observed.accumulated(np.concatenate([[observed.now], ahead]))
    steps = scale * np.sqrt(np.maximum(np.diff(marks), 0.0))
    walk = np.cumsum(rng.normal(size=(len(mean), len(ahead))) * steps, axis=1)
    return np.concatenate([known, known[:, -1:] + walk], axis=1)
