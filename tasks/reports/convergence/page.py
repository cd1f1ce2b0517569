"""The convergence report: one HTML page that needs nothing else, its JSON twin and a picture."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tasks.reports import words
from tasks.reports.convergence.drawing import burn_svg, compared_svg, curve_png, curve_svg, heat_svg
from tasks.reports.convergence.records import ConvergenceReport, RunSection, VerdictKind
from tasks.reports.summary import plain
from tasks.reports.units import counted
from tasks.reports.whole_file import replace_file

PAGE, TWIN, PICTURE = (
    "convergence-report.html",
    "convergence-analysis.json",
    "convergence-chart.png",
)
VERDICTS: dict[VerdictKind, str] = {
    "too_short": "Too short to judge",
    "collapsed": "Collapsed",
    "diverging": "Diverging",
    "oscillating": "Oscillating",
    "improving": "Improving",
    "plateau": "On a plateau",
    "converged": "Converged",
}
# the class of the page's colours
COLOURS: dict[VerdictKind, str] = {
    "too_short": "no_data",
    "collapsed": "failed",
    "diverging": "failed",
    "oscillating": "degraded",
    "improving": "succeeded",
    "plateau": "degraded",
    "converged": "succeeded",
}
WORST_FIRST: tuple[VerdictKind, ...] = (
    "collapsed", "diverging", "oscillating", "plateau", "too_short", "improving", "converged",
)  # fmt: skip
MEANINGS: dict[VerdictKind, str] = {
    "too_short": "fewer rounds than a verdict needs",
    "collapsed": "fell far below a level that it had held, and has not come back",
    "diverging": "gets worse round by round, or its loss is no number any more",
    "oscillating": "swings up and down more than it did when it was calm",
    "improving": "still gets better",
    "plateau": "flat, although similar runs got further",
    "converged": "flat, and hardly anything is left to gain",
}
MOST_CLIENTS = 50
MOST_COMPARED = 8
MOST_FINDINGS = 20


@dataclass(frozen=True)
class ConvergenceFiles:
    """What was written."""

    html: Path
    json: Path
    chart: Path


def write(report: ConvergenceReport, folder: Path) -> ConvergenceFiles:
    """Writes the three files, each whole or not at all, the page last.

    Raises:
        OSError: when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = ConvergenceFiles(folder / PAGE, folder / TWIN, folder / PICTURE)
    text = json.dumps(report.document, ensure_ascii=False, indent=1, allow_nan=False)
    replace_file(made.json, (text + "\n").encode())
    replace_file(
        made.chart, curve_png([section.curve for section in report.sections[:MOST_COMPARED]])
    )
    replace_file(made.html, render(report).encode())
    return made


def markdown(section: RunSection, environment: str) -> str:
    """The verdict, the advice and what is odd, for a Prefect artifact."""
    odd = [finding.sentence for finding in section.findings[:MOST_FINDINGS]]
    lines = [
        f"# {VERDICTS[section.verdict]}: {plain(section.name)} in {plain(environment)}",
        plain(section.sentence),
        " ".join(plain(text) for text in (section.advice, section.advice_further) if text),
        plain(section.forecast_note or ""),
        "\n".join(f"- {plain(text)}" for text in odd),
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def render(report: ConvergenceReport) -> str:
    """The page: UTF-8 text, no scripts, nothing loaded from anywhere; equal input, equal text."""
    sections = report.sections
    kinds = {one.verdict for one in sections}
    worst = next((kind for kind in WORST_FIRST if kind in kinds), WORST_FIRST[-1])
    return (
        _templates()
        .get_template("convergence.html.j2")
        .render(
            report=report,
            colour=COLOURS[worst],
            headline=_headline(sections),
            sentence=_sentence(report),
            entries=[_entry(section, index) for index, section in enumerate(sections)],
            compared=_compared(sections),
        )
    )


def _headline(sections: Sequence[RunSection]) -> str:
    if len(sections) == 1:
        return VERDICTS[sections[0].verdict]
    kinds = [one.verdict for one in sections]
    told = [
        f"{kinds.count(kind)} {VERDICTS[kind].lower()}" for kind in WORST_FIRST if kind in kinds
    ]
    return f"{counted(len(sections), 'run')}: {', '.join(told)}"


def _sentence(report: ConvergenceReport) -> str:
    """The verdict of the one run, or how the runs compare."""
    if len(report.sections) == 1:
        section = report.sections[0]
        told = section.sentence.removeprefix(f"{VERDICTS[section.verdict]}: ")
        return told[:1].upper() + told[1:]
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
    """A run with its charts, as the template reads it."""
    label = f"Learning curve of {section.name}: {section.sentence}"
    return {
        "run": section,
        "colour": COLOURS[section.verdict],
        "curve": curve_svg(section.curve, label, f"c{index}") if section.curve.rounds else None,
        "burn": None
        if section.burn is None
        else burn_svg(section.burn, _burning(section), f"b{index}"),
        "heat": None if section.heat is None else heat_svg(section.heat, _taking_part(section)),
        "clients": section.clients[:MOST_CLIENTS],
    }


def _burning(section: RunSection) -> str:
    told = section.privacy.sentence if section.privacy else ""
    return f"Epsilon left to {section.name}: {told}"


def _taking_part(section: RunSection) -> str:
    told = section.participation.sentence if section.participation else ""
    return f"Clients of {section.name} by rounds: {told}"


def _compared(sections: Sequence[RunSection]) -> Markup | None:
    """One chart of all runs, when they tell the same metric."""
    charts = [one.curve for one in sections if one.curve.rounds]
    if len(charts) < 2 or len({chart.name for chart in charts}) > 1:
        return None
    names = ", ".join(one.name for one in sections[:MOST_COMPARED])
    return compared_svg(charts, f"Learning curves of {names}", "all")


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(str(files("tasks.reports") / "templates")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"moment": words.moment}
    environment.globals |= {
        "VERDICTS": VERDICTS,
        "MEANINGS": MEANINGS,
        "TWIN": TWIN,
        "MOST_COMPARED": MOST_COMPARED,
    }
    return environment
