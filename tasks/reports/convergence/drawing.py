"""Charts of the convergence report, as inline SVG in the page's colours."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from tasks.analysis.client_columns import DROPPED, LATE, UNKNOWN
from tasks.analysis.interval import Interval
from tasks.reports import drawing
from tasks.reports.convergence.records import FAN, NOT_DRAWN, BurnChart, CurveChart, HeatChart
from tasks.reports.drawing import ON_WHITE, STAND_IN, Paint

SIZE = (560, 270)
SMALL = (560, 230)
MARGINS = (46, 14, 22, 34)  # left, right, top, bottom
KIND = "panel broad"
TEXT_BEYOND = 0.75  # of the width: leaves room for a word after it
MOST_COLUMNS = 150  # of the heat map
ROW, NAME_WIDTH = 16, 124


def curve_svg(chart: CurveChart, label: str, prefix: str) -> Markup:
    """Draw the learning curve with the fan of the forecast and the target."""
    figure, axes = _axes(SIZE, chart.name)
    _curve(axes, chart, STAND_IN)
    return drawing.svg_of(figure, label, prefix, SIZE, KIND)


def _curve(axes: Any, chart: CurveChart, paint: Paint) -> None:
    rounds, values = np.asarray(chart.rounds, dtype=float), np.asarray(chart.values, dtype=float)
    _fan(axes, chart.fan_rounds, chart.fan, paint)
    _line(axes, rounds, values, paint.series[0])
    if chart.fan_rounds and len(rounds):
        _upright(axes, float(rounds[-1]), "now", paint.text)
    if chart.broken is not None:
        _upright(axes, float(chart.broken), "broke", paint.bad)
    if chart.target is not None:
        _level(axes, chart.target, "target", paint)
    if chart.lost:
        across = axes.get_xaxis_transform()
        drawing.dots(
            axes, chart.lost, [0.02] * len(chart.lost), paint.bad, "x", 5, transform=across
        )
    _limits(axes, chart.rounds, chart.fan_rounds, chart.is_share, chart.target)
    if chart.shown is not None:
        axes.set_ylim(*chart.shown)


def compared_svg(charts: Sequence[CurveChart], label: str, prefix: str) -> Markup:
    """Draw the learning curves of several runs, at most eight, in the page's colours."""
    figure, axes = _axes(SIZE, charts[0].name)
    _curves(axes, charts, STAND_IN)
    return drawing.svg_of(figure, label, prefix, SIZE, KIND)


def _curves(axes: Any, charts: Sequence[CurveChart], paint: Paint) -> None:
    shown = charts[: len(paint.series)]
    for index, chart in enumerate(shown):
        _line(axes, chart.rounds, chart.values, paint.series[index], index >= drawing.SOLID)
    every = tuple(number for chart in shown for number in chart.rounds)
    _limits(axes, every, (), all(chart.is_share for chart in shown), None)


def curve_png(charts: Sequence[CurveChart]) -> bytes:
    """Draw one learning curve with its forecast, or several, on white."""
    drawn = [chart for chart in charts if chart.rounds]
    figure, axes = _axes(SIZE, drawn[0].name if drawn else "no rounds", ON_WHITE)
    figure.set_facecolor("white")
    if len(drawn) == 1:
        _curve(axes, drawn[0], ON_WHITE)
    elif drawn:
        _curves(axes, drawn, ON_WHITE)
    return drawing.png_of(figure)


def burn_svg(chart: BurnChart, label: str, prefix: str) -> Markup:
    """Draw remaining epsilon, its fan, and the race: budget's end and target as bars."""
    figure, axes = _axes(SMALL, "epsilon left")
    _fan(axes, chart.fan_rounds, chart.fan, STAND_IN)
    _line(axes, chart.rounds, chart.left, STAND_IN.series[0])
    _level(axes, 0.0, "used up", STAND_IN)
    top = max([chart.budget, *chart.left]) * 1.02
    _limits(axes, chart.rounds, chart.fan_rounds, False, None)
    axes.set_ylim(min(0.0, *chart.left) - 0.02 * top, top * 1.04)
    right = [spread.high for spread in (chart.exhausted, chart.reached) if spread is not None]
    low, high = axes.get_xlim()
    axes.set_xlim(low, min(max([high, *right]), 3 * high))
    if chart.exhausted is not None:
        _bar(axes, chart.exhausted, 0.10 * top, "budget ends", STAND_IN.bad)
    if (reached := chart.reached) is not None:
        is_past = reached.estimate <= chart.rounds[-1]
        # what is known stands on the curve
        y = np.interp(reached.estimate, chart.rounds, chart.left) if is_past else 0.24 * top
        _bar(axes, reached, float(y), "target reached", STAND_IN.series[2])
    return drawing.svg_of(figure, label, prefix, SMALL, KIND)


