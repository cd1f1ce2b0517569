"""The benchmark of budget forecasts: its process, its scores, and that a line does worse."""

import numpy as np
import pytest

from benchmarks.slo_budget import (
    TUNING_SEED,
    cases,
    interval_score,
    releases_and_outages,
    rows,
    straight_line,
)


def test_histories_are_seeded_and_independent() -> None:
    one, again, other = (
        releases_and_outages(np.random.default_rng([1, n]), 500) for n in (0, 0, 1)
    )

    assert np.array_equal(one.bad, again.bad)
    assert not np.array_equal(one.bad, other.bad)
    assert (one.bad <= one.total).all()


def test_a_miss_costs_five_times_the_width_or_more() -> None:
    interval = np.array([[1.0, 2.0]] * 3)

    assert interval_score(np.array([1.5, 2.5, 0.0]), interval).tolist() == pytest.approx([1, 6, 11])


def test_a_line_is_scored_by_what_it_says() -> None:
    used = 0.2 + 0.001 * np.arange(168)
    band = straight_line(used, np.array([23]))

    assert band[0] == pytest.approx([used[-1] + 0.024] * 2)
    assert band[1] == pytest.approx([(1 - used[-1]) / 0.001 / 24] * 2)


def test_our_intervals_score_below_those_of_a_line() -> None:
    for name, holds, score, line_holds, line_score in rows(cases(TUNING_SEED, 5)):
        assert score < line_score, name
        assert holds >= line_holds
