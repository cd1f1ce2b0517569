"""What a threshold's source shows of it: queries of Prometheus, or a field in the lake."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite

import numpy as np
import pandas as pd

from tasks.analysis.rules.firing import Alert, replay
from tasks.analysis.rules.judge import Observed
from tasks.analysis.rules.promql import absence, condition
from tasks.core.catalogue import Catalogue
from tasks.core.evaluations import Chunk, Evaluations, Integers, Labels, moments_of
from tasks.core.measurement import Measurement
from tasks.core.thresholds import COMPARISONS, NEVER, NO_DATA, Threshold
from tasks.core.window import Window, ceil, floor, micros
from tasks.lake.tables import Lake
from tasks.sources.prometheus_rules import RulesClient
from tasks.sources.wide_frame import Grid

# how far back the beginning of a breach is looked for
LOOK_BACK = timedelta(days=1)
# Prometheus takes a value for the present one so long
VALID = timedelta(minutes=5)
# most that is read of the lake at once
MOST_ROWS = 4_000_000
# landed data of an hourly run may be so old
RECENT = timedelta(hours=2)


def _window(threshold: Threshold, at: datetime) -> Window:
    held = threshold.for_ + threshold.keep_firing_for + (threshold.no_data_after or NEVER)
    return Window(at - LOOK_BACK - held, at + timedelta.resolution)


def in_prometheus(
    threshold: Threshold, client: RulesClient, at: datetime, interval: timedelta
) -> Observed:
    """Query Prometheus as it would evaluate the rule, whether or not it has the rule."""
    at, what = floor(at, interval), f"rule {threshold.id}"
    window = _window(threshold, at)
    is_absent = False
    if threshold.no_data_after is not None:
        alert = Alert(threshold.no_data_after, NEVER, interval)
        query = absence(threshold)
        chunks = client.evaluations(query, window, interval, f"{what}{NO_DATA}")
        for moments in moments_of(chunks).values():
            replay(alert, moments, window.stop)
        is_absent = alert.state == "firing"
    return Observed(
        start=window.start,
        at=at,
        interval=interval,
        breaches=moments_of(client.evaluations(condition(threshold), window, interval, what)),
        # a quotient of an idle service is NaN
        values={k: v for k, v in client.now(threshold.expr or "", at, what).items() if isfinite(v)},
        applies=threshold.when is None or bool(client.now(threshold.when, at, what)),
        is_absent=is_absent,
    )


def in_lake(
    threshold: Threshold, catalogue: Catalogue, lake: Lake, environment: str, at: datetime
) -> Observed:
    """Evaluate the field's landed rows at the multiples of the measurement's step.

    The lake is as late as its last run: the newest row of the measurement is the present.
    """
    start, step = _window(threshold, at).start, catalogue[threshold.of_field[0]].step
    landed = Landed(threshold, catalogue, lake, environment)
    now = landed.newest(at)
    if now is None:
        return Observed(start, at, step, is_absent=True)
    chunks = [one for one, _ in landed.evaluations(Window(start, now + timedelta.resolution))]
    breaches = moments_of({k: threshold.breaches(v) for k, v in one.items()} for one in chunks)
    last = chunks[-1].items()
    values = {k: float(v.values[-1]) for k, v in last if micros(now) in v.times[-1:]}
    # the newest row has a value now, unless the threshold does not apply to it
    return Observed(start, now, step, breaches, values, applies=bool(values))


@dataclass(frozen=True)
class Landed:
    """A threshold's field in the lake, evaluated at the multiples of the measurement's step."""

    threshold: Threshold
    catalogue: Catalogue
    lake: Lake
    environment: str

    @property
    def measurement(self) -> Measurement:
        """Return the field's measurement."""
        return self.catalogue[self.threshold.of_field[0]]

    def newest(self, at: datetime) -> datetime | None:
        """Return the last evaluation that a row came before; None without a recent one."""
        silence = max(self.threshold.no_data_after or NEVER, RECENT)
        rows = self._rows(Window(at - silence, at + timedelta.resolution))
        step = self.measurement.step
        return None if rows.empty else ceil(rows["time"].max().to_pydatetime(), step)

    def evaluations(self, window: Window) -> Iterator[tuple[Chunk, Evaluations]]:
        """Yield each series where the threshold applies, and where no row came, in parts."""
        step = self.measurement.step
        valid = max(VALID, 2 * step)
        length = step // timedelta.resolution
        for grid in Grid.of(window, step).pages(max(1, MOST_ROWS // self.measurement.max_series)):
            rows = self._rows(Window(grid.first - valid, grid.last + timedelta.resolution))
            absent = grid.micros[~np.isin(grid.micros, -(-_micros(rows) // length) * length)]
            chunk = {key: _evaluated(one, grid, valid) for key, one in self._series(rows)}
            yield chunk, Evaluations(absent, np.ones(len(absent)))

    def _rows(self, window: Window) -> pd.DataFrame:
        _, field = self.threshold.of_field
        rows = self.lake.read(self.measurement, self.environment, window)
        rows = rows[rows[field].notna()].sort_values("time")
        applies, when = np.ones(len(rows), bool), self.threshold.condition
        if when is not None:
            values = rows[when.field].to_numpy("float64", na_value=np.nan)
            # no value breaks no limit, also not !=
            applies = COMPARISONS[when.comparison](values, when.value) & ~np.isnan(values)
        return rows.assign(value=rows[field].astype("float64"), applies=applies)

    def _series(self, rows: pd.DataFrame) -> Iterator[tuple[Labels, pd.DataFrame]]:
        tags = list(self.measurement.tags)
        for key, series in rows.groupby(tags or ["environment"], dropna=False, observed=True):
            pairs = sorted(zip(tags, key, strict=False))
            yield tuple((tag, str(text)) for tag, text in pairs if not pd.isna(text)), series


def _evaluated(series: pd.DataFrame, grid: Grid, valid: timedelta) -> Evaluations:
    """Return the newest value at each moment at which there is one, and the threshold applies."""
    times, moments = _micros(series), grid.micros
    newest = np.searchsorted(times, moments, side="right") - 1
    is_valid = (newest >= 0) & (moments - times[newest] < valid // timedelta.resolution)
    is_valid &= series["applies"].to_numpy(bool)[newest]
    return Evaluations(moments[is_valid], series["value"].to_numpy()[newest[is_valid]])


def _micros(rows: pd.DataFrame) -> Integers:
    times: Integers = rows["time"].to_numpy("datetime64[us]").astype("int64")
    return times
