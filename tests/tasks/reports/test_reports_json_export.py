import json

import numpy as np
import pandas as pd
import pytest

from tasks.core.batch import empty_frame
from tasks.core.quarantine import Reason, records
from tasks.core.severity import Severity
from tasks.reports.page import export, render
from tests.support.report_samples import (
    check,
    field,
    frame_of,
    measurement,
    morning,
    report,
    section,
    small,
    times,
)

LATENCY = {
    "n": 5, "min": 0.1, "mean": pytest.approx(0.36), "max": 0.7, "last": pytest.approx(0.5),
}  # fmt: skip
RANGE = {
    "check_id": "latency.range",
    "expectation": "expect_column_values_to_be_between",
    "success": False,
    "severity": "critical",
    "column": "latency_p95_seconds",
    "observed": "0.1 to 9.0",
    "limit": "0 to 5",
    "origin": "suite",
    "offending": 1,
    "problem": "",
    "breach": None,
}
COUNTED = {
    **RANGE, "check_id": "rows.counted", "success": True, "column": None, "observed": "6",
    "limit": "≥ 1", "offending": 0,
}  # fmt: skip
SAMPLE = {
    "time": "2026-01-31T06:00:15Z",
    "tags": {"method": "POST"},
    "field": "latency_p95_seconds",
    "number": 9.0,
    "text": "9.0",
    "stage": "suite",
    "scope": "value",
    "check_id": "latency.range",
    "expectation": "between",
    "severity": "critical",
    "limit": "≤ 5",
    "reason": "9.0 is above 5",
}
MEASUREMENT = {
    "name": "requests",
    "type": "performance",
    "description": "Requests to the service.",
    "attention": "bad",
    "state": "landed",
    "rows": 6,
    "values": {
        "extracted": 6, "landed": 5, "quarantined": 1, "dropped_by_rule": 0, "unchanged": 0,
        "retained": 0, "erased": 0,
    },
    "fields": {
        "latency_p95_seconds": {"type": "float", "unit": "seconds", "better": "lower", "description": "", **LATENCY,
            "comparisons": [],
        }
    },
    "series": {
        "count": 2,
        "heading": "method",
        "standing_out": 0,
        "shown": [
            {
                "label": "GET",
                "tags": {"method": "GET"},
                "oddness": None,
                "fields": {
                    "latency_p95_seconds": {
                        "n": 3, "min": 0.1, "mean": pytest.approx(0.2), "max": 0.3, "last": 0.3,
                    }
                },
            },
            {
                "label": "POST",
                "tags": {"method": "POST"},
                "oddness": None,
                "fields": {
                    "latency_p95_seconds": {
                        "n": 2, "min": 0.5, "mean": pytest.approx(0.6), "max": 0.7, "last": 0.7,
                    }
                },
            },
        ],
        "ranked": {},
    },
    "verdict": {
        "suite": "requests",
        "declared": 2,
        "ran": 2,
        "passed": 1,
        "failed": 1,
        "worst": "critical",
        "checks": [RANGE, COUNTED],
    },
    "quarantine": {"records": 1, "by_check": {"latency.range": 1}, "samples": [SAMPLE]},
    "events": [],
    "problems": [],
    "warnings": [],
}  # fmt: skip


def test_the_twin_of_a_small_report_exactly() -> None:
    one = small()
    assert export(one) == {
        "format": "fedvitals-report/1",
        "generated_at": "2026-01-31T07:01:12Z",
        "receipt": json.loads(one.receipt.model_dump_json()),
        "notes": [],
        "changes": None,
        "incidents": [],
        "measurements": [MEASUREMENT],
    }


def test_the_twin_is_strict_json() -> None:
    one = export(morning())
    assert json.loads(json.dumps(one, allow_nan=False)) == one


def test_a_report_without_sections() -> None:
    one = export(report(notes=("nothing to do",)))
    assert (one["measurements"], one["notes"]) == ([], ["nothing to do"])
    assert one["receipt"]["status"] == "no_data"