def heat_svg(chart: HeatChart, label: str) -> Markup:
    """Draw clients by rounds; a column shows the worst of a third or more."""
    states = _columns(np.asarray(chart.states, dtype=np.int64))
    rows, columns = states.shape
    width, height = SIZE[0], rows * ROW + 22
    step = (width - NAME_WIDTH) / max(columns, 1)
    parts = []
    for state, name in ((0, "on"), (LATE, "late"), (DROPPED, "gone")):
        cells = np.isin(states, (0, UNKNOWN) if state == 0 else state)
        if path := "".join(_runs(cells, step)):
            parts.append(f'<path class="{name}" d="{path}"/>')
    names = "".join(
        f'<text x="{NAME_WIDTH - 6}" y="{row * ROW + ROW - 4}" text-anchor="end">{escape(_cut(client))}</text>'
        for row, client in enumerate(chart.clients)
    )
    ends = [(NAME_WIDTH, "start", chart.rounds[0]), (width, "end", chart.rounds[-1])]
    axis = "".join(
        f'<text x="{x}" y="{height - 6}" text-anchor="{anchor}">round {number}</text>'
        for x, anchor, number in (ends if len(chart.rounds) > 1 else ends[:1])
    )
    return Markup(
        f'<svg class="heat" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}{names}{axis}</svg>"
    )


def _runs(cells: Any, step: float) -> list[str]:
    found = []
    for row, line in enumerate(cells):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
        for start, stop in edges.reshape(-1, 2):
            x, length = NAME_WIDTH + start * step, (stop - start) * step
            found.append(f"M{x:.1f} {row * ROW}h{length:.1f}v{ROW - 1.5}h-{length:.1f}z")
    return found


def _columns(states: Any) -> Any:
    count = states.shape[1]
    if count <= MOST_COLUMNS:
        return states
    edges = np.linspace(0, count, MOST_COLUMNS + 1).astype(int)
    return np.stack([_worst(states[:, a:b]) for a, b in pairwise(edges)], axis=1)


def _worst(states: Any) -> Any:
    """Return the worst state that a third of the draws in several rounds had."""
    drawn = np.maximum((states != NOT_DRAWN).sum(axis=1), 1)
    worst = np.where((states != NOT_DRAWN).any(axis=1), 0, NOT_DRAWN)
    for state in (LATE, DROPPED):
        worst = np.where((states == state).sum(axis=1) * 3 >= drawn, state, worst)
    return np.where((states != NOT_DRAWN).any(axis=1), worst, NOT_DRAWN)


def _cut(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"


def _axes(size: tuple[int, int], name: str, paint: Paint = STAND_IN) -> tuple[Any, Any]:
    figure, axes = drawing.framed(size, MARGINS)
    drawing.dress(axes, name, MARGINS[0], paint)
    drawing.note(axes, "round", (1, 0), (0, -27), "axes fraction", paint.text, ha="right")
    return figure, axes


def _line(axes: Any, x: Any, y: Any, colour: str, is_dashed: bool = False) -> None:
    style, marker = (0, (4, 1.6)) if is_dashed else "-", "o" if len(x) <= 40 else None
    axes.plot(x, y, color=colour, linewidth=1.4, linestyle=style, marker=marker, markersize=3)


def _limits(
    axes: Any, seen: Sequence[int], ahead: Sequence[int], is_share: bool, target: float | None
) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    every = [*seen, *ahead] or [0, 1]
    low, high = min(every), max(every)
    axes.set_xlim(low, high if high > low else low + 1)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if is_share:
        bottom, top = axes.get_ylim()
        bounds = [bottom, top] if target is None else [bottom, top, target + 0.02]
        axes.set_ylim(max(-0.02, min(bounds)), min(1.02, max(bounds)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value + 0.0:.4g} %"))


def _fan(axes: Any, rounds: Sequence[int], fan: Sequence[Sequence[float]], paint: Paint) -> None:
    if not rounds:
        return
    rows = np.asarray(fan, dtype=float)
    for share, alpha in ((0, 0.16), (1, 0.22)):
        axes.fill_between(
            rounds, rows[share], rows[len(FAN) - 1 - share], color=paint.series[1],
            alpha=alpha, linewidth=0,
        )  # fmt: skip
    axes.plot(rounds, rows[2], color=paint.series[1], linewidth=1.2, linestyle=(0, (4, 2)))


def _upright(axes: Any, x: float, text: str, colour: str) -> None:
    axes.axvline(x, color=colour, linewidth=0.9, linestyle=(0, (1, 2)))
    drawing.note(axes, text, (x, 1), (0, 4), ("data", "axes fraction"), colour, ha="center")


def _level(axes: Any, y: float, text: str, paint: Paint) -> None:
    drawing.level(axes, y, paint)
    drawing.note(
        axes, text, (0, y), (3, 3), ("axes fraction", "data"), paint.limit, ha="left", va="bottom"
    )


def _bar(axes: Any, spread: Interval, y: float, text: str, colour: str) -> None:
    """Draw an interval with its middle, and the text beyond it if there is room."""
    low, high = axes.get_xlim()
    axes.plot(
        (spread.low, min(spread.high, high)), (y, y), color=colour, linewidth=5,
        solid_capstyle="round", alpha=0.5, clip_on=False,
    )  # fmt: skip
    drawing.dots(axes, spread.estimate, y, colour, "o", 6)
    is_beyond = spread.high < low + TEXT_BEYOND * (high - low)
    x, place, ha = (spread.high, 8, "left") if is_beyond else (spread.low, -8, "right")
    # a point may stand on the curve, which falls to the right
    va = "center" if spread.low < spread.high else "bottom"
    drawing.note(axes, text, (x, y), (place, 0), "data", colour, ha=ha, va=va)
