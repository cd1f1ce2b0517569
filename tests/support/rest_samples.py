"""Measurements of REST and TLS sources, and what they give, for the tests of both."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from tasks.core.batch import Batch
from tasks.core.measurement import FACT_TYPES, Measurement
from tasks.core.window import Window
from tests.support.fakes.api import ENDPOINT

HOUR = timedelta(hours=1)
FRAME = {"type": "business", "step": "60s", "every": "60s"}


def rest_measurement(
    fields: dict[str, Any],
    tags: dict[str, str] | None = None,
    rows: str | None = None,
    endpoint: str = ENDPOINT,
    max_series: int = 100,
) -> Measurement:
    """`fields` and `tags` map names to paths; a field may be a whole entry of the catalogue."""
    specs = {
        name: {"path": spec} if isinstance(spec, str) else spec for name, spec in fields.items()
    }
    rest = {"endpoint": endpoint, "rows": rows, "tags": tags or {}}
    entry = {"name": "m", "source": "rest", "rest": rest, "tags": list(tags or {}), **FRAME}
    return Measurement.model_validate({**entry, "fields": specs, "max_series": max_series})


def tls_measurement(*tags: str) -> Measurement:
    """All facts, each under its own name."""
    fields = {fact: {"fact": fact, "type": kind} for fact, kind in FACT_TYPES.items()}
    entry = {"name": "m", "source": "tls", "tags": list(tags), "fields": fields, **FRAME}
    return Measurement.model_validate({**entry, "max_series": 1})


def around_now() -> Window:
    """A window that holds now, and will for a while."""
    now = datetime.now(UTC)
    return Window(now - HOUR, now + HOUR)


def rows_of(batch: Batch) -> list[tuple[Any, ...]]:
    """Tags but environment, then fields, with None for null."""
    columns = [*batch.measurement.tags, *batch.measurement.fields]
    frame = batch.frame[columns].astype("object")
    return [tuple(None if pd.isna(v) else v for v in row) for row in frame.to_numpy().tolist()]
