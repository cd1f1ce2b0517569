"""Severity: one order, and its names elsewhere."""

import pytest

from tasks.core.severity import NAMES, Severity, worst


def test_order_and_worst() -> None:
    assert [severity.rank for severity in Severity] == [0, 1, 2, 3]
    assert worst([Severity.INFO, Severity.HIGH, Severity.WARNING]) is Severity.HIGH
    assert worst([]) is None


def test_every_severity_has_names_that_great_expectations_knows() -> None:
    assert set(NAMES) == set(Severity)
    assert {names.great_expectations for names in NAMES.values()} == {"critical", "warning", "info"}
    labels = [names.github_label for names in NAMES.values()]
    assert len(set(labels)) == len(labels)


def test_unknown_severity_is_refused() -> None:
    with pytest.raises(ValueError, match="fatal"):
        Severity("fatal")
