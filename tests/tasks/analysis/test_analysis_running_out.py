"""When a disk is full or epsilon is spent."""

import numpy as np
import pytest

from tasks.analysis.running_out import disk_full, epsilon_spent
from tasks.core.slo_report import RunsOut

DAYS = np.arange(0, 20, 0.5)


def test_a_disk_that_fills_is_full_on_its_day() -> None:
    noise = np.random.default_rng(1).normal(0, 0.002, len(DAYS))
    # 0.5 + 19.5 × 0.02 = 0.89: 5.5 days are left
    found = disk_full("disk", DAYS, 0.5 + 0.02 * DAYS + noise)

    assert found.low is not None
    assert found.day == pytest.approx(5.5, abs=0.6)
    assert found.low < 5.5


@pytest.mark.parametrize("rate", [0.0, -0.01])
def test_a_disk_that_does_not_fill_has_no_date(rate: float) -> None:
    noise = np.random.default_rng(1).normal(0, 0.0005, len(DAYS))
    found = disk_full("disk", DAYS, 0.5 + rate * DAYS + noise)

    assert (found.low, found.day, found.high) == (None, None, None)


def test_intervals_of_disks_hold_as_often_as_reported() -> None:
    held = []
    for seed in range(300):
        rng = np.random.default_rng([7, seed])
        # each day more or less: files come and are removed
        steps = rng.gamma(2, rng.uniform(0.005, 0.01), 110) - 0.003
        level = 0.3 + np.cumsum(steps)
        seen = int(np.argmax(level > 0.6))
        end = int(np.argmax(level >= 1)) - seen + 1
        found = disk_full("disk", np.arange(seen + 1.0), level[: seen + 1])
        if not found.needs and found.low is not None:
            held.append(found.low <= end <= (found.high or 1e9))

    assert len(held) > 200
    assert 0.7 <= np.mean(held) <= 0.9


def test_too_few_days_are_no_forecast() -> None:
    assert disk_full("d", DAYS[:14], 0.5 + 0.01 * DAYS[:14]).needs == "7 of 8 days"
    assert epsilon_spent(np.array([0.0, 1]), np.array([8.0, 7])).needs == "2 of 3 hours"


def test_epsilon_is_spent_when_the_training_goes_on() -> None:
    hours = np.arange(0, 48, 1.0)
    found = epsilon_spent(hours, 10 - 0.1 * hours)

    # 5.3 are left at 0.1 an hour
    assert found.day == pytest.approx(53 / 24, rel=0.15)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.day < found.high


def test_a_new_training_has_a_new_budget_and_a_halted_one_spends_nothing() -> None:
    hours = np.arange(0, 48, 1.0)
    remaining = np.where(hours < 24, 3 - 0.1 * hours, 10 - 0.05 * (hours - 24))
    restarted = epsilon_spent(hours, remaining)

    assert restarted.day == pytest.approx((10 - 0.05 * 23) / 0.05 / 24, rel=0.15)
    assert epsilon_spent(hours, np.full(48, 4.0)) == RunsOut(what="epsilon")
