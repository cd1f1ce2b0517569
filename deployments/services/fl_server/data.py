"""The data of the simulation: scikit-learn's digits, unevenly split over clients.

Each client draws its mix of labels from a Dirichlet distribution (Hsu, Qi and Brown 2019).
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import entr
from sklearn.datasets import load_digits  # type: ignore[import-untyped, unused-ignore]

from deployments.services.fl_server.model import CLASSES, Floats, Ints

HELD_OUT = 360
BRIGHTEST = 16.0
SIZE_CONCENTRATION = 5.0
# mean share of defective examples 1/13, with a long tail: some clients have poor sensors
DEFECT_SHAPE = (1.0, 12.0)


@dataclass(frozen=True)
class Shard:
    """The data of one client: usable examples, and the number before its own check."""

    features: Floats
    labels: Ints
    held: int

    @property
    def quality(self) -> float:
        """Return the share of held examples that are usable, 0 to 1."""
        return len(self.labels) / self.held


@dataclass(frozen=True)
class Population:
    """All shards, and the held-out examples that no client has."""

    shards: tuple[Shard, ...]
    test_features: Floats
    test_labels: Ints

    @property
    def features(self) -> Floats:
        """Return the usable training examples of all clients, shape (n, FEATURES)."""
        return np.concatenate([shard.features for shard in self.shards])

    @property
    def labels(self) -> Ints:
        """Return their labels, shape (n,)."""
        return np.concatenate([shard.labels for shard in self.shards])


def deal(clients: int, concentration: float, rng: np.random.Generator) -> Population:
    """Hold HELD_OUT examples back and deal the rest to the clients, at least one each."""
    features, labels = _digits()
    order = rng.permutation(len(labels))
    test, rest = order[:HELD_OUT], order[HELD_OUT:]
    pools = [list(rest[labels[rest] == label]) for label in range(CLASSES)]
    shards = []
    for size in _sizes(len(rest), clients, rng):
        chosen = _draw(size, rng.dirichlet(np.full(CLASSES, concentration)), pools, rng)
        shards.append(_shard(features[chosen], labels[chosen], rng))
    return Population(tuple(shards), features[test], labels[test])


def label_mix(labels: Ints) -> Floats:
    """Return the share of each class, shape (CLASSES,), sum 1."""
    counts = np.bincount(labels, minlength=CLASSES).astype(np.float64)
    return np.asarray(counts / counts.sum())


def label_distance(left: Floats, right: Floats) -> float:
    """Return the Jensen-Shannon distance (Lin 1991): 0 when equal, 1 when disjoint."""
    divergence = (entr((left + right) / 2) - (entr(left) + entr(right)) / 2).sum() / math.log(2)
    # rounding can leave the range by a hair
    return math.sqrt(min(1.0, max(0.0, divergence)))


@cache
def _digits() -> tuple[Floats, Ints]:
    pixels, labels = load_digits(return_X_y=True)
    constant = np.ones((len(pixels), 1))
    return np.hstack([pixels / BRIGHTEST, constant]), labels.astype(np.int64)


def _sizes(examples: int, clients: int, rng: np.random.Generator) -> Ints:
    shares = rng.dirichlet(np.full(clients, SIZE_CONCENTRATION))
    return np.asarray(1 + rng.multinomial(examples - clients, shares), dtype=np.int64)


def _draw(size: int, mix: Floats, pools: list[list[int]], rng: np.random.Generator) -> list[int]:
    chosen: list[int] = []
    for _ in range(size):
        left = np.array([len(pool) for pool in pools], dtype=np.float64)
        weights = mix * (left > 0)
        # a client whose labels are all gone takes what is left
        weights = weights if weights.sum() > 0 else left
        label = int(rng.choice(CLASSES, p=weights / weights.sum()))
        chosen.append(pools[label].pop())
    return chosen


def _shard(features: Floats, labels: Ints, rng: np.random.Generator) -> Shard:
    seen = features.copy()
    defective = rng.random(len(labels)) < rng.beta(*DEFECT_SHAPE)
    # a client always keeps an example, so that it can take part
    defective[0] = False
    dead_pixels = rng.integers(0, features.shape[1] - 1, size=len(labels))
    seen[defective, dead_pixels[defective]] = np.nan
    usable = np.isfinite(seen).all(axis=1)
    return Shard(seen[usable], labels[usable], held=len(labels))
