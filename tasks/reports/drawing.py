"""Drawing of panels with matplotlib, as inline SVG or PNG.

matplotlib is imported on first use, and never its pyplot: flows draw in threads.
"""

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from tasks.reports.charts import Panel, Trace, time_ticks, value_ticks
from tasks.reports.series import Floats

WIDTH, HEIGHT = 440, 172  # of a panel, in its own units, about CSS pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 20, 24
_DASHES = ("-", (0, (4, 1.6)))
SOLID = 4  # colours drawn solid; later ones are dashed, to differ without colour


@dataclass(frozen=True)
class Paint:
    """The colours of one drawing."""

    series: tuple[str, ...]
    rest: str
    text: str
    grid: str
    limit: str
    bad: str


# After the palette of Okabe and Ito (Color Universal Design, 2008), darkened to stand on white.
ON_WHITE = Paint(
    series=(
        "#0072b2", "#c65100", "#00855f", "#b0478a", "#2a94cf", "#a87400", "#6f4fc4", "#6d6a00",
    ),
    rest="#b9bec4", text="#4f5963", grid="#e3e5e8", limit="#8a5a00", bad="#c8102e",
)  # fmt: skip
# colours used nowhere else: each becomes a CSS variable of the page
STAND_IN = Paint(
    series=tuple(f"#a1b2c{index}" for index in range(8)),
    rest="#a1b2d0", text="#a1b2d1", grid="#a1b2d2", limit="#a1b2d3", bad="#a1b2d4",
)  # fmt: skip
_VARIABLES = {
    **{colour: f"var(--s{index})" for index, colour in enumerate(STAND_IN.series)},
    STAND_IN.rest: "var(--rest)",
    STAND_IN.text: "currentColor",
    STAND_IN.grid: "var(--grid)",
    STAND_IN.limit: "var(--limit)",
    STAND_IN.bad: "var(--bad)",
}


@cache
def figure_class() -> Any:
    """Return matplotlib's Figure, with its settings made."""
    import matplotlib
    from matplotlib.figure import Figure

    # set once for the process: rc_context would change them for other threads
    matplotlib.rcParams["svg.fonttype"] = "none"
    matplotlib.rcParams["svg.hashsalt"] = "fedvitals"
    return Figure


def panel_svg(panel: Panel, label: str, prefix: str) -> Markup:
    """Draw the panel as inline SVG; label is for screen readers, prefix for ids."""
    figure, axes = framed((WIDTH, HEIGHT), (_LEFT, _RIGHT, _TOP, _BOTTOM))
    _draw(axes, panel, STAND_IN)
    return svg_of(figure, label, prefix)


def framed(size: tuple[int, int], margins: tuple[int, int, int, int]) -> tuple[Any, Any]:
    """Make a figure of this size; the axes' margins are left, right, top, bottom."""
    (width, height), (left, right, top, bottom) = size, margins
    figure = figure_class()(figsize=(width / 72, height / 72), dpi=72)
    return figure, figure.add_axes(
        (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
    )


def svg_of(
    figure: Any,
    label: str,
    prefix: str,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    kind: str = "panel",
) -> Markup:
    """Write the figure as an inline SVG element."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata=dict.fromkeys(METADATA))
    return Markup(inline(text.getvalue(), label, prefix, size, kind))


def png_of(figure: Any) -> bytes:
    """Write the figure as PNG."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return data.getvalue()


METADATA = ("Date", "Creator", "Format", "Type")


def sparkline(means: Floats) -> Markup:
    """Draw the trend as a small line without axes."""
    places = np.flatnonzero(~np.isnan(means))
    if not len(places):
        return Markup("")
    low, high = float(means[places].min()), float(means[places].max())
    span = high - low or 1.0
    x = 2 + places * 92 / max(len(means) - 1, 1)
    y = np.full(len(places), 10.0) if high == low else 18 - (means[places] - low) * 16 / span
    points = " ".join(f"{left:.1f},{top:.1f}" for left, top in zip(x, y, strict=True))
    return Markup(
        '<svg class="trend" viewBox="0 0 96 20" aria-hidden="true">'
        f'<polyline points="{points}"/><circle cx="{x[-1]:.1f}" cy="{y[-1]:.1f}" r="2"/></svg>'
    )


def png(panels: Sequence[Panel], title: str, names: Sequence[str]) -> bytes:
    """Draw at most four panels on white, with the names of the coloured series."""
    shown = list(panels[:4])
    width = max(len(shown), 1)
    figure = figure_class()(figsize=(max(4.6 * width, 6.4), 3.4), dpi=110, facecolor="white")
    figure.text(0.01, 0.94, title, fontsize=11, weight="bold", color="#1c2024", parse_math=False)
    for index, panel in enumerate(shown):
        left = 0.06 / width + index / width
        axes = figure.add_axes((left + 0.03, 0.2, 0.86 / width - 0.03, 0.58))
        _draw(axes, panel, ON_WHITE)
        axes.set_title(panel.field, fontsize=9, loc="right", color=ON_WHITE.text, parse_math=False)
    if not shown:
        figure.text(0.5, 0.45, "no data in this window", ha="center", color=ON_WHITE.text)
    _key(figure, names if shown else ())
    with warnings.catch_warnings():
        # a letter missing in the font becomes a box, which users cannot change
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font", category=UserWarning
        )
        return png_of(figure)


