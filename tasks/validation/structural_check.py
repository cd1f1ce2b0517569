"""The structural check: values that no store can hold are rejected first."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.batch import Batch, canonical
from tasks.core.measurement import Measurement
from tasks.core.quarantine import Reason, no_records, records

# InfluxDB refuses these in tags, escaped or not; Parquet and JSON refuse lone surrogates
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# InfluxDB's limit of a string field
LARGEST_TEXT = 64 * 1024

Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class _Rule:
    check_id: str
    breaks: Callable[[str], bool]
    limit: str


_CHARACTERS = "no control character and no lone surrogate"
_TAG_RULES = (
    _Rule("tag_control_character", lambda text: bool(_FORBIDDEN.search(text)), _CHARACTERS),
    _Rule("tag_trailing_backslash", lambda text: text.endswith("\\"), "no backslash at its end"),
)


def check_structure(batch: Batch) -> tuple[Batch, pd.DataFrame]:
    """Return the batch without values that no store can hold, and their records.

    A tag value with a control character (C0, DEL, C1), a lone surrogate or a backslash at its end
    removes its rows; an empty one becomes null; a text of more than 64 KiB in UTF-8 becomes null.
    A batch without these is returned itself; of tags only the categories are examined.
    """
    measurement, frame = batch.measurement, batch.frame
    parts = []
    for tag in measurement.all_tags:
        for rule in _TAG_RULES:
            broken = _rows_with(frame[tag], rule.breaks)
            if broken.any():
                parts.append(_turned_away(frame, measurement, broken, tag, rule))
                frame = frame[~broken]
        empty = _rows_with(frame[tag], lambda text: text == "")
        if empty.any():
            frame = frame.assign(**{tag: frame[tag].mask(empty)})
    for name in [name for name, spec in measurement.fields.items() if spec.type == "string"]:
        long = _too_long(frame[name])
        if long.any():
            parts.append(_too_long_records(frame, measurement, long, name))
            frame = frame.assign(**{name: frame[name].mask(long)})
    if frame is batch.frame:
        return batch, no_records()
    bad = pd.concat(parts, ignore_index=True) if parts else no_records()
    return batch.with_frame(canonical(frame, measurement)), bad


def _rows_with(column: pd.Series, breaks: Callable[[str], bool]) -> Mask:
    codes = [code for code, text in enumerate(column.cat.categories) if breaks(str(text))]
    return np.isin(column.cat.codes.to_numpy(), codes)


def _turned_away(
    frame: pd.DataFrame, measurement: Measurement, rows: Mask, tag: str, rule: _Rule
) -> pd.DataFrame:
    why = f"the tag {tag} has a value that no store can hold"
    reason = Reason.at_door("row", rule.check_id, rule.limit, why)
    written = _writable(frame[rows], measurement)
    return records(written, measurement, np.arange(len(written)), list(measurement.fields), reason)


def _writable(frame: pd.DataFrame, measurement: Measurement) -> pd.DataFrame:
    """Write lone surrogates out, since the quarantine cannot hold them either."""

    def written(text: Any) -> str | None:
        encodable = isinstance(text, str)
        return text.encode("utf-8", "backslashreplace").decode() if encodable else None

    tags = measurement.all_tags
    return frame.assign(**{tag: list(map(written, frame[tag].astype("object"))) for tag in tags})


def _too_long(column: pd.Series) -> Mask:
    lengths = pc.binary_length(pa.Array.from_pandas(column, type=pa.large_string()))
    return np.asarray(lengths.fill_null(0)) > LARGEST_TEXT


def _too_long_records(
    frame: pd.DataFrame, measurement: Measurement, rows: Mask, name: str
) -> pd.DataFrame:
    limit = f"at most {LARGEST_TEXT} bytes of UTF-8"
    why = f"the field {name} has a text that no store can hold"
    reason = Reason.at_door("value", "field_too_long", limit, why)
    return records(frame, measurement, np.flatnonzero(rows), [name], reason)
