"""The page of SLOs: one self-contained HTML file with the burn-down of each budget."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jinja2 import Template
from markupsafe import Markup

from tasks.analysis.slo.counting import Events, Floats
from tasks.analysis.slo.status import State, Status
from tasks.core.slo_report import SloLine, SloReport
from tasks.core.units import human
from tasks.core.whole_file import replace_file
from tasks.reports.health.page import percent
from tasks.reports.templating import template

PAGE = "slo-status.html"
# the colours of style.css
COLOURS: dict[State, str] = {
    "burning": "failed",
    "failed": "failed",
    "no_data": "no_data",
    "no_traffic": "no_data",
    "partial": "planned",
    "ok": "succeeded",
}
_WIDTH, _HEIGHT, _POINTS = 600, 140, 240
# of the axis: what is overspent by more is drawn at its foot
_TOP, _FOOT = 1.0, -0.25


class Recorded(NamedTuple):
    """A value that a run recorded."""

    time: datetime
    left: float
    definition: str


class SloView(NamedTuple):
    """One SLO on the page; its recorded values are oldest first."""

    status: Status
    line: SloLine
    recorded: Sequence[Recorded]

    @property
    def colour(self) -> str:
        """Return the class of its colour."""
        is_spent = self.line.budget_left is not None and self.line.budget_left <= 0
        return "degraded" if is_spent and self.line.state == "ok" else COLOURS[self.status.state]

    @property
    def drawn(self) -> timedelta:
        """Return how long ago its drawing begins: with the window, or its first value."""
        first = [one.time for one in self.recorded[:1]]
        if self.status.events is not None and self.status.events.since is not None:
            first.append(self.status.events.since)
        return min(self.status.slo.window, self.status.at - min(first, default=self.status.at))

    @property
    def earlier(self) -> list[Recorded]:
        """Return what was recorded under other definitions, which is never counted again."""
        return [one for one in self.recorded if one.definition != self.status.slo.definition]


def write(
    environment: str, at: datetime, views: Sequence[SloView], report: SloReport, folder: Path
) -> Path:
    """Write the page atomically; raise OSError."""
    return replace_file(folder / PAGE, render(environment, at, views, report).encode())


def render(environment: str, at: datetime, views: Sequence[SloView], report: SloReport) -> str:
    """Return the page: UTF-8 text without scripts or external resources."""
    worst = next(
        (c for c in ("failed", "degraded", "no_data") if c in {v.colour for v in views}), ""
    )
    return _template().render(
        environment=environment,
        at=at,
        zone=at.tzinfo,
        views=views,
        report=report,
        worst=worst or "succeeded",
    )


def burn_down(view: SloView) -> Markup:
    """Draw the budget left: as recorded, as counted under this definition, and its forecast."""
    window, now = view.status.slo.window, view.status.at
    ahead = timedelta(days=len(view.status.forecast.fan))
    scale = _WIDTH / max((view.drawn + ahead).total_seconds(), 1.0)

    def x(moment: datetime) -> float:
        return max(0.0, (moment - now + view.drawn).total_seconds() * scale)

    parts = [f'<path class="zero" d="M0 {_y(0):.1f}H{_WIDTH}"/>']
    for _, some in groupby(view.earlier, lambda one: one.definition):
        kept = list(some)
        points = [(x(one.time), one.left) for one in kept if np.isfinite(one.left)]
        parts += [f'<path class="before" d="{_path(points)}"/>'] if points else []
        parts.append(f'<path class="change" d="M{x(kept[-1].time):.1f} 0V{_HEIGHT}"/>')
    if view.status.events is not None:
        since = view.earlier[-1].time if view.earlier else now - window
        times, left = counted_down(view.status.events, window, view.status.slo.budget)
        points = [
            (x(t), y) for t, y in zip(times, left, strict=True) if t > since and np.isfinite(y)
        ]
        parts += [f'<path class="left" d="{_path(points)}"/>'] if points else []
    if ahead:
        left_now = view.status.budget_left or 0.0
        fan = ((left_now,) * 3, *view.status.forecast.fan)
        xs = [x(now + timedelta(days=day)) for day in range(len(fan))]
        low, middle, high = (
            [(at, each[n]) for at, each in zip(xs, fan, strict=True)] for n in range(3)
        )
        parts.insert(0, f'<path class="fan" d="{_path([*low, *reversed(high)])}z"/>')
        parts.append(f'<path class="ahead" d="{_path(middle)}"/>')
        parts.append(f'<path class="now" d="M{x(now):.1f} 0V{_HEIGHT}"/>')
    return Markup(f'<svg class="budget" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>')  # fmt: skip


def counted_down(events: Events, window: timedelta, budget: float) -> tuple[list[datetime], Floats]:
    """Return the budget left at some times of the window, NaN without events."""
    steps = len(events.seen)
    length = min(max(1, window // events.step), steps)
    ends = np.unique(np.linspace(steps - length + 1, steps, _POINTS).astype(int))
    starts = np.maximum(ends - length, 0)
    bad, total = (np.append(0.0, each.cumsum()) for each in (events.bad, events.total))
    with np.errstate(invalid="ignore", divide="ignore"):
        used = (bad[ends] - bad[starts]) / (total[ends] - total[starts]) / budget
    return [events.at - int(steps - end) * events.step for end in ends], np.asarray(1 - used)


def _path(points: Sequence[tuple[float, float]]) -> str:
    first = points[0][0]
    # a lone point would not be drawn
    points = [(first - 1.5, points[0][1]), *points]
    return "M" + "L".join(f"{x:.1f} {_y(left):.1f}" for x, left in points)


def _y(left: float) -> float:
    return (_TOP - min(max(left, _FOOT), _TOP)) / (_TOP - _FOOT) * _HEIGHT


def _length(view: SloView) -> str:
    return human(view.drawn.total_seconds(), "seconds")


def _week(line: SloLine) -> str:
    if line.traffic_change is None or line.bad_before is None or line.bad_now is None:
        return ""
    how = "more than chance makes" if line.is_changed else "as chance makes it"
    return (
        f"Against the week before, hour by hour of the week: traffic {line.traffic_change:+.0%}, "
        f"bad {line.bad_before:.3%} to {line.bad_now:.3%}, {how}"
    )


@cache
def _template() -> Template:
    filters = {"percent": percent, "burn_down": burn_down, "week": _week, "length_ago": _length}
    return template("slo.html.j2", filters, {})
