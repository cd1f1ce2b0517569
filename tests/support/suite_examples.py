"""A measurement, a suite and frames that the tests of validation share."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.core.batch import Batch, build_frame
from tasks.core.measurement import FieldSpec, FieldType, Measurement
from tasks.core.window import Window
from tasks.validation.model import Suite
from tasks.validation.suites import read_suite

START = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=1))
BETWEEN = "expect_column_values_to_be_between"
NOT_NULL = "expect_column_values_to_not_be_null"
ROW_COUNT = "expect_table_row_count_to_be_between"
UNIQUE = "expect_compound_columns_to_be_unique"


def a_measurement(
    tags: tuple[str, ...] = ("method",), fields: dict[str, FieldType] | None = None
) -> Measurement:
    """By default: tag method, fields share_ratio (float, required) and size_bytes (int)."""
    types: dict[str, FieldType] = fields or {"share_ratio": "float", "size_bytes": "int"}
    specs = {
        name: FieldSpec(query="q", type=kind, required=name == "share_ratio")
        for name, kind in types.items()
    }
    return Measurement(
        name="example", type="performance", tags=tags, fields=specs, step="15s", every="60s",
        max_series=100,
    )  # fmt: skip


def an_expectation(
    check_id: str, kind: str, severity: str = "critical", **kwargs: Any
) -> dict[str, Any]:
    """As it stands in a suite's file."""
    return {
        "type": kind,
        "kwargs": kwargs,
        "meta": {
            "check_id": check_id,
            "severity": severity,
            "reason": f"{check_id} is why",
            "origin": "physical",
        },
    }


def obligations(measurement: Measurement) -> list[dict[str, Any]]:
    """What every suite must have."""
    required = [name for name, spec in measurement.fields.items() if spec.required]
    return [
        an_expectation("rows", ROW_COUNT, min_value=1),
        an_expectation("key", UNIQUE, column_list=list(measurement.key)),
        an_expectation("time", NOT_NULL, column="time"),
        *(an_expectation(f"{name}_present", NOT_NULL, "high", column=name) for name in required),
    ]


def a_content(measurement: Measurement, *more: dict[str, Any], **top: Any) -> dict[str, Any]:
    """A whole suite: the obligations and more."""
    return {"name": "example", "expectations": [*obligations(measurement), *more], **top}


def write(folder: Path, content: Any) -> Path:
    """The folder, with the content as example.json in it."""
    (folder / "example.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def a_suite(folder: Path, measurement: Measurement, *more: dict[str, Any]) -> Suite:
    """A suite that went through its file."""
    return read_suite(write(folder, a_content(measurement, *more)), measurement)


def a_batch(measurement: Measurement, frame: pd.DataFrame) -> Batch:
    """A batch of production over the window."""
    return Batch(measurement, "production", WINDOW, frame)


def a_frame(measurement: Measurement, seconds: list[int], **columns: Any) -> pd.DataFrame:
    """Rows that many seconds after the start; tags are GET unless given."""
    times = [START + timedelta(seconds=each) for each in seconds]
    tags = {tag: ["GET"] * len(seconds) for tag in measurement.tags}
    environment = ["production"] * len(seconds)
    return build_frame(measurement, {"time": times, "environment": environment, **tags, **columns})
