from typing import Any

import numpy as np
import pytest

from tasks.analysis.curve import Curve, from_arrays
from tasks.analysis.onset import collapsed_once, onsets, running_noise


def curve(values: Any, loss: Any = None) -> Curve:
    reported = np.asarray(values, dtype=np.float64)
    return from_arrays("run", np.arange(1, len(reported) + 1), reported, loss)


def found(values: Any) -> list[tuple[str, int, int, int | None]]:
    return [(one.kind, one.began, one.found, one.ended) for one in onsets(curve(values))]


def noisy(level: Any, sd: float, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return np.asarray(level) + sd * rng.normal(size=len(level))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.8] * 30, []),
        ([0.8] * 20 + [0.1] * 10, [("collapse", 21, 22, None)]),
        ([0.8] * 20 + [0.1] * 5 + [0.8] * 10, [("collapse", 21, 22, 27)]),
        ([0.8] * 20 + [0.1] + [0.8] * 10, []),
        ([0.1, 0.8] * 15, []),
        ([0.1, 0.3, 0.5, 0.7, 0.8, 0.8, 0.5, 0.1, 0.3, 0.5, 0.6, 0.7], []),
    ],
    ids=["steady", "fell", "fell and came back", "one bad round", "swings", "an early swing"],
)
def test_a_short_series_has_its_onsets(values: Any, expected: list[Any]) -> None:
    assert found(values) == expected


def test_a_sinking_level_is_found_in_five_rounds() -> None:
    level = np.concatenate([np.full(40, 0.8), 0.8 - 0.02 * np.arange(1, 11)])

    ((kind, began, when, ended),) = found(noisy(level, 0.005))

    assert (kind, ended) == ("collapse", None)
    assert 39 <= began <= 42
    assert when <= 45


def test_a_lost_loss_is_found_at_once() -> None:
    loss = np.array([0.1] * 20 + [np.nan] * 3)

    (one,) = onsets(curve([0.8] * 23, loss))

    assert (one.kind, one.found, one.ended) == ("divergence", 21, None)


def test_healthy_noise_is_left_alone() -> None:
    fires = sum(len(found(noisy(np.full(200, 0.8), 0.02, seed))) for seed in range(20))

    assert fires <= 4  # 1 in 1,000 rounds


def test_an_onset_does_not_depend_on_what_follows() -> None:
    values = noisy(np.concatenate([np.full(40, 0.8), np.full(20, 0.3)]), 0.01)
    (whole,) = onsets(curve(values))

    early = [onsets(curve(values[:count])) for count in range(11, 61)]
    first = next(one[0].found for one in early if one)

    assert first == whole.found


def test_a_run_shorter_than_a_level_takes_to_hold_has_no_onset() -> None:
    assert onsets(curve([0.8] * 5 + [0.1] * 5)) == ()


def test_collapsed_once_agrees_with_the_onsets() -> None:
    assert collapsed_once(curve([0.8] * 20 + [0.1] * 5 + [0.8] * 10))
    assert not collapsed_once(curve([0.8] * 30))
    assert not collapsed_once(curve([0.8] * 5))


def test_the_running_noise_is_that_of_the_last_rounds() -> None:
    sd = np.where(np.arange(400) < 200, 0.01, 0.03)
    rng = np.random.default_rng(1)

    noise = running_noise(0.5 + sd * rng.normal(size=400))

    assert noise[190] == pytest.approx(0.01, rel=0.6)
    assert noise[390] == pytest.approx(0.03, rel=0.6)


def rising(count: int) -> Any:
    return 0.7 - 0.6 * np.exp(-np.arange(count) / 4.0)


def test_the_bend_of_a_rise_is_no_noise() -> None:
    noise = running_noise(noisy(rising(24), 0.005, 3))

    assert np.all(noise[12:] < 0.015)


def test_a_level_that_wanders_is_noise() -> None:
    wave = 0.5 + 0.05 * np.sin(2 * np.pi * np.arange(60) / 20)

    assert np.all(running_noise(noisy(wave, 0.005))[30:] > 0.03)


def test_a_fall_after_a_steep_rise_is_found_in_five_rounds() -> None:
    values = np.concatenate([rising(18), rising(18)[-1] - 0.015 * np.arange(1, 9)])

    for seed in range(20):
        (one,) = onsets(curve(noisy(values, 0.005, seed)))
        assert 19 <= one.found <= 19 + 5


def test_a_rise_that_levels_off_is_left_alone() -> None:
    fires = sum(len(found(noisy(rising(60), 0.005, seed))) for seed in range(50))

    assert fires <= 3  # 1 in 1,000 rounds


def test_a_slow_fall_under_noise_is_found_before_it_is_two_thirds_of_a_collapse() -> None:
    values = np.concatenate([np.full(60, 0.8), 0.8 - 0.005 * np.arange(1, 21)])
    when = [onsets(curve(noisy(values, 0.02, seed)))[-1].found for seed in range(20)]

    assert np.median(when) <= 60 + 13
