import numpy as np
import pytest

from tasks.analysis.curve import curve_of, from_arrays
from tasks.core.training import Round, TrainingRun


def run(*reported: tuple[float | None, float | None]) -> TrainingRun:
    rounds = tuple(
        Round(number, None, None, loss, accuracy, None, None)
        for number, (loss, accuracy) in enumerate(reported, 1)
    )
    return TrainingRun("run-1", rounds, None, None, "file")


def test_the_accuracy_is_the_curve_where_it_is_reported() -> None:
    curve = curve_of(run((2.0, 0.1), (1.0, None), (float("nan"), 0.5)))

    assert (curve.name, curve.metric, len(curve)) == ("run-1", "accuracy", 3)
    assert curve.values == pytest.approx([0.1, np.nan, 0.5], nan_ok=True)
    assert curve.lost.tolist() == [False, False, True]


def test_a_loss_is_scaled_by_the_worst_of_the_first_rounds() -> None:
    curve = curve_of(run((1.5, None), (2.0, None), (1.0, None), (0.5, None), (4.0, None)))

    assert (curve.metric, curve.worst) == ("loss", 4.0)
    assert curve.values.tolist() == [0.625, 0.5, 0.75, 0.875, 0.0]
    assert curve.unscaled(0.75) == 1.0
    assert curve.scaled(1.0) == 0.75


def test_the_metric_can_be_chosen() -> None:
    reported = run((2.0, 0.1), (1.0, 0.5))

    assert curve_of(reported, "loss").values.tolist() == [0.0, 0.5]
    assert curve_of(reported, "accuracy").values.tolist() == [0.1, 0.5]


def test_a_loss_that_grows_beyond_the_first_is_cut_at_zero() -> None:
    losses = np.array([2.0, 1.0, 1.0, 1.0, 1.0, 8.0, np.inf])

    curve = from_arrays("run", np.arange(7), None, losses)

    assert curve.values[5] == 0.0
    assert np.isnan(curve.values[6])
    assert curve.lost.tolist() == [False] * 6 + [True]


def test_a_loss_that_nobody_reported_is_not_lost() -> None:
    curve = from_arrays("run", np.arange(3), np.array([0.1, 0.2, 0.3]), np.full(3, np.nan))

    assert not curve.lost.any()


def test_losses_that_were_never_finite_are_lost() -> None:
    curve = curve_of(run((float("nan"), None), (float("inf"), None)))

    assert curve.lost.all()
    assert np.isnan(curve.values).all()


def test_a_part_keeps_the_scale() -> None:
    curve = from_arrays("run", np.arange(3), None, np.array([2.0, 1.0, 0.5]))

    part = curve.until(2)

    assert (part.rounds.tolist(), part.values.tolist(), part.worst) == ([0, 1], [0.0, 0.5], 2.0)
