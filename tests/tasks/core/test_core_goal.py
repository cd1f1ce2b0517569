"""The goal of trainings: levels in the metric's own unit, and one line for each that cannot be."""

import pytest

from tasks.core.errors import UsageInvalid
from tasks.core.goal import Goal, target_of


@pytest.mark.parametrize(
    ("reported", "is_share", "in_percent", "level"),
    [
        ("0.9", True, False, 0.9),
        (" 90 % ", True, False, 0.9),
        ("90", True, True, 0.9),
        ("1", True, True, 1.0),
        ("0.25", False, False, 0.25),
        ("2.5", False, True, 2.5),
    ],
)
def test_a_level_is_in_the_metrics_own_unit(
    reported: str, is_share: bool, in_percent: bool, level: float
) -> None:
    assert target_of(reported, is_share, in_percent) == pytest.approx(level)


@pytest.mark.parametrize(
    ("reported", "is_share", "problem"),
    [
        ("high", True, "it is not a number"),
        ("nan", False, "it is not a number"),
        ("-1", False, "it is out of range"),
        ("inf", False, "it is out of range"),
        ("90", True, "it is out of range: an accuracy is a share, 0 to 1"),
        ("101%", True, "it is out of range: an accuracy is a share, 0 to 1"),
    ],
)
def test_a_level_that_cannot_be_is_refused(reported: str, is_share: bool, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        target_of(reported, is_share)


def test_a_run_may_ask_for_another_goal() -> None:
    configured = Goal.model_validate({"target": 0.9, "total_rounds": 100})
    assert configured.with_options(None, None, None) == configured
    assert configured.with_options("accuracy", "80%", 50) == Goal(
        metric="accuracy", target=0.8, total_rounds=50
    )
    # a level of accuracy is none of loss
    assert configured.with_options("loss", None, None) == Goal(metric="loss", total_rounds=100)
    assert configured.with_options("loss", "0.25", None).target == 0.25
    assert Goal(metric="loss", target=2.0).with_options(None, None, None).target == 2.0


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (("accuracy", "2", None), "--target 2: it is out of range: an accuracy is a share, 0 to 1. Fix: give an accuracy such as 0.9 or 90%, or a loss such as 0.25"),
        ((None, "soon", None), "--target soon: it is not a number. Fix: give an accuracy such as 0.9 or 90%, or a loss such as 0.25"),
        (("auc", None, None), "--metric auc: Input should be 'accuracy' or 'loss'. Fix: give another value, or leave it out"),
        ((None, None, 0), "--total-rounds: Input should be greater than or equal to 1. Fix: give another value, or leave it out"),
        ((None, None, 10**20), "--total-rounds: Input should be less than or equal to 1000000000. Fix: give another value, or leave it out"),
    ],
)  # fmt: skip
def test_a_goal_that_cannot_be_is_one_line(
    asked: tuple[str | None, str | None, int | None], complaint: str
) -> None:
    with pytest.raises(UsageInvalid) as refused:
        Goal().with_options(*asked)
    assert str(refused.value) == complaint
