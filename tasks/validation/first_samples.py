"""First samples of a series, where a rate cannot have a value."""

import re
from typing import Any

import numpy as np

from tasks.core.batch import Batch, time_micros
from tasks.core.measurement import FieldSpec
from tasks.core.window import micros

# PromQL functions without an answer for a single sample in their range
_GROWTH = re.compile(r"\b(?:rate|irate|increase|delta|idelta|deriv|predict_linear)\s*\(")
Flags = np.ndarray[Any, np.dtype[np.bool_]]


def first_samples(batch: Batch) -> frozenset[str]:
    """Return the fields whose missing values are all impossible yet.

    These are rates, in rows without another one of their series a step before; a value must
    follow, unless the window ends there. The frame is in canonical order.
    """
    growths = [name for name, spec in batch.measurement.fields.items() if _is_growth(spec)]
    if not growths or batch.frame.empty:
        return batch.unmeasured
    step = int(batch.measurement.step.total_seconds() * 1e6)
    times = time_micros(batch.frame)
    linked = (np.diff(times) == step) & _is_same_series(batch)
    is_first = ~np.append(False, linked)
    has_next = np.append(linked, False)
    is_last = (times >= micros(batch.window.stop) - step) & (times > micros(batch.window.start))

    def is_excused(name: str) -> bool:
        missing = batch.frame[name].isna().to_numpy(dtype=bool)
        value_next = has_next & ~np.append(missing[1:], True)
        return not (missing & ~(is_first & (value_next | is_last))).any()

    return batch.unmeasured | {name for name in growths if is_excused(name)}


def _is_growth(spec: FieldSpec) -> bool:
    return spec.query is not None and _GROWTH.search(spec.query) is not None


def _is_same_series(batch: Batch) -> Flags:
    tags = batch.measurement.all_tags
    codes = np.stack([batch.frame[tag].cat.codes.to_numpy() for tag in tags])
    same: Flags = (np.diff(codes, axis=1) == 0).all(axis=0)
    return same
