"""The report as a short markdown text, for a Prefect artifact."""

import re
from dataclasses import asdict

from tasks.core.artifact import code
from tasks.core.receipt import MeasurementReceipt
from tasks.core.sentence import worst_first
from tasks.reports import words
from tasks.reports.changes import alike
from tasks.reports.records import RunReport

MOST_BYTES = 60_000  # an artifact may have 64 KB
MOST_CHECKS = 10
MOST_LINES = 200
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&])")
_LONGEST = 300


def summary(report: RunReport) -> str:
    """Summarise status, sums, measurements and worst verdicts, with the report."""
    receipt = report.receipt
    head = [
        f"# {plain(receipt.sentence)}",
        f"{plain(receipt.environment)} · {words.window_text(report.window, report.zone)} · run {code(receipt.run_id)}",
        f"Report: {code(receipt.report)}" if receipt.report else "",
        *(f"- {plain(note)}" for note in report.notes),
        _worst(report),
        _changed(report),
    ]
    parts = [*head, _table(report), _sums(report)]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return text.encode()[:MOST_BYTES].decode(errors="ignore")


def _changed(report: RunReport) -> str:
    if report.changes is None:
        return ""
    lines = [
        f"- **{plain(words.names_text(names))}**: {plain(text)}"
        for names, text in alike(report.changes, report.receipt)[:MOST_CHECKS]
    ]
    return "\n".join(
        [plain(words.changes_sentence(report.receipt, report.changes, report.zone)), "", *lines]
    )


def _sums(report: RunReport) -> str:
    values = report.receipt.values
    rows = [f"| {name.replace('_', ' ')} | {count:,} |" for name, count in asdict(values).items()]
    return "\n".join(["| values | number |", "|---|---:|", *rows])


def _table(report: RunReport) -> str:
    ordered = [section.line for section in report.ordered]
    named = {line.name for line in ordered}
    lines = [line for line in report.receipt.measurements if line.name not in named] + ordered
    rows = [_row(line) for line in lines[:MOST_LINES]]
    left = len(lines) - len(rows)
    more = [f"\nand {left:,} more"] if left else []
    head = ["| measurement | state | landed | quarantined | failed checks |"]
    head += ["|---|---|---:|---:|---|"]
    return "\n".join([*head, *rows, *more]) if rows else ""


def _row(line: MeasurementReceipt) -> str:
    failed = (line.verdict or {}).get("failed") or 0
    checks = (
        f"{failed} ({(line.verdict or {})['worst']})" if failed else "0" if line.verdict else "–"
    )
    return (
        f"| {plain(line.name)} | {words.STATES[line.state]} | {line.values.landed:,} "
        f"| {line.values.quarantined:,} | {checks} |"
    )


def _worst(report: RunReport) -> str:
    rows = [
        f"- **{each.severity.value}** {plain(each.sentence)}"
        for each in worst_first(report.receipt)[:MOST_CHECKS]
    ]
    return "\n".join(["## What is wrong", "", *rows]) if rows else ""


def plain(text: str) -> str:
    """Escape external text as one line that markdown and HTML leave alone."""
    line = " ".join(text.split())
    return _SPECIAL.sub(r"\\\1", line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…")
