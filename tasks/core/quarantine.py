"""Quarantine records: one rejected value each, with the reason."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.core.measurement import Measurement
from tasks.core.severity import Severity

_MOMENT = pa.timestamp("us", tz="UTC")
# `field` is null only for a row without any value, `tags` are a JSON object with sorted keys
SCHEMA = pa.schema(
    [
        ("time", _MOMENT),
        *((name, pa.string()) for name in ("environment", "tags", "field")),
        ("number", pa.float64()),
        *((name, pa.string()) for name in ("text", "stage", "scope", "check_id", "expectation")),
        *((name, pa.string()) for name in ("severity", "limit", "reason")),
        ("quarantined_at", _MOMENT),
    ]
)
Stage = Literal["structural", "suite", "sink"]
Scope = Literal["value", "row", "batch"]


@dataclass(frozen=True)
class Reason:
    """Why values are in quarantine: the stage that rejected them and its reason."""

    stage: Stage
    scope: Scope
    check_id: str
    expectation: str
    severity: Severity
    limit: str
    reason: str

    @classmethod
    def at_door(cls, scope: Scope, check_id: str, limit: str, reason: str) -> Self:
        """Build the reason of a structural check, which is critical."""
        return cls("structural", scope, check_id, check_id, Severity.CRITICAL, limit, reason)


_NO_RECORDS = SCHEMA.empty_table().to_pandas()


def no_records() -> pd.DataFrame:
    """Return an empty frame of records."""
    return _NO_RECORDS.copy(deep=False)


def records(
    frame: pd.DataFrame,
    measurement: Measurement,
    positions: np.ndarray[Any, Any],
    fields: list[str],
    reason: Reason,
) -> pd.DataFrame:
    """Return one record for each non-null value of the fields in these rows.

    A row without any value among the fields gives one record with a null field when the scope is
    row or batch.
    """
    rows = frame.iloc[positions]
    parts = [_of_field(rows[rows[name].notna()], measurement, name, reason) for name in fields]
    if reason.scope != "value":
        parts.append(_of_field(rows[rows[fields].isna().all(axis=1)], measurement, None, reason))
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else no_records()


# time, tags as JSON, and field, which is None of a row without any value
Key = tuple[datetime, str, str | None]


def keys_of(records: pd.DataFrame) -> list[Key]:
    """Return the key of each record, in order."""
    fields = [None if pd.isna(name) else name for name in records["field"]]
    return list(zip(records["time"], records["tags"], fields, strict=True))


def keys_within(frame: pd.DataFrame, measurement: Measurement) -> set[Key]:
    """Return the keys that records of the frame's values and rows would have."""
    times, tags = frame["time"].tolist(), _tags_as_json(frame, measurement)
    found: set[Key] = {(time, text, None) for time, text in zip(times, tags, strict=True)}
    for name in measurement.fields:
        there = frame[name].notna()
        rows = zip(times, tags, there, strict=True)
        found.update((time, text, name) for time, text, is_there in rows if is_there)
    return found


def _of_field(
    rows: pd.DataFrame, measurement: Measurement, name: str | None, reason: Reason
) -> pd.DataFrame:
    values = [None] * len(rows) if name is None else rows[name].tolist()
    columns: dict[str, Any] = {
        "time": rows["time"].array,
        "environment": rows["environment"].astype("str").to_numpy(),
        "tags": _tags_as_json(rows, measurement),
        "field": [name] * len(rows),
        "number": [_number(value) for value in values],
        "text": [None if value is None else str(value) for value in values],
        **asdict(reason),
        "severity": reason.severity.value,
        "quarantined_at": datetime.now(UTC),
    }
    frame = pd.DataFrame(columns, index=range(len(rows)))
    return frame.astype({"time": "datetime64[us, UTC]", "quarantined_at": "datetime64[us, UTC]"})


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float | np.number) else None


def _tags_as_json(rows: pd.DataFrame, measurement: Measurement) -> list[str]:
    """Return the tags of each row but environment; each distinct set is encoded once."""
    columns = [rows[tag].astype("object").tolist() for tag in measurement.tags]
    texts: dict[tuple[Any, ...], str] = {}
    result = []
    for values in zip(*columns, strict=True) if columns else [()] * len(rows):
        if values not in texts:
            pairs = zip(measurement.tags, values, strict=True)
            present = {tag: value for tag, value in pairs if not pd.isna(value)}
            texts[values] = json.dumps(present, sort_keys=True, ensure_ascii=False)
        result.append(texts[values])
    return result
