"""The split of the digits: complete, uneven, repeatable."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.services.fl_server.data import HELD_OUT, deal, label_distance, label_mix

DIGITS = 1797


def mean_distance(concentration: float) -> float:
    population = deal(50, concentration, np.random.default_rng(7))
    overall = label_mix(population.labels)
    return float(
        np.mean([label_distance(label_mix(shard.labels), overall) for shard in population.shards])
    )


def test_every_example_is_dealt_once() -> None:
    population = deal(50, 0.5, np.random.default_rng(7))
    assert len(population.test_labels) == HELD_OUT
    assert sum(shard.held for shard in population.shards) == DIGITS - HELD_OUT


def test_every_client_can_take_part_even_with_many_clients() -> None:
    population = deal(1000, 0.1, np.random.default_rng(7))
    assert len(population.shards) == 1000
    assert min(len(shard.labels) for shard in population.shards) >= 1


def test_defective_examples_are_left_out_and_lower_the_quality() -> None:
    shards = deal(50, 0.5, np.random.default_rng(7)).shards
    assert all(np.isfinite(shard.features).all() for shard in shards)
    qualities = [shard.quality for shard in shards]
    assert max(qualities) == 1.0
    assert 0.5 < min(qualities) < 1.0


def test_a_small_concentration_is_far_from_iid_and_a_large_one_is_near() -> None:
    skewed, even = mean_distance(0.1), mean_distance(1000.0)
    assert skewed > 0.6
    assert even < 0.4


def test_the_split_depends_on_the_seed_alone() -> None:
    first, again = (deal(20, 0.5, np.random.default_rng(3)) for _ in range(2))
    other = deal(20, 0.5, np.random.default_rng(4))
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.test_labels, other.test_labels)


def test_label_distance_of_equal_and_disjoint_mixes() -> None:
    ones, twos = label_mix(np.array([1, 1])), label_mix(np.array([2]))
    assert label_distance(ones, ones) == 0.0
    assert label_distance(ones, twos) == pytest.approx(1.0)


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
)
def test_label_distance_is_symmetric_and_within_its_range(
    left: list[int], right: list[int]
) -> None:
    mixes = label_mix(np.array(left)), label_mix(np.array(right))
    assert 0.0 <= label_distance(*mixes) <= 1.0
    assert label_distance(*mixes) == pytest.approx(label_distance(*reversed(mixes)))
