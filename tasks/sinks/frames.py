"""Rows of several cells as one frame."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from pandas.api.types import union_categoricals

from tasks.core.batch import columns_of
from tasks.core.measurement import Measurement


def joined_rows(frames: Sequence[pd.DataFrame], measurement: Measurement) -> pd.DataFrame:
    """Join the rows of one or more frames; tags stay categories."""
    if len(frames) == 1:
        return frames[0]
    data: dict[str, Any] = {}
    for name in columns_of(measurement):
        parts = [frame[name] for frame in frames]
        is_tag = name in measurement.all_tags
        data[name] = union_categoricals(parts) if is_tag else pd.concat(parts, ignore_index=True)
    return pd.DataFrame(data)
