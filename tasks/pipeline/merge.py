"""Merging of re-read cells, which retains earlier values that the source has lost."""

from dataclasses import dataclass

import pandas as pd

from tasks.core.batch import build_frame, columns_of, count_values
from tasks.core.measurement import Measurement


@dataclass(frozen=True)
class Retained:
    """Rows of retained older values, how many values they hold, and how many are lost.

    A value is lost when the source still returns its key and the suite rejects the new value.
    """

    rows: pd.DataFrame
    values: int
    lost: int


def retain_older(
    good: pd.DataFrame, older: pd.DataFrame, seen: pd.DataFrame, measurement: Measurement
) -> Retained:
    """Return a cell's older values to retain, given all new rows and the good ones.

    All three have the layout of a Batch. New values win; an older value stays where the source had
    no value for its key and field.
    """
    fields, key = list(measurement.fields), list(measurement.key)
    had = older[fields].notna()
    seen_there = _aligned(older, seen, key, fields)
    good_there = _aligned(older, good, key, fields)
    keep = had & ~seen_there
    rows = older.assign(**{name: older[name].where(keep[name]) for name in fields})
    rows = rows[keep.any(axis=1)]
    return Retained(
        rows=rows,
        values=count_values(rows, measurement),
        lost=int((had & seen_there & ~good_there).to_numpy().sum()),
    )


def without_untagged(
    older: pd.DataFrame, seen: pd.DataFrame, tags: tuple[str, ...]
) -> pd.DataFrame:
    """Drop older rows without a tag that a migration added since, where it is known now.

    That is at a time at which no older row has the tag, and all new rows have it: they are the same
    values, and would be added up twice.
    """
    for tag in tags:
        is_without = older[tag].isna()
        if is_without.any():
            had = older["time"][~is_without]
            is_known = older["time"].isin(times_with(seen, tag)) & ~older["time"].isin(had)
            older = older[~(is_without & is_known)]
    return older


def times_with(seen: pd.DataFrame, tag: str) -> pd.Index:
    """Return the times at which all rows have the tag."""
    return pd.Index(seen["time"]).difference(pd.Index(seen["time"][seen[tag].isna()]))


def united(parts: list[pd.DataFrame], measurement: Measurement) -> pd.DataFrame:
    """Unite the parts in canonical order; of one key the first part's values win."""
    key, fields = list(measurement.key), list(measurement.fields)
    rows = pd.concat([part.astype(dict.fromkeys(measurement.all_tags, "object")) for part in parts])
    if rows.duplicated(key).any():
        rows = rows.groupby(key, dropna=False, sort=False)[fields].first().reset_index()
    return build_frame(measurement, {name: rows[name].array for name in columns_of(measurement)})


def _aligned(
    older: pd.DataFrame, other: pd.DataFrame, key: list[str], fields: list[str]
) -> pd.DataFrame:
    """Return whether `other` has a value at each key and field of `older`."""
    left = older[key].astype(dict.fromkeys(key[:-1], "object"))
    right = other[key].astype(dict.fromkeys(key[:-1], "object"))
    right = pd.concat([right, other[fields].notna()], axis=1)
    # the suite rejects a repeated key later
    if right.duplicated(key).any():
        right = right.groupby(key, dropna=False, as_index=False)[fields].any()
    joined = left.merge(right, on=key, how="left")
    return joined[fields].eq(True).set_axis(older.index)
