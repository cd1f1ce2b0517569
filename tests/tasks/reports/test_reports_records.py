import dataclasses

import pytest

from tasks.core.receipt import MeasurementReceipt, MeasurementState, Values
from tasks.core.severity import Severity
from tasks.reports.records import attention_of
from tests.support.report_samples import check, morning, report, section, silent, small


def line(state: MeasurementState = "landed", **changes: object) -> MeasurementReceipt:
    fresh = MeasurementReceipt(name="m", state=state, rows=0, values=Values(), verdict=None)
    return fresh.model_copy(update=changes)


@pytest.mark.parametrize(
    ("state", "attention"),
    [
        ("failed", "bad"),
        ("refused", "bad"),
        ("pending", "high"),
        ("lost", "high"),
        ("retained", "warning"),
        ("landed", "ok"),
        ("unchanged", "unchanged"),
        ("no_data", "no_data"),
    ],
)
def test_a_state_asks_for_attention(state: MeasurementState, attention: str) -> None:
    assert attention_of(line(state)) == attention


@pytest.mark.parametrize(
    ("worst", "attention"),
    [("critical", "bad"), ("high", "high"), ("warning", "warning"), ("info", "ok"), (None, "ok")],
)
def test_a_verdict_asks_for_attention(worst: str | None, attention: str) -> None:
    assert attention_of(line(verdict={"passed": 1, "failed": 1, "worst": worst})) == attention


def test_quarantine_and_warnings_ask_for_attention() -> None:
    assert attention_of(line(values=Values(1, 0, 1))) == "bad"
    assert attention_of(line(warnings=("late rows",))) == "warning"


def test_an_unchanged_measurement_still_shows_its_warning() -> None:
    assert attention_of(line("unchanged", warnings=("late rows",))) == "warning"


def test_the_whole_verdict_counts_more_than_the_lines_short_one() -> None:
    one = small().sections[0]
    failed = (check("c", Severity.HIGH, success=False),)
    assert one.verdict is not None
    verdict = dataclasses.replace(one.verdict, checks=failed)
    assert attention_of(line(verdict={"failed": 0, "worst": None}), verdict) == "high"


def test_sections_are_ordered_worst_first() -> None:
    assert [one.measurement.name for one in morning().ordered] == [
        "inference", "edge_devices", "federated_training", "requests", "model_files",
        "deployments", "certificates", "gpu",
    ]  # fmt: skip


def test_equally_bad_sections_stay_as_they_came() -> None:
    names = ["c", "a", "b"]
    ordered = report(*(silent(name) for name in names)).ordered
    assert [one.measurement.name for one in ordered] == names


def test_section_without_limits_has_none() -> None:
    one = small().sections[0]
    assert section(one.measurement, one.frame).limits == {}
