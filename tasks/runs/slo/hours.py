"""Events of whole hours in the lake: older than Prometheus keeps, and never counted again."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from tasks.analysis.slo.counting import Events
from tasks.core.maintenance_windows import Maintenance
from tasks.core.slo_measurement import slo_measurements
from tasks.core.slos import Slo
from tasks.core.window import Window, ceil, floor
from tasks.lake.tables import Lake
from tasks.runs.slo.observe import events_of
from tasks.sources.prometheus_rules import RulesClient

HOUR = timedelta(hours=1)
# of the tiers, which need each evaluation
RECENT = timedelta(days=3)
# the forecast learns from so much, also of a shorter window
LEARNED = timedelta(days=28)
COUNTS = ("total_events", "bad_events", "planned_total_events", "planned_bad_events")


def counted_hours(lake: Lake, environment: str, slo: Slo, at: datetime) -> pd.DataFrame:
    """Return the hours that were counted by the SLO's indicator, oldest first."""
    window = Window(at - max(slo.window, LEARNED), at)
    rows = lake.read(slo_measurements()[1], environment, window)
    mine = (rows["slo"] == slo.id) & (rows["indicator"] == slo.indicator)
    return rows[mine].sort_values("time")


def all_events(
    slo: Slo,
    client: RulesClient,
    at: datetime,
    step: timedelta,
    hours: pd.DataFrame,
    maintenance: Iterable[Maintenance],
) -> Events:
    """Count the recent events, and all that the lake lacks; take the other hours from the lake."""
    length = max(slo.window, LEARNED)
    kept = min(length, client.retention())
    older = Window(ceil(at - kept, HOUR), floor(at - RECENT, HOUR))
    is_older = (hours["time"] >= older.start) & (hours["time"] < older.stop)
    is_known = is_older.sum() >= older.length // HOUR
    asked = min(RECENT + 2 * HOUR, kept) if is_known else kept
    recent = _marked(events_of(slo, client, at, asked, step), list(maintenance))
    return _with_hours(recent, hours, length)


def _marked(events: Events, maintenance: Sequence[Maintenance]) -> Events:
    """Count the events in maintenance apart."""
    ends = events.at.timestamp() - np.arange(len(events.seen))[::-1] * events.step.total_seconds()
    planned = np.zeros(len(ends), dtype=bool)
    for one in maintenance:
        planned |= (ends > one.start.timestamp()) & (ends <= one.until.timestamp())
    return replace(events, planned_total=events.total * planned, planned_bad=events.bad * planned)


def _with_hours(events: Events, hours: pd.DataFrame, length: timedelta) -> Events:
    """Put the lake's hours before the recent steps, and where those have nothing."""
    steps, step = length // events.step, events.step
    missing = max(0, steps - len(events.seen))
    total, bad, planned_total, planned_bad = (
        np.concatenate([np.zeros(missing), each])
        for each in (events.total, events.bad, events.planned_total, events.planned_bad)
    )
    seen = np.concatenate([np.zeros(missing, dtype=bool), events.seen])
    for row in hours.to_dict("records"):
        stop = len(seen) + int((row["time"] + HOUR - events.at) // step)
        part = slice(max(0, stop - HOUR // step), stop)
        is_recent = (len(seen) - stop) * step < RECENT
        if 0 < stop <= len(seen) and not (is_recent and seen[part].any()):
            seen[part] = True
            for values, name in zip((total, bad, planned_total, planned_bad), COUNTS, strict=True):
                values[part] = 0.0
                values[stop - 1] = row[name]
    return replace(
        events,
        total=total,
        bad=bad,
        seen=seen,
        planned_total=planned_total,
        planned_bad=planned_bad,
    )


def new_hours(
    slo: Slo, environment: str, events: Events, hours: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """Yield a row of each whole hour with data that the lake lacks."""
    steps = max(1, HOUR // events.step)
    known = set(hours["time"])
    same = {"environment": environment, "slo": slo.id, "indicator": slo.indicator}
    counts = events.total, events.bad, events.planned_total, events.planned_bad
    start = floor(events.at, HOUR) - HOUR
    while (stop := len(events.seen) + int((start + HOUR - events.at) // events.step)) >= steps:
        part = slice(stop - steps, stop)
        if start not in known and events.seen[part].any():
            sums = {n: float(c[part].sum()) for n, c in zip(COUNTS, counts, strict=True)}
            yield {"time": start, **same, **sums}
        start -= HOUR
