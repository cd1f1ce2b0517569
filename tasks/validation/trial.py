"""Trial of expectations on a few rows, to know before a run whether they can run.

A trial takes tens of milliseconds a suite, so one that passed in this process is not repeated
under another column's name.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from tasks.core.batch import build_frame
from tasks.core.measurement import FieldType, Measurement
from tasks.validation import engine
from tasks.validation.model import MANY_COLUMNS, ONE_COLUMN, Expectation, Suite

_ran: set[str] = set()


def obstacles(suite: Suite, measurement: Measurement) -> Iterator[tuple[str, str]]:
    """Yield the check_id of each expectation that cannot run, and why."""
    columns = _types_of_columns(measurement)
    signatures = {each.check_id: _signature(each, columns) for each in suite.expectations}
    untried = {check_id for check_id, signature in signatures.items() if signature not in _ran}
    if not untried:
        return
    entries = suite.content["expectations"]
    chosen = [each for each in entries if each["meta"]["check_id"] in untried]
    tried = replace(suite, content={**suite.content, "expectations": chosen})
    for check_id, ran in engine.run(_sample(measurement), tried).items():
        if ran.problem:
            yield check_id, ran.problem
        else:
            _ran.add(signatures[check_id])


def _types_of_columns(measurement: Measurement) -> dict[str, str]:
    return {
        "time": "time",
        **dict.fromkeys(measurement.all_tags, "tag"),
        **{name: field.type for name, field in measurement.fields.items()},
    }


def _signature(expectation: Expectation, columns: Mapping[str, str]) -> str:
    """Return all that decides whether it runs, whatever the column's name."""
    numbers = {each for each in expectation.arguments.values() if type(each) in (int, float)}
    order = {number: place for place, number in enumerate(sorted(numbers))}

    def general(name: str, value: Any) -> Any:
        if name in ONE_COLUMN:
            return columns.get(value, value)
        if name in MANY_COLUMNS:
            return [columns.get(each, each) for each in value]
        return f"number {order[value]}" if type(value) in (int, float) else value

    arguments = {name: general(name, value) for name, value in expectation.arguments.items()}
    return json.dumps([expectation.type, arguments], sort_keys=True, default=str)


def _sample(measurement: Measurement) -> pd.DataFrame:
    """Return three rows of the measurement's types, the last without values."""
    examples: dict[FieldType, list[Any]] = {
        "float": [0.0, 1.0, None],
        "int": [0, 1, None],
        "string": ["a", "b", None],
        "bool": [False, True, None],
    }
    times = pd.date_range("2026-01-01", periods=3, freq=measurement.step, tz="UTC")
    columns: dict[str, Any] = {"time": times.as_unit("us")}
    columns |= {tag: ["a", "a", "a"] for tag in measurement.all_tags}
    columns |= {name: examples[spec.type] for name, spec in measurement.fields.items()}
    return build_frame(measurement, columns)