def _key(figure: Any, names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        x = 0.03 + index * 0.97 / max(len(names), 4)
        colour = ON_WHITE.series[index]
        figure.text(x, 0.03, "●", fontsize=8, color=colour)
        figure.text(x + 0.02, 0.03, name[:24], fontsize=8, color=ON_WHITE.text, parse_math=False)


def _draw(axes: Any, panel: Panel, paint: Paint) -> None:
    _scaffold(axes, panel, paint)
    _marks(axes, panel, paint)
    for trace in panel.traces:
        _line(axes, trace, paint)
    for limit in panel.limits:
        place, va = (-3, "top") if limit.lower else (3, "bottom")
        level(axes, limit.y, paint)
        note(
            axes, limit.label, (1, limit.y), (0, place), ("axes fraction", "data"), paint.limit,
            ha="right", va=va, fontsize=9,
        )  # fmt: skip
    for points, marker in ((panel.crosses, "x"), (panel.beyond, "D")):
        if len(points[0]):
            dots(axes, *points, paint.bad, marker, 5, zorder=5)


def dots(axes: Any, x: Any, y: Any, colour: str, marker: str, size: float, **more: Any) -> None:
    """Draw points, also at the edge of the axes."""
    axes.plot(
        x, y, color=colour, linestyle="none", marker=marker, markersize=size, clip_on=False, **more
    )


def _scaffold(axes: Any, panel: Panel, paint: Paint) -> None:
    """Draw grid and labels as plain lines and texts: an Axis takes half of a panel's time."""
    seconds = panel.window.length.total_seconds()
    axes.set_axis_off()
    axes.set(xlim=(0, seconds), ylim=panel.y_range)
    levels = value_ticks(panel)
    axes.hlines([at for at, _ in levels], 0, seconds, colors=paint.grid, linewidths=0.8, zorder=0.5)
    axes.hlines(panel.y_range[0], 0, seconds, colors=paint.grid, linewidths=1, clip_on=False)
    across, up = ("data", "axes fraction"), ("axes fraction", "data")
    for at, text in time_ticks(panel.window, zone=panel.zone):
        note(axes, text, (at, 0), (0, -8), across, paint.text, ha="center", va="top")
    for at, text in levels:
        note(axes, text, (0, at), (-5, 0), up, paint.text, ha="right", va="center_baseline")
    note(axes, panel.scale.symbol, (0, 1), (5 - _LEFT, 9), "axes fraction", paint.text)


def dress(axes: Any, name: str, left: int, paint: Paint) -> None:
    """Style the axes, and title them; `left` is their left margin."""
    axes.tick_params(labelsize=10, labelcolor=paint.text, length=0, pad=5)
    axes.grid(axis="y", color=paint.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set(color=paint.grid, linewidth=1)
    note(axes, name, (0, 1), (5 - left, 9), "axes fraction", paint.text)


def level(axes: Any, y: float, paint: Paint) -> None:
    """Draw a limit across the axes."""
    axes.axhline(y, color=paint.limit, linewidth=1, linestyle=(0, (5, 3)))


def note(axes: Any, text: str, at: Any, offset: Any, coords: Any, colour: str, **more: Any) -> None:
    """Write a text beside a point, so many points away."""
    style = {"fontsize": 10, "textcoords": "offset points", "parse_math": False, **more}
    axes.annotate(text, at, offset, xycoords=coords, color=colour, **style)


def _marks(axes: Any, panel: Panel, paint: Paint) -> None:
    """Draw events along the time axis, and a line where the catalogue entry changes."""
    across = axes.get_xaxis_transform()
    for mark in panel.marks:
        colour = paint.bad if mark.kind == "quarantined" else paint.rest
        if mark.kind == "catalogue":
            axes.axvline(mark.x, color=paint.text, linewidth=1, linestyle=(0, (1, 2)))
        else:
            axes.plot(
                (mark.x, mark.stop), (0, 0), color=colour, linewidth=4, solid_capstyle="butt",
                transform=across, clip_on=False, zorder=3,
            )  # fmt: skip


def _line(axes: Any, trace: Trace, paint: Paint) -> None:
    colour = paint.rest if trace.colour is None else paint.series[trace.colour]
    dashed = trace.colour is not None and trace.colour >= SOLID
    width = 0.7 if trace.colour is None else 1.5
    axes.plot(trace.x, trace.y, color=colour, linewidth=width, linestyle=_DASHES[dashed])
    if len(trace.dots[0]):
        size = 3 * width**0.5
        dots(axes, *trace.dots, colour, "o", size)


_POINT = re.compile(r"(-?\d+)\.(\d)\d*")
_PATH = re.compile(r' d="([^"]{200,})"')
# the marks of one line repeat their style
_MARKS = re.compile(r"<g>((?:\s*<use [^>]*/>)+)\s*</g>")
_STYLE = re.compile(r' style="([^"]*)"')
# backgrounds without a colour, rotations by zero, groups without content
_UNSEEN = re.compile(
    r'<path d="[^"]*" style="fill: none"/>| transform="rotate\(-0 [^"]*"|<g id="[^"]*"/>'
)
_LONG = re.compile(r"(\d\.\d\d)\d+")


def inline(
    document: str,
    label: str,
    prefix: str,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    kind: str = "panel",
) -> str:
    """Reduce to the SVG element: colours as variables, own ids, short coordinates."""
    body = document[document.index("<svg") :]
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = _UNSEEN.sub("", re.sub(r'<g id="[^"]*">', "<g>", body))
    body = _MARKS.sub(_marks_once, body.replace("xlink:href", "href"))
    body = re.sub(r'(id="|href="#|url\(#)', rf"\1{prefix}_", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = _PATH.sub(lambda found: f' d="{_shortened(found[1])}"', body)
    body = re.sub(r'(?<=[ "])(?:x|y|transform)="[^"]*"', lambda m: _LONG.sub(r"\1", m[0]), body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    for stand_in, variable in _VARIABLES.items():
        body = body.replace(stand_in, variable)
    return (
        f'<svg class="{kind}" viewBox="0 0 {size[0]} {size[1]}" role="img" '
        f'aria-label="{escape(label)}">{body.strip()}'
    )


def _marks_once(group: re.Match[str]) -> str:
    styles = set(_STYLE.findall(group[1]))
    if len(styles) != 1:
        return group[0]
    marks = _POINT.sub(r"\1.\2", _STYLE.sub("", group[1]))
    return f'<g style="{styles.pop()}">{marks}</g>'


def _shortened(path: str) -> str:
    # a lineto may leave out its letter
    return _POINT.sub(r"\1.\2", path.replace("\nL ", " ").replace("\n", " ").strip())
