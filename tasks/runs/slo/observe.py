"""Events of an SLO, read from the samples of Prometheus whether or not it has our rules."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np

from tasks.analysis.slo.counting import Events, Flags, Floats, counted
from tasks.analysis.slo.slo_rules import BRIDGED, SETTLE, TARGET, good_slices, slices_query
from tasks.core.evaluations import Labels
from tasks.core.slos import Ratio, Slo, TimeSlice
from tasks.core.window import Window, floor, format_duration
from tasks.sources.prometheus_rules import RulesClient
from tasks.sources.wide_frame import Grid


def events_of(
    slo: Slo, client: RulesClient, at: datetime, length: timedelta, step: timedelta
) -> Events:
    """Count the events of each step of this length of time, up to the last whole one."""
    end = floor(at - SETTLE, step)
    window = Window(end - length, end + timedelta.resolution)
    if slo.slices is not None:
        total, bad, seen = _slices(slo, slo.slices, client, window, step)
    else:
        assert slo.ratio is not None
        # what a counter was before the window
        window = Window(window.start - BRIDGED, window.stop)
        total, bad, seen = _events(slo, slo.ratio, client, window, step)
    steps = length // step
    return Events(end, step, total[-steps:], bad[-steps:], seen[-steps:])


def _slices(
    slo: Slo, slices: TimeSlice, client: RulesClient, window: Window, step: timedelta
) -> tuple[Floats, Floats, Flags]:
    what, none = f"slo {slo.id}", np.zeros(Grid.of(window, step).slots)
    (total,) = client.table(slices_query(slices), window, step, what).values() or (none * np.nan,)
    (good,) = client.table(good_slices(slices), window, step, what).values() or (none,)
    return np.nan_to_num(total), np.nan_to_num(total) - np.nan_to_num(good), ~np.isnan(total)


def _events(
    slo: Slo, ratio: Ratio, client: RulesClient, window: Window, step: timedelta
) -> tuple[Floats, Floats, Flags]:
    what, steps = f"slo {slo.id}", Grid.of(window, step).slots
    ranges = {each: f"last_over_time({each}[{format_duration(step)}])" for each in ratio.counters}
    seen_now = " or ".join(ranges[each] for each in ratio.total)
    query = f"(up == 1) and on ({', '.join(TARGET)}) ({seen_now})"
    scraped = {
        _target(labels): ~np.isnan(values)
        for labels, values in client.table(query, window, step, what).items()
    }
    tables = {each: client.table(query, window, step, what) for each, query in ranges.items()}

    def sums(counters: tuple[str, ...]) -> tuple[Floats, Flags]:
        series: Iterator[tuple[Labels, Floats]] = (
            (_target(labels), values)
            for each in counters
            for labels, values in tables[each].items()
        )
        return counted(series, scraped, steps, step)

    total, seen = sums(ratio.total)
    part, _ = sums(ratio.part)
    return total, part if ratio.bad else np.maximum(total - part, 0.0), seen


def _target(labels: Labels) -> Labels:
    return tuple(pair for pair in labels if pair[0] in TARGET)
