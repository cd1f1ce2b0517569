"""A lake, a measurement and frames that the tests of the lake share."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.batch import build_frame
from tasks.core.measurement import FieldType, Measurement
from tasks.core.quarantine import Reason, records
from tasks.core.severity import Severity
from tasks.core.window import Cell, Window
from tasks.lake.tables import Lake
from tests.support.suite_examples import a_measurement

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = Window(START, START + 24 * HOUR)
FIELDS: dict[str, FieldType] = {
    "share_ratio": "float",
    "size_bytes": "int",
    "note": "string",
    "is_ready": "bool",
}
M = a_measurement(fields=FIELDS)


def cell(hour: int) -> Cell:
    return Cell(START + hour * HOUR, START + (hour + 1) * HOUR)


def rows(
    hours: list[float], environment: str = "production", measurement: Measurement = M, **more: Any
) -> pd.DataFrame:
    """One row at each of so many hours after the start; share_ratio is the hour unless given."""
    base: dict[str, Any] = {
        "time": [START + hour * HOUR for hour in hours],
        "environment": [environment] * len(hours),
        **{tag: ["GET"] * len(hours) for tag in measurement.tags},
    }
    if "share_ratio" in measurement.fields:
        base["share_ratio"] = [float(hour) for hour in hours]
    return build_frame(measurement, {**base, **more})


def put(lake: Lake, hours: list[float], *cells: int, environment: str = "production") -> None:
    """Lands rows at these hours in place of the cells' rows."""
    frame = rows(hours, environment)
    lake.land(M, frame, [cell(each) for each in cells], environment, {"run_id": "r"})


def ratios(lake: Lake, environment: str = "production") -> list[float]:
    """All values of share_ratio of the day."""
    return [float(each) for each in lake.read(M, environment, DAY)["share_ratio"]]


def refused(hours: list[float], environment: str = "production", stage: str = "suite") -> Any:
    """Quarantine records of share_ratio."""
    reason = Reason(stage, "value", "c", "e", Severity.CRITICAL, "l", "r")  # type: ignore[arg-type]
    frame = rows(hours, environment)
    return records(frame, M, np.arange(len(hours)), ["share_ratio"], reason)


def log_of(folder: Path) -> list[dict[str, Any]]:
    """All actions of a table's log, oldest first."""
    entries = sorted((folder / "_delta_log").glob("*.json"))
    return [json.loads(line) for entry in entries for line in entry.read_text().splitlines()]
