"""The convergence report: self-contained HTML page, JSON export and picture."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

from jinja2 import Template
from markupsafe import Markup

from tasks.analysis.convergence import VerdictKind
from tasks.core.units import counted
from tasks.core.whole_file import replace_file, replace_json
from tasks.reports.convergence.drawing import burn_svg, compared_svg, curve_png, curve_svg, heat_svg
from tasks.reports.convergence.records import ConvergenceReport, RunSection
from tasks.reports.summary import plain
from tasks.reports.templating import template

PAGE, EXPORT = "convergence-report.html", "convergence-analysis.json"
PICTURE = "convergence-chart.png"


class Style(NamedTuple):
    """A verdict's name, the class of its colours, and its meaning."""

    name: str
    colour: str
    meaning: str


# in the order of the verdicts, worst first
STYLES: dict[VerdictKind, Style] = {
    "collapsed": Style(
        "Collapsed", "failed", "fell far below a level that it had held, and has not come back"
    ),
    "diverging": Style(
        "Diverging", "failed", "gets worse round by round, or its loss is not a number any more"
    ),
    "oscillating": Style(
        "Oscillating", "degraded", "swings up and down more than it did when it was calm"
    ),
    "plateau": Style("On a plateau", "degraded", "flat, although similar runs got further"),
    "too_short": Style("Too short to judge", "no_data", "fewer rounds than a verdict needs"),
    "improving": Style("Improving", "succeeded", "still gets better"),
    "converged": Style("Converged", "succeeded", "flat, and hardly anything is left to gain"),
}
FINISHED = Style("Finished", "succeeded", "the plan is done")
MOST_CLIENTS = 50
MOST_COMPARED = 8
MOST_FINDINGS = 20


@dataclass(frozen=True)
class ConvergenceFiles:
    """The written files."""

    html: Path
    json: Path
    chart: Path


def write(report: ConvergenceReport, folder: Path) -> ConvergenceFiles:
    """Write the three files atomically, the page last; raise OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    made = ConvergenceFiles(folder / PAGE, folder / EXPORT, folder / PICTURE)
    curves = [section.curve for section in report.sections[:MOST_COMPARED]]
    replace_json(made.json, report.document)
    replace_file(made.chart, curve_png(curves))
    replace_file(made.html, render(report).encode())
    return made


def _style(section: RunSection) -> Style:
    return FINISHED if section.is_finished else STYLES[section.verdict]


def markdown(section: RunSection, environment: str) -> str:
    """Return the verdict, the advice and findings, for a Prefect artifact."""
    odd = [finding.sentence for finding in section.findings[:MOST_FINDINGS]]
    lines = [
        f"# {_style(section).name}: {plain(section.name)} in {plain(environment)}",
        plain(section.sentence),
        " ".join(plain(text) for text in (section.advice, section.advice_further) if text),
        plain(section.forecast_note or ""),
        "\n".join(f"- {plain(text)}" for text in odd),
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def render(report: ConvergenceReport) -> str:
    """Return the page: deterministic UTF-8 text without scripts or external resources."""
    sections = report.sections
    styles = {_style(one) for one in sections}
    worst = next((style for style in STYLES.values() if style in styles), FINISHED)
    return _template().render(
        report=report,
        colour=worst.colour,
        headline=_headline(sections),
        sentence=_sentence(report),
        entries=[_entry(section, index) for index, section in enumerate(sections)],
        compared=_compared(sections),
    )


def _headline(sections: Sequence[RunSection]) -> str:
    if len(sections) == 1:
        return _style(sections[0]).name
    counts = Counter(map(_style, sections))
    styles = (*STYLES.values(), FINISHED)
    parts = [f"{counts[style]} {style.name.lower()}" for style in styles if counts[style]]
    return f"{counted(len(sections), 'run')}: {', '.join(parts)}"


def _sentence(report: ConvergenceReport) -> str:
    if len(report.sections) == 1:
        section = report.sections[0]
        rest = section.sentence.removeprefix(f"{_style(section).name}: ")
        return rest[:1].upper() + rest[1:]
    lines = report.comparison
    if len(lines) < 2:
        return "".join(line.sentence for line in lines)
    best = lines[0].first
    behind = [line.second for line in lines if line.better == best]
    other = [line.second for line in lines if line.better != best]
    texts = [f"{best} is better than {', '.join(behind)}"] if behind else []
    texts += [f"between {best} and {', '.join(other)} it is undecided"] if other else []
    return "; ".join(texts) + "."


def _entry(section: RunSection, index: int) -> dict[str, Any]:
    parts = (section.privacy, section.participation)
    privacy, clients = (part.sentence if part else "" for part in parts)
    curve, burn, heat = section.curve, section.burn, section.heat
    of_curve = f"Learning curve of {section.name}: {section.sentence}"
    of_burn = f"Epsilon left to {section.name}: {privacy}"
    of_heat = f"Clients of {section.name} by rounds: {clients}"
    return {
        "run": section,
        "style": _style(section),
        "curve": curve_svg(curve, of_curve, f"c{index}") if curve.rounds else None,
        "burn": burn_svg(burn, of_burn, f"b{index}") if burn else None,
        "heat": heat_svg(heat, of_heat) if heat else None,
        "clients": section.clients[:MOST_CLIENTS],
    }


def _compared(sections: Sequence[RunSection]) -> Markup | None:
    charts = [one.curve for one in sections if one.curve.rounds]
    if len(charts) < 2 or len({chart.name for chart in charts}) > 1:
        return None
    names = ", ".join(one.name for one in sections[:MOST_COMPARED])
    return compared_svg(charts, f"Learning curves of {names}", "all")


@cache
def _template() -> Template:
    known = {"STYLES": STYLES, "KINDS": get_args(VerdictKind), "EXPORT": EXPORT}
    return template("convergence.html.j2", {}, {**known, "MOST_COMPARED": MOST_COMPARED})
