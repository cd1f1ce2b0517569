"""The JSON export of a report: the same numbers as the page."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from pydantic_core import to_jsonable_python

from tasks.core.outside import shortened
from tasks.core.severity import Severity
from tasks.core.verdict import Verdict
from tasks.core.window import Window, iso
from tasks.reports.comparison import comparisons_of
from tasks.reports.multiples import MOST_OF_A_FIELD, names_of, ranked
from tasks.reports.oddness import ODD, Oddness
from tasks.reports.records import MeasurementSection, RunReport
from tasks.reports.series import Table, labels, statistics

FORMAT = "fedvitals-report/1"
SAMPLES = 20


def export_of(
    report: RunReport, sections: Sequence[MeasurementSection], tables: Sequence[Table]
) -> dict[str, Any]:
    """Return the export of a report, with sections and tables in the page's order."""
    return {
        "format": FORMAT,
        "generated_at": iso(report.generated_at),
        "receipt": report.receipt.model_dump(mode="json"),
        "notes": list(report.notes),
        "changes": to_jsonable_python(report.changes),
        "incidents": [one.model_dump(mode="json") for one in report.incidents],
        "measurements": [
            _measurement(section, table, report.window)
            for section, table in zip(sections, tables, strict=True)
        ],
    }


def _measurement(section: MeasurementSection, table: Table, window: Window) -> dict[str, Any]:
    line = section.line
    return {
        "name": section.measurement.name,
        "type": section.measurement.type,
        "description": section.measurement.description,
        "attention": section.attention,
        "state": line.state,
        "rows": line.rows,
        "values": asdict(line.values),
        "fields": _fields(section, table, window),
        "series": _series(table),
        "verdict": _verdict(section.verdict) if section.verdict else None,
        "quarantine": _quarantine(section.quarantine),
        "events": to_jsonable_python(section.events),
        "problems": list(line.problems),
        "warnings": list(line.warnings),
    }


def _fields(section: MeasurementSection, table: Table, window: Window) -> dict[str, Any]:
    found = {}
    for name, spec in section.measurement.fields.items():
        if name in table.fields:
            numbers = statistics(table.times, table.fields[name])
        else:
            numbers = _of_texts(section.frame, name)
        found[name] = {
            "type": spec.type,
            "unit": spec.unit,
            "better": spec.better,
            "description": spec.description,
            **numbers,
            "comparisons": _comparisons(section, name, numbers["mean"], window),
        }
    return found


def _comparisons(
    section: MeasurementSection, name: str, mean: float | None, window: Window
) -> list[dict[str, Any]]:
    earlier = section.earlier.get(name)
    if mean is None or not earlier:
        return []
    better = section.measurement.fields[name].better
    found: list[dict[str, Any]] = to_jsonable_python(
        comparisons_of(mean, earlier, window.length, better)
    )
    return found


def _of_texts(frame: pd.DataFrame, name: str) -> dict[str, Any]:
    there = frame[frame[name].notna()]
    last = None if there.empty else str(there[name].iloc[int(there["time"].argmax())])
    return {"n": len(there), "min": None, "mean": None, "max": None, "last": last}


def _series(table: Table) -> dict[str, Any]:
    heading, names = labels(table)
    odd = {
        (one.start, one.stop): said for one, said in zip(table.series, table.oddness, strict=False)
    }
    shown = [
        {
            "label": name,
            "tags": dict(one.tags),
            "oddness": _oddness(odd.get((one.start, one.stop))),
            "fields": {
                field: statistics(table.times[one.start : one.stop], values[one.start : one.stop])
                for field, values in table.fields.items()
            },
        }
        for name, one in zip(names, table.shown, strict=True)
    ]
    return {
        "count": len(table.series),
        "heading": heading,
        "standing_out": sum(one.stands_out for one in table.oddness),
        "shown": shown,
        "ranked": {name: _ranked(table, name) for name in table.fields if table.oddness},
    }


def _ranked(table: Table, field: str) -> list[dict[str, Any]]:
    order = ranked(table, field, MOST_OF_A_FIELD)
    scores = [table.oddness[index].scores[field] for index in order]
    return [
        {"label": name, "score": score, "stands_out": score > ODD}
        for name, score in zip(names_of(table, order), scores, strict=True)
    ]


def _oddness(odd: Oddness | None) -> dict[str, Any] | None:
    if odd is None:
        return None
    return {"score": odd.score, "field": odd.field, "stands_out": odd.stands_out}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    passed = [check for check in verdict.checks if check.success]
    return {
        "suite": verdict.suite,
        "declared": len(verdict.checks),
        "ran": sum(not check.problem for check in verdict.checks),
        **verdict.short(),
        "checks": to_jsonable_python((*verdict.failed, *passed)),
    }


def _quarantine(records: pd.DataFrame) -> dict[str, Any]:
    order = {severity.value: severity.rank for severity in Severity}
    ranked = records.assign(rank=records["severity"].map(order))
    worst = ranked.sort_values(["rank", "time"], kind="stable").head(SAMPLES)
    by_check = records["check_id"].value_counts(sort=False).sort_index()
    return {
        "records": len(records),
        "by_check": {str(name): int(count) for name, count in by_check.items()},
        "samples": [_sample(row) for row in worst.to_dict("records")],
    }


def _sample(row: dict[Any, Any]) -> dict[str, Any]:
    texts = ("text", "stage", "scope", "check_id", "expectation", "severity", "limit", "reason")
    return {
        "time": iso(row["time"].to_pydatetime()),
        # a label may be a whole statement of SQL
        "tags": {tag: shortened(text) for tag, text in json.loads(row["tags"]).items()},
        "field": _text(row["field"]),
        "number": _finite(row["number"]),
        **{name: _text(row[name]) for name in texts},
    }


def _text(value: Any) -> str | None:
    return None if pd.isna(value) else shortened(str(value))


def _finite(value: float | None) -> float | None:
    return float(value) if isinstance(value, float | np.floating) and math.isfinite(value) else None
