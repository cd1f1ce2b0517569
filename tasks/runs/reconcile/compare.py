"""What a sink holds against what is landed: sums to find where to look, points to say what differs."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.batch import time_micros
from tasks.core.measurement import Measurement
from tasks.core.reconciliation import Facts, Why
from tasks.core.series import Integers, Points, SeriesKey, SeriesSum, Sums
from tasks.core.window import Cell, micros

_NANOS = 1000
_TYPES: dict[str, str] = {"float": "float64", "int": "int64", "bool": "bool"}
Keys = dict[SeriesKey, Integers]


@dataclass(frozen=True)
class Difference:
    """Keys of one cell that differ: only landed, only in the sink, in both with another value."""

    missing: Keys
    extra: Keys
    changed: Keys


def landed_points(frame: pd.DataFrame, measurement: Measurement) -> dict[SeriesKey, Points]:
    """The values of a Batch's frame in canonical order, by series."""
    times = time_micros(frame) * _NANOS
    edges = [*_series_starts(frame, measurement), len(frame)]
    tags = {tag: frame[tag].astype("object").to_numpy() for tag in measurement.all_tags}
    found: dict[SeriesKey, Points] = {}
    for name, spec in measurement.fields.items():
        is_there = frame[name].notna().to_numpy()
        values = frame[name].to_numpy(dtype="float64" if spec.type == "float" else "object")
        for first, last in pairwise(edges):
            inside = is_there[first:last]
            if not inside.any():
                continue
            pairs = [(tag, column[first]) for tag, column in tags.items()]
            key = SeriesKey(tuple(sorted(p for p in pairs if not pd.isna(p[1]))), name)
            typed = values[first:last][inside].astype(_TYPES.get(spec.type, "object"))
            found[key] = Points(spec.type, times[first:last][inside], typed)
    return found


def _series_starts(frame: pd.DataFrame, measurement: Measurement) -> list[int]:
    """In canonical order the tags change only where a series begins."""
    differs = np.zeros(max(len(frame) - 1, 0), dtype=bool)
    for tag in measurement.all_tags:
        codes = frame[tag].cat.codes.to_numpy()
        differs |= codes[1:] != codes[:-1]
    return [0, *(np.flatnonzero(differs) + 1).tolist()] if len(frame) else []


def sums_of(points: Mapping[SeriesKey, Points], cells: Sequence[Cell]) -> Sums:
    """Count and sum of each series in each of the cells, which are in order; others are left out."""
    found: Sums = {cell: {} for cell in cells}
    for key, series in points.items():
        for cell, part in _by_cell(series, cells):
            found[cell][key] = SeriesSum(len(part.times), _added(part))
    return {cell: series for cell, series in found.items() if series}


def _by_cell(series: Points, cells: Sequence[Cell]) -> Iterator[tuple[Cell, Points]]:
    firsts = np.searchsorted(series.times, [micros(cell.start) * _NANOS for cell in cells])
    lasts = np.searchsorted(series.times, [micros(cell.stop) * _NANOS for cell in cells])
    for cell, first, last in zip(cells, firsts.tolist(), lasts.tolist(), strict=True):
        if last > first:
            yield cell, Points(series.kind, series.times[first:last], series.values[first:last])


def _added(part: Points) -> float | int | None:
    if part.kind == "float":
        # one by one: a pairwise sum has other last bits than that of a server
        return float(np.cumsum(part.values)[-1])
    return sum(part.values.tolist()) if part.kind == "int" else None


def suspects(landed: Sums, stored: Sums) -> list[Cell]:
    """The cells whose series differ in number of values or in sum, in order."""
    cells = {*landed, *stored}
    return sorted(cell for cell in cells if landed.get(cell, {}) != stored.get(cell, {}))


def facts_of(points: Mapping[SeriesKey, Points]) -> Facts:
    """What one side has, from its points of one cell."""
    sums = [_added(part) for part in points.values() if len(part.times)]
    total = sum(
        int(_mixed(part.times.astype("uint64") ^ _hash(key)).sum(dtype="uint64"))
        for key, part in points.items()
    )
    return Facts(
        count=sum(len(part.times) for part in points.values()),
        sum=math.fsum(float(each) for each in sums if each is not None),
        key_hash=f"{total % 2**64:016x}",
    )


def _hash(key: SeriesKey) -> np.uint64:
    text = json.dumps([key.tags, key.field])
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "big"))


def _mixed(numbers: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): one bit in, half of the bits out."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def compare(
    landed: Mapping[SeriesKey, Points], stored: Mapping[SeriesKey, Points]
) -> Difference | None:
    """What differs, value by value and exactly; None when nothing does."""
    found: tuple[Keys, Keys, Keys] = ({}, {}, {})
    for key in {**landed, **stored}:
        mine, theirs = landed.get(key, _NOTHING), stored.get(key, _NOTHING)
        shared, here, there = np.intersect1d(mine.times, theirs.times, True, return_indices=True)
        missing, extra = (np.setdiff1d(side.times, shared, True) for side in (mine, theirs))
        if mine.kind == theirs.kind:
            shared = shared[
                np.asarray(_comparable(mine)[here] != _comparable(theirs)[there], dtype=bool)
            ]
        for keys, times in zip(found, (missing, extra, shared), strict=True):
            if len(times):
                keys[key] = times
    return Difference(*found) if any(found) else None


def _comparable(side: Points) -> np.ndarray[Any, np.dtype[Any]]:
    """The values; of texts without carriage returns, since an answer as CSV changes line ends."""
    if side.kind != "string":
        return side.values
    return np.array([text.replace("\r", "") for text in side.values], dtype="object")


_NOTHING = Points("", np.array([], dtype="int64"), np.array([], dtype="object"))


def refused_keys(records: pd.DataFrame) -> dict[SeriesKey, Integers]:
    """The keys of quarantine records that a sink gave a reason for."""
    mine = records[(records["stage"] == "sink") & records["field"].notna()]
    found: dict[SeriesKey, Integers] = {}
    for (environment, tags, field), group in mine.groupby(["environment", "tags", "field"]):
        pairs = {**json.loads(tags), "environment": environment}
        found[SeriesKey(tuple(sorted(pairs.items())), field)] = time_micros(group) * _NANOS
    return found


def reasons_of(
    difference: Difference, is_pending: bool, refused: Mapping[SeriesKey, Integers], kept_since: int
) -> dict[Why, int]:
    """Count why values differ: refused when in quarantine for that, expired when older than `kept_since`
    (nanoseconds), pending when the sink was not given what is landed now."""
    counts: dict[Why, int] = {"refused": 0, "expired": 0, "missing": 0}
    for key, times in difference.missing.items():
        is_refused = np.isin(times, refused.get(key, _NOTHING.times))
        is_expired = ~is_refused & (times < kept_since)
        counts["refused"] += int(is_refused.sum())
        counts["expired"] += int(is_expired.sum())
        counts["missing"] += int((~is_refused & ~is_expired).sum())
    counts["changed"] = sum(map(len, difference.changed.values()))
    counts["extra"] = sum(map(len, difference.extra.values()))
    if is_pending:
        counts["pending"] = sum(counts.pop(why) for why in ("missing", "changed", "extra"))
    return {why: count for why, count in counts.items() if count}
