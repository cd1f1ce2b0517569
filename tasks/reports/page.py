"""The report of a run: a self-contained HTML page, and its JSON export."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Template

from tasks.core.errors import defect
from tasks.core.receipt import MeasurementReceipt, Receipt
from tasks.core.sentence import failures_of, worst_first
from tasks.core.units import human, in_scale, share, signed
from tasks.core.whole_file import replace_file, replace_json
from tasks.core.window import Window
from tasks.reports import multiples, words
from tasks.reports.changes import alike
from tasks.reports.charts import PANEL_VERTICES, Panel, panels_of, trend_of
from tasks.reports.drawing import panel_svg, png, sparkline
from tasks.reports.json_export import export_of
from tasks.reports.records import Limits, MeasurementSection, ReportFiles, RunReport, attention_of
from tasks.reports.series import Table, labels, table_of
from tasks.reports.summary import summary as markdown
from tasks.reports.templating import template

__all__ = ["Limits", "MeasurementSection", "ReportFiles", "RunReport", "markdown", "render"]
__all__ += ["export", "write"]

logger = logging.getLogger("fedvitals")

PAGE_VERTICES = 60_000  # points of all lines of a page together, about 0.7 MB
FEWEST_VERTICES = 150
MOST_PANELS = 90  # of good measurements; each is some KB even of few points


@dataclass(frozen=True)
class _Content:
    """Shared content of page, export and picture. Sections and tables in page order."""

    report: RunReport
    sections: tuple[MeasurementSection, ...]
    tables: list[Table]
    export: dict[str, Any]

    @property
    def window(self) -> Window:
        """Return the window of the charts: without earlier data, from the first ones on."""
        window = self.report.window
        both = zip(self.sections, self.tables, strict=True)
        theirs = [(one, table.times) for one, table in both if not one.measurement.is_own]
        firsts = [int(times.min()) for _, times in theirs if len(times)]
        has_past = any(means for one, _ in theirs for means in one.earlier.values())
        if has_past or self.report.receipt.flow == words.REPORT or not firsts:
            return window
        first = datetime.fromtimestamp(min(firsts) // 1_000_000, UTC)
        return Window(first, window.stop) if window.start < first < window.stop else window


def render(report: RunReport) -> str:
    """Return the page: deterministic UTF-8 text without scripts or external resources."""
    return _page(_content(report))


def export(report: RunReport) -> dict[str, Any]:
    """Return the page's numbers for json.dumps, in base units, times ISO 8601 in UTC."""
    return _content(report).export


def write(report: RunReport, folder: Path) -> ReportFiles:
    """Write the files atomically, the page last; raise OSError."""
    drawn = _drawn_without_broken(report)
    folder.mkdir(parents=True, exist_ok=True)
    parts = _by_type(drawn.content)
    by_type = {folder / f"{kind}-metrics.json": part for kind, part in parts.items()}
    made = ReportFiles(
        html=folder / "metrics-report.html",
        json=folder / "metrics-report.json",
        chart=folder / "chart.png",
        by_type=tuple(by_type),
        broken=drawn.broken,
    )
    replace_file(made.chart, drawn.picture)
    for path, document in {made.json: drawn.content.export, **by_type}.items():
        replace_json(path, document)
    replace_file(made.html, drawn.page.encode())
    return made


@dataclass(frozen=True)
class _Drawn:
    """The parts of a report, and why some of its measurements are shown without their data."""

    content: _Content
    picture: bytes
    page: str
    broken: tuple[str, ...] = ()


def _drawn(report: RunReport) -> _Drawn:
    content = _content(report)
    return _Drawn(content, _picture(content), _page(content))


def _drawn_without_broken(report: RunReport) -> _Drawn:
    """Draw the report; what a measurement's data break is drawn without them, and named."""
    try:
        return _drawn(report)
    # whose it is shows below; what is no measurement's is raised again there
    except Exception:
        logger.exception("the report cannot be drawn as a whole")
    problems = {
        section.measurement.name: _problem_of(report, section) for section in report.sections
    }
    sections = tuple(
        _emptied(section, problem) if (problem := problems[section.measurement.name]) else section
        for section in report.sections
    )
    broken = tuple(f"{name}: {problem}" for name, problem in problems.items() if problem)
    return replace(_drawn(replace(report, sections=sections)), broken=broken)


