import dataclasses

from tasks.reports.page import markdown
from tasks.reports.records import MeasurementChange
from tests.support.report_samples import (
    CHANGES,
    check,
    field,
    frame_of,
    measurement,
    report,
    section,
    small,
    times,
)


def test_the_summary_of_a_small_report_exactly() -> None:
    one = small()
    receipt = one.receipt.model_copy(update={"report": "reports/20260131/metrics-report.html"})
    assert markdown(dataclasses.replace(one, receipt=receipt, notes=("hashed_ids",))) == (
        "# requests: latency.range: observed 0.1 to 9.0, limit 0 to 5; 1 value quarantined\n\n"
        "staging · 31 Jan 2026 06:00 – 07:00 UTC (1 h) · run `20260131T070112-a1b2c3`\n\n"
        "Report: `reports/20260131/metrics-report.html`\n\n"
        "- hashed\\_ids\n\n"
        "## What is wrong\n\n"
        "- **critical** requests: latency.range: observed 0.1 to 9.0, limit 0 to 5\n"
    )


def test_an_empty_report_is_said_in_a_few_lines() -> None:
    text = markdown(report())
    assert text.startswith("# no data: none was asked\n\nstaging · 31 Jan")
    assert "What is wrong" not in text


def test_what_changed_is_reported_after_the_notes() -> None:
    change = MeasurementChange("re_quests", "landed", "failed", ("a_b",), (), 0, 5)
    changes = dataclasses.replace(CHANGES, measurements=(change,), new=())
    text = markdown(dataclasses.replace(small(), changes=changes))
    assert text.endswith(
        "\n\nCompared with the last run, whose window ended 31 Jan 2026 06:00:00 UTC.\n\n"
        r"- **re\_quests**: landed → failed; fails now: a\_b; quarantined 0 → 5"
        "\n"
    )


def test_text_from_outside_is_neither_markup_nor_a_table() -> None:
    entry = measurement("m", {"v": field()})
    evil = check("<script>|`x`", success=False, observed="a\nb", limit="[l](http://x)")
    one = section(entry, frame_of(entry, {"time": times(1), "v": [1.0]}), checks=(evil,))
    (last,) = (line for line in markdown(report(one)).splitlines() if line[:4] == "- **")
    assert last == (r"- **critical** m: \<script\>\|\`x\`: observed a b, limit \[l\](http://x)")


def test_hundreds_of_findings_fit_into_an_artifact() -> None:
    checks = tuple(check(f"c{i}", success=False, observed="x" * 9_000) for i in range(300))
    entry = measurement("m", {"v": field()})
    one = section(entry, frame_of(entry, {"time": times(1), "v": [1.0]}), checks=checks)
    text = markdown(report(one))
    assert len(text.encode()) <= 64_000
    assert text.count("- **critical**") == 10