def test_a_section_without_data_has_no_numbers() -> None:
    entry = measurement("m", {"v": field()}, ("job",))
    (one,) = export(report(section(entry, empty_frame(entry), "no_data", checks=None)))[
        "measurements"
    ]
    assert one["fields"]["v"] == {
        "type": "float", "unit": "", "better": "none", "description": "",
        "n": 0, "min": None, "mean": None, "max": None, "last": None, "comparisons": [],
    }  # fmt: skip
    assert one["series"] == {
        "count": 0, "heading": "", "standing_out": 0, "shown": [], "ranked": {},
    }  # fmt: skip
    assert one["verdict"] is None
    assert one["quarantine"] == {"records": 0, "by_check": {}, "samples": []}


def test_fields_of_every_type() -> None:
    entry = measurement(
        "m", {"up": field(type_="bool"), "n": field(type_="int"), "version": field(type_="string")}
    )  # fmt: skip
    frame = frame_of(
        entry,
        {
            "time": times(3), "up": [True, None, False], "n": [3, 5, None],
            "version": ["1.0", "1.1", None],
        },
    )  # fmt: skip
    (one,) = export(report(section(entry, frame)))["measurements"]
    numbers = {
        name: [said[key] for key in ("n", "min", "mean", "max", "last")]
        for name, said in one["fields"].items()
    }
    assert numbers == {
        "up": [2, 0.0, 0.5, 1.0, 0.0],
        "n": [2, 3.0, 4.0, 5.0, 5.0],
        "version": [2, None, None, None, "1.1"],
    }


def test_a_check_that_could_not_run_is_counted() -> None:
    entry = measurement("m", {"v": field()})
    broken = check("v.mean", success=False, problem="no such column")
    one = section(entry, frame_of(entry, {"time": times(1), "v": [1.0]}), checks=(broken,))
    verdict = export(report(one))["measurements"][0]["verdict"]
    assert (verdict["declared"], verdict["ran"], verdict["failed"]) == (1, 0, 1)


def test_at_most_twenty_samples_worst_first_and_infinity_only_as_text() -> None:
    entry = measurement("m", {"v": field()})
    frame = frame_of(entry, {"time": times(40), "v": [float("inf"), *range(1, 40)]})

    def held(severity: Severity, positions: range) -> Reason:
        return Reason("suite", "value", f"v.{severity}", "between", severity, "", "out")

    warned = records(frame, entry, np.arange(1, 40), ["v"], held(Severity.WARNING, range(40)))
    broken = records(frame, entry, np.array([0]), ["v"], held(Severity.CRITICAL, range(1)))
    both = pd.concat([warned.iloc[::-1], broken], ignore_index=True)
    (one,) = export(report(section(entry, empty_frame(entry), quarantine=both)))["measurements"]
    found = one["quarantine"]
    assert (found["records"], len(found["samples"])) == (40, 20)
    assert found["by_check"] == {"v.critical": 1, "v.warning": 39}
    assert (found["samples"][0]["number"], found["samples"][0]["text"]) == (None, "inf")
    assert [sample["number"] for sample in found["samples"][1:]] == [float(n) for n in range(1, 20)]


def test_a_label_of_70_kb_leaves_the_page_small() -> None:
    statement = "select " + "a_long_column_name, " * 3600 + "from wide"
    entry = measurement("statements", {"calls": field()}, ("query",))
    frame = frame_of(
        entry,
        {"time": times(30) * 2, "query": [statement] * 30 + ["select 1"] * 30, "calls": [5.0] * 60},
    )
    why = Reason("sink", "value", "series_key_too_long", "e", Severity.HIGH, "", "too long")
    held = records(frame, entry, np.arange(30, 60), ["calls"], why)
    of_it = report(section(entry, frame, quarantine=held))

    assert len(render(of_it)) < 200_000
    (one,) = export(of_it)["measurements"]
    tags = {sample["tags"]["query"] for sample in one["quarantine"]["samples"]}
    (cut,) = tags
    assert cut.startswith("select a_long")
    assert cut.endswith("from wide")
    # as data it is whole, once
    assert statement in {shown["tags"]["query"] for shown in one["series"]["shown"]}
