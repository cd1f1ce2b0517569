"""The report as a short markdown text, for a Prefect artifact."""

import re

from tasks.core.artifact import code
from tasks.core.outside import shortened
from tasks.core.sentence import worst_first
from tasks.reports import words
from tasks.reports.changes import alike
from tasks.reports.records import RunReport

MOST_BYTES = 60_000  # an artifact may have 64 KB
MOST_CHECKS = 10
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&])")


def summary(report: RunReport) -> str:
    """Return the run's sentence, what is wrong, what changed, and the report's path."""
    receipt = report.receipt
    head = [
        f"# {plain(receipt.sentence)}",
        f"{plain(receipt.environment)} · {words.window_text(report.window, report.zone)} · run {code(receipt.run_id)}",
        f"Report: {code(receipt.report)}" if receipt.report else "",
        *(f"- {plain(note)}" for note in report.notes),
        _worst(report),
        _changed(report),
    ]
    text = "\n\n".join(part for part in head if part) + "\n"
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


def _worst(report: RunReport) -> str:
    rows = [
        f"- **{each.severity.value}** {plain(each.sentence)}"
        for each in worst_first(report.receipt)[:MOST_CHECKS]
    ]
    return "\n".join(["## What is wrong", "", *rows]) if rows else ""


def plain(text: str) -> str:
    """Escape external text as one line that markdown and HTML leave alone."""
    return _SPECIAL.sub(r"\\\1", shortened(text))