def _problem_of(report: RunReport, section: MeasurementSection) -> str:
    """Return why a measurement's data cannot be drawn; empty when they can."""
    try:
        _drawn(replace(report, sections=(section,)))
    # a defect in one measurement must not take the page of the others; the run ends as degraded
    except Exception as error:
        logger.exception("measurement=%s unexpected error", section.measurement.name)
        return f"its data cannot be shown: {defect(error)}"
    return ""


def _emptied(section: MeasurementSection, problem: str) -> MeasurementSection:
    line = section.line.model_copy(update={"problems": (*section.line.problems, problem)})
    frame, records = section.frame.iloc[:0], section.quarantine.iloc[:0]
    return MeasurementSection(section.measurement, frame, records, None, line)


def _by_type(content: _Content) -> dict[str, dict[str, Any]]:
    receipt, entries = content.export["receipt"], content.export["measurements"]
    about = {name: receipt[name] for name in ("flow", "run_id", "environment", "window")}
    about["generated_at"] = content.export["generated_at"]
    return {
        kind: {**about, "type": kind, "measurements": [e for e in entries if e["type"] == kind]}
        for kind in dict.fromkeys(entry["type"] for entry in entries)
    }


def _content(report: RunReport) -> _Content:
    sections = report.ordered
    tables = [table_of(section.frame, section.measurement) for section in sections]
    return _Content(report, sections, tables, export_of(report, sections, tables))


