"""Validation of a batch by a suite, which takes out rejected values."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.batch import Batch, canonical
from tasks.core.measurement import Measurement
from tasks.core.quarantine import Reason, Scope, no_records, records
from tasks.core.severity import Severity
from tasks.core.verdict import CheckResult, Verdict
from tasks.validation import engine, plain
from tasks.validation.breach import breach_of
from tasks.validation.engine import Ran
from tasks.validation.first_samples import first_samples
from tasks.validation.model import NOT_NULL, Expectation, Suite
from tasks.validation.wording import limit_of, observed_by

Positions = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Validated:
    """A batch after its suite.

    `good` are the rows that still hold a value, in canonical order; `bad` are quarantine records.
    Every value of the batch is in exactly one of them.
    """

    good: pd.DataFrame
    bad: pd.DataFrame
    verdict: Verdict


def validate(batch: Batch, suite: Suite) -> Validated:
    """Validate the batch. Only a failed critical expectation takes anything out.

    On fields it takes their offending values, on time or tags the rows, on the table or when it
    could not run the whole batch. A value that fails several is recorded with the first of them.
    Raises ValueError for a batch without rows, which must be no_data before.
    """
    if batch.frame.empty:
        raise ValueError(f"{batch.measurement.name}: a batch without rows is not validated")
    frame = batch.frame.reset_index(drop=True)
    # the self metrics are validated cheaply
    own = plain.run(frame, suite) if batch.measurement.is_own else None
    ran = engine.run(frame, suite) if own is None else own
    ran |= _not_yet_possible(batch, suite)
    pairs = [(expectation, ran[expectation.check_id]) for expectation in suite.expectations]
    good, bad = _sift(frame, batch.measurement, pairs)
    checks = tuple(_check(expectation, result, batch) for expectation, result in pairs)
    return Validated(good, bad, Verdict(suite.name, checks))


def _not_yet_possible(batch: Batch, suite: Suite) -> dict[str, Ran]:
    """Pass the checks for missing values where none is possible yet."""
    excused = first_samples(batch)
    return {
        each.check_id: Ran(success=True, positions=np.empty(0, dtype=np.int64))
        for each in suite.expectations
        if each.type == NOT_NULL and each.arguments["column"] in excused
    }


def _check(expectation: Expectation, ran: Ran, batch: Batch) -> CheckResult:
    columns = expectation.columns
    return CheckResult(
        check_id=expectation.check_id,
        expectation=expectation.type,
        success=ran.success,
        severity=Severity.CRITICAL if ran.problem else expectation.severity,
        column=columns[0] if len(columns) == 1 else None,
        observed=observed_by(expectation, ran, batch.frame),
        limit=limit_of(expectation),
        origin=expectation.origin,
        offending=0 if ran.positions is None else len(ran.positions),
        problem=ran.problem,
        breach=None if ran.success else breach_of(expectation, ran.positions, batch),
    )


def _sift(
    frame: pd.DataFrame, measurement: Measurement, pairs: Iterable[tuple[Expectation, Ran]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows with values left, and records of rejected ones by first reason."""
    fields = list(measurement.fields)
    held = frame[fields].notna().any(axis=1).to_numpy()
    gone = np.zeros(len(frame), dtype=bool)
    left = frame
    parts = []
    for expectation, ran in pairs:
        if ran.success or expectation.severity is not Severity.CRITICAL:
            continue
        scope, among = _reach(expectation, ran, measurement)
        positions = np.arange(len(frame)) if ran.positions is None else ran.positions
        if scope != "value":
            # accounted for already, as a whole or value by value
            gone |= held & left[fields].isna().all(axis=1).to_numpy()
            positions = positions[~gone[positions]]
            gone[positions] = True
        reason = _reason(expectation, ran, scope)
        parts.append(records(left, measurement, positions, among, reason))
        left = _without(left, positions, among)
    kept = left[left[fields].notna().any(axis=1)]
    filled = [part for part in parts if len(part)]
    bad = pd.concat(filled, ignore_index=True) if filled else no_records()
    return canonical(kept, measurement), bad


def _reach(expectation: Expectation, ran: Ran, measurement: Measurement) -> tuple[Scope, list[str]]:
    """Return the scope of a failure, and the fields whose values it takes."""
    fields, columns = list(measurement.fields), expectation.columns
    if ran.problem or not columns:
        return "batch", fields
    if all(column in fields for column in columns):
        return "value", list(dict.fromkeys(columns))
    return "row", fields


def _reason(expectation: Expectation, ran: Ran, scope: Scope) -> Reason:
    return Reason(
        stage="suite",
        scope=scope,
        check_id=expectation.check_id,
        expectation=expectation.type,
        severity=expectation.severity,
        limit=limit_of(expectation),
        reason=f"the check could not run: {ran.problem}" if ran.problem else expectation.reason,
    )


def _without(frame: pd.DataFrame, positions: Positions, fields: list[str]) -> pd.DataFrame:
    taken = np.zeros(len(frame), dtype=bool)
    taken[positions] = True
    return frame.assign(**{name: frame[name].mask(taken) for name in fields})
