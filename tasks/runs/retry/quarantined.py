"""Quarantine records as rows again, beside what is landed of the same keys."""

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
    """Landed rows with the held values in their places (layout of a Batch), and the records with no
    place there; a record of a value that is landed as well is in neither."""

    frame: pd.DataFrame
    left: pd.DataFrame


def take_up(landed: pd.DataFrame, held: pd.DataFrame, measurement: Measurement) -> TakenUp:
    """Unite the landed rows (layout of a Batch) and the held values (quarantine records) in one frame.

    A value that came several times for one key is several rows again. No place has a value whose field
    or tag is gone, whose text is no value of the type, or in whose place another value is landed."""
    values, fits = _values(held, measurement)
    place = _places(values, landed, measurement).where(fits, "none")
    values = values[place == "free"]
    number = values.groupby([*measurement.key, "field"], dropna=False).cumcount()
    parts = [_wide(values[number == n], measurement) for n in sorted(number.unique())]
    frame = united([landed, *parts[:1]], measurement) if parts else landed
    return TakenUp(_stacked([frame, *parts[1:]], measurement), left=held[place == "none"])


def _values(held: pd.DataFrame, measurement: Measurement) -> tuple[pd.DataFrame, pd.Series]:
    """Key, field and value of each record, and whether the catalogue still has a place for it."""
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


# as quarantine records write them
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
    """Of each value whether its place among the landed ones is free, has the same, or is none."""
    key = list(measurement.key)
    there = landed.astype(dict.fromkeys(measurement.all_tags, "object")).drop_duplicates(key)
    place = pd.Series("free", values.index, dtype="object")
    for name in measurement.fields:
        mine = values[values["field"] == name]
        found = mine[key].merge(there[[*key, name]], on=key, how="left")[name].astype("object")
        for label, value, other in zip(mine.index, mine["value"], found, strict=True):
            if not pd.isna(other):
                place[label] = "same" if value == other else "none"
    # of a repeated key nobody can say which row the landed values belong to
    repeated = values.duplicated([*key, "field"], keep=False)
    repeated = repeated.groupby([values[name] for name in key], dropna=False).transform("any")
    merged = values[key].merge(there[key], on=key, how="left", indicator=True)["_merge"]
    is_landed = (merged == "both").to_numpy()
    return place.mask(repeated & is_landed & (place == "free"), "none")


def _wide(values: pd.DataFrame, measurement: Measurement) -> pd.DataFrame:
    """One row a key, from values of which none stands twice for its key and field."""
    parts = []
    for name in [*measurement.fields, None]:
        mine = values[values["field"].isna() if name is None else values["field"] == name]
        columns: dict[str, Any] = {column: mine[column].array for column in measurement.key}
        if name is not None:
            columns[name] = mine["value"].tolist()
        parts.append(build_frame(measurement, columns))
    return united(parts, measurement)


def _stacked(parts: list[pd.DataFrame], measurement: Measurement) -> pd.DataFrame:
    """The parts below each other: a repeated key stays repeated, for the suite to see."""
    if len(parts) == 1:
        return parts[0]
    rows = pd.concat([part.astype(dict.fromkeys(measurement.all_tags, "object")) for part in parts])
    return build_frame(measurement, {name: rows[name].array for name in columns_of(measurement)})
