"""When disks are full and epsilon is spent, by what the lake has of them."""

from collections.abc import Iterator
from datetime import timedelta

import pandas as pd

from tasks.analysis.running_out import MOST_DAYS, disk_full, epsilon_spent
from tasks.core.catalogue import Catalogue
from tasks.core.slo_report import RunsOut
from tasks.core.window import Window
from tasks.runs.base.run import Run

# measurement and field
DISKS = (("filesystems", "usage_ratio"), ("health_host", "disk_usage_ratio"))
EPSILON = ("fl_budget", "epsilon_remaining")


def running_out(run: Run) -> tuple[RunsOut, ...]:
    """Forecast when each file system is full, and epsilon is spent; the soonest first."""
    found = list(_found(run, Catalogue.read(run.settings.config / "metrics.yaml")))
    far = float("inf")
    return tuple(sorted(found, key=lambda one: (far if one.day is None else one.day, one.what)))


def _found(run: Run, catalogue: Catalogue) -> Iterator[RunsOut]:
    window = Window(run.now - timedelta(days=MOST_DAYS), run.now)
    for name, field in (*DISKS, EPSILON):
        if name not in catalogue or field not in catalogue[name].fields:
            continue
        rows = run.lake.read(catalogue[name], run.environment.name, window)
        rows = rows[rows[field].notna()].sort_values("time")
        tags = list(catalogue[name].tags) or ["environment"]
        for key, part in rows.groupby(tags, dropna=False, observed=True):
            hours = (part["time"] - pd.Timestamp(window.start)).dt.total_seconds().to_numpy() / 3600
            values = part[field].to_numpy("float64")
            if (name, field) == EPSILON:
                yield epsilon_spent(hours, values)
            else:
                yield disk_full(f"disk {' '.join(map(str, key))}", hours / 24, values)
