"""What is different since the last run, when runs read different things or check nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.core.receipt import MeasurementState, Outcome, Receipt, Values, write_receipt
from tasks.core.severity import Severity
from tasks.core.verdict import Verdict
from tasks.core.window import Window
from tasks.reports.changes import changes_of
from tasks.reports.records import MeasurementChange
from tests.support.report_samples import check

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def outcome(
    name: str, state: MeasurementState = "landed", failing: str | None = "", bad: int = 0
) -> Outcome:
    """`failing` are the failed checks of a verdict, None for no verdict."""
    checks = tuple(check(each, Severity.WARNING, success=False) for each in (failing or "").split())
    verdicts = () if failing is None else (Verdict(name, (check("rows"), *checks)),)
    return Outcome(name, state, values=Values(10 + bad, 10, bad), verdicts=verdicts)


def run(hour: int, *outcomes: Outcome) -> Receipt:
    window = Window(NOON + timedelta(hours=hour - 1), NOON + timedelta(hours=hour))
    return write_receipt("collect", f"run-{hour:02}", "staging", window, outcomes, {})


def changed(now: Receipt, *earlier: Receipt) -> list[MeasurementChange]:
    found = changes_of(now, earlier)
    assert found is not None
    return list(found.measurements)


def test_the_first_run_has_nothing_to_be_compared_with() -> None:
    assert changes_of(run(1, outcome("m")), []) is None


def test_the_last_run_is_named_with_its_sums() -> None:
    found = changes_of(run(2, outcome("m")), [run(1, outcome("m", bad=3)), run(0, outcome("m"))])
    assert found is not None
    assert (found.run_id, found.stop) == ("run-01", NOON + timedelta(hours=1))
    assert (found.status, found.worst) == ("ok", Severity.CRITICAL)
    assert found.values == Values(13, 10, 3)


def test_equal_runs_have_no_changes() -> None:
    assert changed(run(2, outcome("m", failing="a b")), run(1, outcome("m", failing="b a"))) == []


def test_checks_that_began_and_ceased_to_fail_are_reported() -> None:
    now = run(2, outcome("m", failing="b c"))
    assert changed(now, run(1, outcome("m", failing="a b"))) == [
        MeasurementChange("m", "landed", "landed", ("c",), ("a",), 0, 0)
    ]


@pytest.mark.parametrize(
    "between", [{"state": "unchanged"}, {"state": "no_data"}, {"state": "failed"}]
)
def test_a_run_without_a_verdict_ends_no_check(between: dict[str, Any]) -> None:
    silent = run(2, outcome("m", failing=None, **between))
    failing = run(1, outcome("m", failing="a"))
    assert all(not each.ended for each in changed(silent, failing))
    assert [each.ended for each in changed(run(3, outcome("m")), silent, failing)] == [("a",)]


def test_a_state_that_became_another_is_reported_and_unchanged_is_as_good_as_landed() -> None:
    failed = run(2, outcome("m", "failed", failing=None))
    (found,) = changed(failed, run(1, outcome("m")))
    assert (found.state_before, found.state) == ("landed", "failed")
    assert (found.quarantined_before, found.quarantined) == (None, None)
    assert changed(run(2, outcome("m", "unchanged", failing=None)), run(1, outcome("m"))) == []


def test_quarantine_that_begins_or_ends_is_reported_and_its_size_is_not() -> None:
    (began,) = changed(run(2, outcome("m", bad=4)), run(1, outcome("m")))
    assert (began.quarantined_before, began.quarantined) == (0, 4)
    (ended,) = changed(run(2, outcome("m")), run(1, outcome("m", bad=4)))
    assert (ended.quarantined_before, ended.quarantined) == (4, 0)
    assert changed(run(2, outcome("m", bad=5)), run(1, outcome("m", bad=4))) == []


def test_a_measurement_is_compared_with_the_newest_run_that_read_it() -> None:
    now = run(3, outcome("m"), outcome("n"), outcome("new"))
    earlier = [run(2, outcome("n")), run(1, outcome("m", "failed", failing=None))]
    found = changes_of(now, earlier)
    assert found is not None
    assert [(each.name, each.state_before) for each in found.measurements] == [("m", "failed")]
    assert found.new == ("new",)


def test_a_receipt_read_from_the_ledger_is_compared_alike() -> None:
    now, before = run(2, outcome("m", failing="c")), run(1, outcome("m", failing="a", bad=2))
    again = Receipt.model_validate_json(before.model_dump_json())
    assert changes_of(now, [again]) == changes_of(now, [before])
