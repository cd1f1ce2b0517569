"""Where a check failed: the worst series, its worst value, and its times."""

import json
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.batch import Batch
from tasks.core.measurement import FieldSpec, Measurement
from tasks.core.outside import escaped
from tasks.core.severity import Severity
from tasks.core.units import counted, pair
from tasks.core.verdict import Breach, CheckResult, Verdict
from tasks.validation.model import BETWEEN, NOT_NULL, Expectation
from tasks.validation.wording import limit_of, shown

_LONGEST = 60
Integers = np.ndarray[Any, np.dtype[np.int64]]


def breach_of(expectation: Expectation, rows: Integers | None, batch: Batch) -> Breach | None:
    """Describe the worst of the offending rows; None without any, or of several columns.

    The batch is in canonical order. A series that still fails comes before one that does not.
    """
    columns, frame = expectation.columns, batch.frame
    if rows is None or not len(rows) or len(columns) != 1:
        return None
    series = _series_of(batch)
    is_judged = frame[columns[0]].notna().to_numpy() | (expectation.type == NOT_NULL)
    judged = np.flatnonzero(is_judged)
    newest = judged[np.append(np.diff(series[judged]) != 0, True)]
    oldest = judged[np.append(True, np.diff(series[judged]) != 0)]
    failing = series[np.intersect1d(newest, rows)]
    among = rows[np.isin(series[rows], failing)] if len(failing) else rows
    worst = among[_worst(expectation, frame[columns[0]].iloc[among])]
    own = rows[series[rows] == series[worst]]
    # of equal values the newest
    if frame[columns[0]].iloc[own[-1]] == frame[columns[0]].iloc[worst]:
        worst = own[-1]
    named = _name(batch.measurement, frame, worst)
    observed, limit, now, then = _worded(expectation, batch, worst, len(own))
    others = len(np.unique(series[among])) - 1
    more = f" and {counted(others, 'more series', 'more series')}" if others else ""
    subject = f"{_label(columns[0], batch.measurement)}{f' of {named}' if named else ''}{more}"
    times = frame["time"].iloc[own[[0, -1]]]
    if times.isna().any():
        return None
    first, last = (time.to_pydatetime() for time in times)
    return Breach(
        what=f"{subject} {now if worst in newest else then}",
        was=f"{subject} {then}",
        series=named,
        observed=observed,
        limit=limit,
        first=first,
        last=last,
        holds=bool(len(failing)),
        from_start=own[0] in oldest,
        others=others,
    )


def _series_of(batch: Batch) -> Integers:
    """Return the number of each row's series."""
    codes = [batch.frame[tag].cat.codes.to_numpy() for tag in batch.measurement.all_tags]
    changes = (np.diff(np.stack(codes), axis=1) != 0).any(axis=0)
    return np.cumsum(np.append(0, changes))


def _worst(expectation: Expectation, values: pd.Series) -> int:
    """Return the position of the value farthest beyond its limit; without limits, the last."""
    if not _has_limits(expectation, values):
        return -1
    low, high = (expectation.arguments.get(key) for key in ("min_value", "max_value"))
    numbers = values.to_numpy(dtype="float64")
    below = -np.inf if low is None else low - numbers
    above = -np.inf if high is None else numbers - high
    return int(np.argmax(np.maximum(below, above)))


def _has_limits(expectation: Expectation, values: pd.Series) -> bool:
    return expectation.type == BETWEEN and pd.api.types.is_numeric_dtype(values)


def _worded(
    expectation: Expectation, batch: Batch, worst: int, count: int
) -> tuple[str, str, str, str]:
    """Return the worst value, its limit, and both in a clause of now and one of then."""
    column, arguments = expectation.columns[0], expectation.arguments
    spec = batch.measurement.fields.get(column, FieldSpec())
    if expectation.type == NOT_NULL:
        rows = counted(count, "row")
        clauses = f"has no value in {rows}", f"had no value in {rows}"
        return f"missing in {rows}", limit_of(expectation), *clauses
    value = batch.frame[column].iloc[worst]
    if not _has_limits(expectation, batch.frame[column]):
        text, limit = shown(value), limit_of(expectation)
        return text, limit, f"is {text} (limit {limit})", f"was {text} (limit {limit})"
    low = arguments.get("min_value")
    is_low = low is not None and value <= low
    crossed: Any = low if is_low else arguments["max_value"]
    # a field such as rounds_per_hour is its own unit
    text, limit = pair(float(value), float(crossed), "" if column == spec.unit else spec.unit)
    if spec.unit == "days" and spec.better == "higher":
        return text, limit, f"has {text} left (limit {limit})", f"had {text} left (limit {limit})"
    then = f"was as {'low' if is_low else 'high'} as {text} (limit {limit})"
    return text, limit, f"is {text} (limit {limit})", then


def _label(column: str, measurement: Measurement) -> str:
    unit = measurement.fields[column].unit if column in measurement.fields else ""
    return column.removesuffix(f"_{unit}").replace("_", " ")


def _name(measurement: Measurement, frame: pd.DataFrame, row: int) -> str:
    """Name a row's series by the tags that tell the batch's series apart."""
    telling = [tag for tag in measurement.tags if len(frame[tag].cat.categories) > 1]
    values = {tag: frame[tag].iloc[row] for tag in telling or measurement.tags[:1]}
    known = {tag: str(value) for tag, value in values.items() if not pd.isna(value)}
    if len(known) == 1 and not (alone := next(iter(known.values()))).isdigit():
        return _cut(alone)
    return _cut(", ".join(f"{tag}={value}" for tag, value in known.items()))


def rejected(records: pd.DataFrame, newest: datetime) -> Verdict | None:
    """Return quarantine records of before the suite as failed checks, by check and field."""
    groups = records.sort_values("time").groupby(["check_id", "field"], dropna=False)
    checks = tuple(_rejection(str(check_id), group, newest) for (check_id, _), group in groups)
    return Verdict("structural check", checks) if checks else None


def _rejection(check_id: str, records: pd.DataFrame, newest: datetime) -> CheckResult:
    last = records.iloc[-1]
    column = None if pd.isna(last["field"]) else str(last["field"])
    tags = json.loads(last["tags"]).items()
    series = _cut(", ".join(f"{tag}={value}" for tag, value in tags))
    text = "no value" if pd.isna(last["text"]) else _cut(str(last["text"]))
    what = f"{last['reason']} ({f'{series}; ' if series else ''}limit {last['limit']})"
    breach = Breach(
        what=what,
        was=what,
        series=series,
        observed=text,
        limit=last["limit"],
        first=records["time"].iloc[0].to_pydatetime(),
        last=last["time"].to_pydatetime(),
        holds=last["time"] >= newest,
        from_start=True,
    )
    about = (last["expectation"], False, Severity.CRITICAL, column, text, last["limit"])
    return CheckResult(check_id, *about, "physical", offending=len(records), breach=breach)


def _cut(text: str) -> str:
    return escaped(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
