"""Digests of rows: equal rows have equal digests, whatever their chunk or process."""

import hashlib
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.batch import columns_of
from tasks.core.measurement import Measurement


def digest_rows(frame: pd.DataFrame, measurement: Measurement, salt: str = "") -> str:
    """Digest the salt and the frame's rows, which must be in canonical order.

    BLAKE2b (RFC 7693) over the columns' bytes, independent of how nulls and categories are stored.
    An empty frame digests to the salt and the column names.
    """
    state = hashlib.blake2b(salt.encode(), digest_size=16)
    starts = _series_starts(frame, measurement)
    state.update(starts.tobytes())
    for name in columns_of(measurement):
        state.update(f"\0{name}\0".encode())
        if name in measurement.all_tags:
            state.update(_tag_hashes(frame[name], starts).tobytes())
        else:
            state.update(np.ascontiguousarray(_as_integers(frame[name])).view("uint8").data)
    return state.hexdigest()


def _series_starts(frame: pd.DataFrame, measurement: Measurement) -> np.ndarray[Any, Any]:
    """Return the first row of each series; in canonical order tags change only there."""
    differs = np.zeros(max(len(frame) - 1, 0), dtype=bool)
    for tag in measurement.all_tags:
        codes = frame[tag].cat.codes.to_numpy()
        differs |= codes[1:] != codes[:-1]
    return np.flatnonzero(np.concatenate([np.ones(min(len(frame), 1), dtype=bool), differs]))


def _tag_hashes(column: pd.Series, starts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    hashes = [_hash_text(category) for category in column.cat.categories]
    codes = column.cat.codes.to_numpy()[starts]
    return np.asarray(np.array([*hashes, 0], dtype="uint64")[codes])


def _as_integers(column: pd.Series) -> np.ndarray[Any, Any]:
    if column.dtype == "float64":
        # adding zero turns -0.0 into 0.0; all NaNs get one bit pattern
        values = column.to_numpy() + 0.0
        return np.asarray(np.where(np.isnan(values), np.nan, values)).view("uint64")
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return np.asarray(column.astype("int64"))
    texts = ["" if pd.isna(value) else f"={value}" for value in column]
    return np.array([_hash_text(text) for text in texts], dtype="uint64")


def _hash_text(text: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )
