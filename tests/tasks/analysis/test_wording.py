"""Levels and changes in words."""

from tasks.analysis.interval import Interval
from tasks.analysis.wording import change_text, level_text, range_text, share_text, span_text


def test_an_accuracy_is_reported_in_percent_and_its_changes_in_points() -> None:
    assert (level_text("accuracy", 0.7836), share_text(0.5)) == ("78.4 %", "50.0 %")
    assert (change_text("accuracy", 0.0028), change_text("accuracy", -0.05, "+")) == (
        "0.28 pp",
        "−5 pp",
    )
    assert change_text("accuracy", -1e-9) == "0 pp"
    assert range_text("accuracy", -0.01, 0.12, "+") == "−1 to +12 pp"
    assert span_text("accuracy", Interval(0.075, 0.028, 0.12, 0.8)) == "7.5 pp (2.8 to 12 pp)"


def test_a_loss_has_no_unit() -> None:
    assert level_text("loss", 1.23456) == "1.235"
    assert change_text("loss", 0.012345, "+") == "+0.0123"
    assert change_text("loss", 5.65e-10) == "0"
    assert span_text("loss", Interval(0.5, -0.1, 1.0, 0.8)) == "0.5 (−0.1 to 1)"