def _panels(content: _Content, index: int) -> tuple[Panel, ...]:
    section = content.sections[index]
    drawn = sum(len(table.fields) for table in content.tables if table.series)
    vertices = min(PANEL_VERTICES, max(PAGE_VERTICES // max(drawn, 1), FEWEST_VERTICES))
    return panels_of(
        section.measurement,
        content.tables[index],
        section.quarantine,
        section.limits,
        content.window,
        vertices,
        section.events,
        content.report.zone,
    )


def _picture(content: _Content) -> bytes:
    """Draw the training curve if there is one, else the first measurement with data."""
    filled = [index for index, table in enumerate(content.tables) if table.series]
    measured = [section.measurement for section in content.sections]
    training = [index for index in filled if measured[index].type == "federated"]
    if not filled:
        return png((), content.report.receipt.environment, ())
    index = (training or filled)[0]
    title = (
        f"{measured[index].name} · {words.window_text(content.report.window, content.report.zone)}"
    )
    return png(_panels(content, index), title, labels(content.tables[index])[1])


def _page(content: _Content) -> str:
    report = content.report
    small = _small_lines(content)
    entries = [_entry(content, index, small) for index in range(len(content.tables))]
    fields = [
        field for entry in content.export["measurements"] for field in entry["fields"].values()
    ]
    return _template().render(
        report=report,
        receipt=report.receipt,
        failures=failures_of(report.receipt),
        findings=worst_first(report.receipt),
        alike=alike(report.changes, report.receipt) if report.changes else [],
        reported=content.export,
        changed=words.changes_sentence(report.receipt, report.changes, report.zone),
        compared=words.comparisons_sentence(fields),
        standing_out=_out_of_the_ordinary(content.export),
        lines=_overview(content),
        places={entry["name"] for entry in entries},
        entries=[each for each in entries if not _is_silent(each) and not _is_good(each)],
        good=[each for each in entries if _is_good(each)],
        silent=[entry for entry in entries if _is_silent(entry)],
    )


def _small_lines(content: _Content) -> int:
    """Return the number of small multiples a field may have, to keep the page small."""
    fields = sum(len(table.fields) for table in content.tables if table.oddness)
    share = multiples.MOST_OF_A_PAGE // max(fields, 1)
    return min(multiples.MOST_OF_A_FIELD, max(share, multiples.FEWEST_OF_A_FIELD))


def _out_of_the_ordinary(export: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the unusual comparisons: worse ones first, then by how far they are out."""
    found = [
        {"measurement": entry["name"], "field": name, "unit": field["unit"], **one}
        for entry in export["measurements"]
        for name, field in entry["fields"].items()
        for one in field["comparisons"]
        if one["judgement"] not in ("usual", "unknown")
    ]
    order = ("worse", "unusual", "better")
    return sorted(found, key=lambda one: (order.index(one["judgement"]), -_excess(one)))


def _excess(comparison: Mapping[str, Any]) -> float:
    """Return how many widths of the usual range a change is outside of it."""
    low, high = comparison["usual"]
    out = max(low - comparison["change"], comparison["change"] - high)
    return float(out / (high - low)) if high > low else math.inf


def _entry(content: _Content, index: int, small: int) -> dict[str, Any]:
    entry = content.export["measurements"][index]
    checks = (entry["verdict"] or {"checks": []})["checks"]
    failing = {check["column"] for check in checks if not check["success"]}
    panels = sorted(_panels(content, index), key=lambda panel: panel.field not in failing)
    before = sum(len(table.fields) for table in content.tables[: index + 1] if table.series)
    is_drawn = before <= MOST_PANELS or not _is_good(entry)
    return {
        **entry,
        "is_drawn": is_drawn,
        # ids repeat in every mark, so they are short
        "charts": [
            {"field": panel.field, "scale": panel.scale, "svg": None, "small": None}
            | (_chart(content, index, panel, small, f"g{index}_{i}") if is_drawn else {})
            for i, panel in enumerate(panels)
        ],
        "crossed": any(len(panel.crosses[0]) for panel in panels),
        "beyond": any(len(panel.beyond[0]) for panel in panels),
    }


def _chart(content: _Content, index: int, panel: Panel, most: int, prefix: str) -> dict[str, Any]:
    entry, table, name = content.export["measurements"][index], content.tables[index], panel.field
    label = words.field_sentence(name, entry["fields"][name], entry["series"]["count"])
    order, window = (
        multiples.ranked(table, name, most) if table.oddness else [],
        content.window,
    )
    small = multiples.multiples_of(table, name, window, order, prefix) if table.oddness else None
    return {"svg": panel_svg(panel, label, prefix), "small": small}


def _is_silent(entry: Mapping[str, Any]) -> bool:
    return entry["attention"] == "no_data" and not entry["quarantine"]["records"]


def _is_good(entry: Mapping[str, Any]) -> bool:
    return entry["attention"] in ("ok", "unchanged")


def _overview(content: _Content) -> list[dict[str, Any]]:
    """Return the receipt's lines in the page's order, linked to their sections."""
    entries = content.export["measurements"]
    places = {entry["name"]: place for place, entry in enumerate(entries)}
    lines = content.report.receipt.measurements
    return [
        {"line": line, **_place(content, line, places.get(line.name))}
        for line in sorted(lines, key=lambda line: places.get(line.name, -1))
    ]


def _place(content: _Content, line: MeasurementReceipt, index: int | None) -> dict[str, Any]:
    if index is None:
        return {"attention": attention_of(line), "linked": False}
    attention = content.export["measurements"][index]["attention"]
    return {"attention": attention, "linked": True, **_trend(content, index)}


def _trend(content: _Content, index: int) -> dict[str, Any]:
    """Return the trend of the failing field and its worst value, else of the first field."""
    table, entry = content.tables[index], content.export["measurements"][index]
    failing = _failing(content.report.receipt, entry["name"])
    worst = {"worst": failing["observed"]} if failing else {}
    filled = [name for name in table.fields if entry["fields"][name]["n"]]
    name = next((name for name in filled if failing and name == failing["field"]), None)
    if name is None and (failing or not filled):
        return {**worst, "field": failing["field"]} if failing else {}
    name = name or filled[0]
    means = trend_of(table.times, table.fields[name], content.window)
    return {"trend": sparkline(means), "field": name, "said": entry["fields"][name], **worst}


def _failing(receipt: Receipt, measurement: str) -> Mapping[str, Any] | None:
    """Return the evidence of a measurement's worst finding on a field."""
    found = (each.evidence for each in worst_first(receipt) if each.evidence.get("field"))
    return next((each for each in found if each["measurement"] == measurement), None)


@cache
def _template() -> Template:
    filters = {
        "human": human,
        "tags": words.tags_text,
        "checks": words.checks_sentence,
        "signed": signed,
        "share": share,
        "against": words.against,
        "usual": words.usual_text,
        "parts": words.change_parts,
        "event": words.event_text,
        "clock": words.clock,
        "sink": words.sink_name,
        "numbers": in_scale,
        "names": words.names_text,
    }
    names = ("window_text", "mood", "STATES", "NO_DATA")
    known = {name: getattr(words, name) for name in (*names, "JUDGEMENTS", "REPORT")}
    return template("report.html.j2", filters, known)
