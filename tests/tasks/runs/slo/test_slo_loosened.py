"""A looser objective while the budget is spent is a finding."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from tasks.analysis.slo.status import Status
from tasks.core.severity import Severity
from tasks.core.slos import Slo
from tasks.runs.slo.run import loosened

AT = datetime(2026, 11, 30, tzinfo=UTC)


def slo(objective: float, mode: str = "alert") -> Slo:
    ratio = {"total": "t", "bad": "b"}
    values: dict[str, Any] = {"objective": objective, "ratio": ratio, "summary": "s", "mode": mode}
    return Slo.model_validate({"id": "mine", **values})


def recorded(*rows: tuple[float, float]) -> pd.DataFrame:
    found = [
        {
            "time": pd.Timestamp(AT + hour * timedelta(hours=1)),
            "objective_ratio": objective,
            "budget_left_ratio": left,
            "definition": slo(objective).definition,
        }
        for hour, (objective, left) in enumerate(rows)
    ]
    return pd.DataFrame(
        found, columns=["time", "objective_ratio", "budget_left_ratio", "definition"]
    )


@pytest.mark.parametrize(
    ("now", "rows", "is_finding"),
    [
        (0.9, [(0.99, 0.2), (0.99, -0.1)], True),
        # also when runs have recorded the new one since
        (0.9, [(0.99, -0.1), (0.9, 0.9)], True),
        (0.9, [(0.99, 0.3)], False),
        # it was spent, and is won back
        (0.9, [(0.99, -0.1), (0.99, 0.1)], False),
        (0.999, [(0.99, -0.1)], False),
        (0.99, [(0.99, -0.1)], False),
        (0.99, [], False),
    ],
)
def test_only_a_looser_objective_of_a_spent_budget_is_one(
    now: float, rows: list[tuple[float, float]], is_finding: bool
) -> None:
    found = loosened(Status(slo(now), "ok", AT), recorded(*rows))

    assert (found is not None) == is_finding
    if found is not None:
        assert (found.kind, found.severity, found.subject) == (
            "slo_loosened",
            Severity.HIGH,
            "mine",
        )
        assert (found.evidence["before"], found.evidence["now"]) == (0.99, 0.9)


def test_what_is_only_observed_is_no_reason_for_an_exit_code() -> None:
    found = loosened(Status(slo(0.9, "observe"), "ok", AT), recorded((0.99, -0.1)))

    assert found is not None
    assert found.severity == Severity.INFO
