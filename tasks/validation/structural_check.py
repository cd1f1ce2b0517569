"""The structural check: values that no store can hold are rejected first."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.batch import Batch, canonical
from tasks.core.measurement import Measurement
from tasks.core.quarantine import Reason, no_records, records

# Parquet and JSON refuse them; what only one sink cannot hold is that sink's to refuse
_SURROGATES = re.compile("[\ud800-\udfff]")

Mask = np.ndarray[Any, np.dtype[np.bool_]]


def check_structure(batch: Batch) -> tuple[Batch, pd.DataFrame]:
    """Return the batch without values that no store can hold, and their records.

    A tag value with a lone surrogate removes its rows; an empty one becomes null. A batch without
    these is returned itself; only the categories are examined.
    """
    measurement, frame = batch.measurement, batch.frame
    parts = []
    for tag in measurement.all_tags:
        broken = _rows_with(frame[tag], lambda text: bool(_SURROGATES.search(text)))
        if broken.any():
            parts.append(_turned_away(frame, measurement, broken, tag))
            frame = frame[~broken]
        empty = _rows_with(frame[tag], lambda text: text == "")
        if empty.any():
            frame = frame.assign(**{tag: frame[tag].mask(empty)})
    if frame is batch.frame:
        return batch, no_records()
    bad = pd.concat(parts, ignore_index=True) if parts else no_records()
    return batch.with_frame(canonical(frame, measurement)), bad


def _rows_with(column: pd.Series, breaks: Callable[[str], bool]) -> Mask:
    codes = [code for code, text in enumerate(column.cat.categories) if breaks(str(text))]
    return np.isin(column.cat.codes.to_numpy(), codes)


def _turned_away(
    frame: pd.DataFrame, measurement: Measurement, rows: Mask, tag: str
) -> pd.DataFrame:
    why = f"the tag {tag} has a value that no store can hold"
    reason = Reason.at_door("row", "tag_lone_surrogate", "no lone surrogate", why)
    written = _writable(frame[rows], measurement)
    return records(written, measurement, np.arange(len(written)), list(measurement.fields), reason)


def _writable(frame: pd.DataFrame, measurement: Measurement) -> pd.DataFrame:
    """Write lone surrogates out, since the quarantine cannot hold them either."""

    def written(text: Any) -> str | None:
        encodable = isinstance(text, str)
        return text.encode("utf-8", "backslashreplace").decode() if encodable else None

    tags = measurement.all_tags
    return frame.assign(**{tag: list(map(written, frame[tag].astype("object"))) for tag in tags})
