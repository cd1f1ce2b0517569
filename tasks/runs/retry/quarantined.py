"""Quarantine records as rows again, beside the landed rows of the same keys."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tasks.core.batch import build_frame, columns_of
from tasks.core.measurement import FieldType, Measurement
from tasks.pipeline.merge import united


@dataclass(frozen=True)
class TakenUp:
    """Landed rows with quarantined values in their places (layout of a Batch), and
    records without a place; a record of a landed value is in neither."""

    frame: pd.DataFrame
    left: pd.DataFrame


def take_up(landed: pd.DataFrame, held: pd.DataFrame, measurement: Measurement) -> TakenUp:
    """Unite landed rows (layout of a Batch) and quarantine records in one frame.

    Several values for one key become several rows. A value has no place if its field or tag is gone,
    its text is invalid for the type, or another value is landed there.
    """
    values, fits = _values(held, measurement)
    place = _places(values, landed, measurement).where(fits, "none")
    values = values[place == "free"]
    number = values.groupby([*measurement.key, "field"], dropna=False).cumcount()
    parts = [_wide(values[number == n], measurement) for n in sorted(number.unique())]
    frame = united([landed, *parts[:1]], measurement) if parts else landed
    return TakenUp(_stacked([frame, *parts[1:]], measurement), left=held[place == "none"])


def _values(held: pd.DataFrame, measurement: Measurement) -> tuple[pd.DataFrame, pd.Series]:
    """Return key, field and value of each record, and whether it has a place."""
    tags = {text: json.loads(text) for text in held["tags"].unique()}
    found = [tags[text] for text in held["tags"]]
    fields = [None if pd.isna(name) else name for name in held["field"]]
    texts = [None if pd.isna(text) else text for text in held["text"]]
    read = [_read(name, text, measurement) for name, text in zip(fields, texts, strict=True)]
    columns: dict[str, Any] = {
        "time": held["time"],
        "environment": held["environment"].astype("object"),
        **{tag: pd.Series([t.get(tag) for t in found], held.index, "object") for tag in measurement.tags},
        "field": pd.Series(fields, held.index, "object"),
        "value": pd.Series(read, held.index, "object"),
    }  # fmt: skip
    fits = [
        set(names) <= set(measurement.tags) and (name is None or value is not None)
        for names, name, value in zip(found, fields, read, strict=True)
    ]
    return pd.DataFrame(columns), pd.Series(fits, held.index, dtype="bool")


# the format of quarantine records
_READERS: dict[FieldType, Callable[[str], Any]] = {
    "float": float,
    "int": int,
    "string": str,
    "bool": {"True": True, "False": False}.get,
}


def _read(name: str | None, text: str | None, measurement: Measurement) -> Any:
    if name not in measurement.fields or text is None:
        return None
    try:
        return _READERS[measurement.fields[name].type](text)
    except ValueError:
        return None


def _places(values: pd.DataFrame, landed: pd.DataFrame, measurement: Measurement) -> pd.Series:
    """Return whether each value's place is free, has the same value, or is taken."""
    key = list(measurement.key)
    there = landed.astype(dict.fromkeys(measurement.all_tags, "object")).drop_duplicates(key)
    place = pd.Series("free", values.index, dtype="object")
    for name in measurement.fields:
        mine = values[values["field"] == name]
        found = mine[key].merge(there[[*key, name]], on=key, how="left")[name].astype("object")
        for label, value, other in zip(mine.index, mine["value"], found, strict=True):
            if not pd.isna(other):
                place[label] = "same" if value == other else "none"
    # with a repeated key, the row of the landed values is ambiguous
    repeated = values.duplicated([*key, "field"], keep=False)
    repeated = repeated.groupby([values[name] for name in key], dropna=False).transform("any")
    merged = values[key].merge(there[key], on=key, how="left", indicator=True)["_merge"]
    is_landed = (merged == "both").to_numpy()
    return place.mask(repeated & is_landed & (place == "free"), "none")


def _wide(values: pd.DataFrame, measurement: Measurement) -> pd.DataFrame:
    """Return one row a key, from values that are unique by key and field."""
    parts = []
    for name in [*measurement.fields, None]:
        mine = values[values["field"].isna() if name is None else values["field"] == name]
        columns: dict[str, Any] = {column: mine[column].array for column in measurement.key}
        if name is not None:
            columns[name] = mine["value"].tolist()
        parts.append(build_frame(measurement, columns))
    return united(parts, measurement)


def _stacked(parts: list[pd.DataFrame], measurement: Measurement) -> pd.DataFrame:
    """Stack the parts: a repeated key stays repeated, for the suite to see."""
    if len(parts) == 1:
        return parts[0]
    rows = pd.concat([part.astype(dict.fromkeys(measurement.all_tags, "object")) for part in parts])
    return build_frame(measurement, {name: rows[name].array for name in columns_of(measurement)})
