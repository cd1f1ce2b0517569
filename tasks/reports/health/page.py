"""The status page: one self-contained HTML file, and its drawings."""

from collections.abc import Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

from jinja2 import Template
from markupsafe import Markup

from tasks.analysis.health.uptime import WHOLE, Uptime
from tasks.core.health import ResponseTime, State
from tasks.core.units import human
from tasks.core.whole_file import replace_file
from tasks.reports.health.build import DAYS, WORDS, CheckStatus, StatusPage
from tasks.reports.templating import template

PAGE = "health-status.html"
# the colours of style.css
COLOURS: dict[State, str] = {
    "down": "failed",
    "no_data": "no_data",
    "degraded": "degraded",
    "maintenance": "planned",
    "up": "succeeded",
}
# from the foot of a bar up
_STACK: tuple[State, ...] = ("up", "maintenance", "degraded", "down")
_WIDTH, _HEIGHT, _LEAST = 6, 28, 4
# seconds a point of response times
_POINT = 1800


def write(status: StatusPage, folder: Path) -> Path:
    """Write the page atomically; raise OSError."""
    return replace_file(folder / PAGE, render(status).encode())


def render(status: StatusPage) -> str:
    """Return the page: UTF-8 text without scripts or external resources."""
    return _template().render(status=status, zone=status.at.tzinfo)


def bars_svg(bars: Sequence[Uptime]) -> Markup:
    """Draw a bar a day; what is not good is high enough to be seen."""
    paths: dict[State, str] = dict.fromkeys(_STACK, "")
    for day, bar in enumerate(bars):
        heights: dict[State, float] = {
            state: max(bar.shares[state] * _HEIGHT, 0 if state == "up" else _LEAST)
            for state in _STACK
            if bar.shares[state]
        }
        if heights:
            largest = max(heights, key=lambda state: heights[state])
            heights[largest] -= max(0.0, sum(heights.values()) - _HEIGHT)
        foot = float(_HEIGHT)
        for state, height in heights.items():
            paths[state] += f"M{day * _WIDTH + 3} {foot:.3g}v-{height:.3g}"
            foot -= height
    drawn = "".join(f'<path class="{COLOURS[s]}" d="{d}"/>' for s, d in paths.items() if d)
    return Markup(f'<svg class="days" viewBox="0 0 {_WIDTH * len(bars)} {_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">{drawn}</svg>')  # fmt: skip


def responses_svg(responses: Sequence[ResponseTime]) -> Markup:
    """Draw the mean response times of the newest day, with gaps where there is none."""
    end, most = responses[-1].start.timestamp(), max(one.mean for one in responses) or 1.0
    path, before = "", -2
    for ago, some in groupby(responses, lambda one: int(end - one.start.timestamp()) // _POINT):
        means = [one.mean for one in some]
        x, height = 48 - ago, sum(means) / len(means) / most
        # without a length a lone point would not be drawn
        y = f"{54 - 50 * height:.0f}"
        path += f"L{x} {y}" if x == before + 1 else f"M{x - 0.4:g} {y}H{x}"
        before = x
    return Markup(f'<svg class="response" viewBox="0 0 49 56" preserveAspectRatio="none" aria-hidden="true"><path d="{path}"/></svg>')  # fmt: skip


def percent(share: float | None) -> str:
    """Format a share; less than all is never rounded up to it."""
    if share is None:
        return "–"
    return "100 %" if share >= 1 else f"{int(share * 10_000) / 100:.2f} %"


def _answers(check: CheckStatus) -> str:
    slowest = max(one.slowest for one in check.responses)
    newest = check.responses[-1].mean
    return f"last {human(newest, 'seconds')}, slowest {human(slowest, 'seconds')}"


@cache
def _template() -> Template:
    filters = {
        "percent": percent,
        "bars": bars_svg,
        "line": responses_svg,
        "answers": _answers,
        "length_of": lambda one: human((one.until - one.start).total_seconds(), "seconds"),
    }
    known = {"WORDS": WORDS, "COLOURS": COLOURS, "DAYS": DAYS, "WHOLE": percent(WHOLE)}
    return template("health.html.j2", filters, known)
