"""Summary of a run on the command line, as text or JSON, and its exit code."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from flows.commands.show import print_clean, shown_report
from tasks.core.run_id import moment_of
from tasks.core.units import counted
from tasks.core.window import format_duration, iso

if TYPE_CHECKING:
    from tasks.core.finding import Finding
    from tasks.core.health_report import HealthReport
    from tasks.core.maintenance import LedgerUpkeep, Maintenance, TableUpkeep
    from tasks.core.receipt import MeasurementReceipt, Receipt
    from tasks.core.reconciliation import CellDifference, Reconciliation
    from tasks.core.settings import Settings

MOST_LINES = 40
MOST_NAMES = 3
_GOOD = ("landed", "unchanged", "no_data")
_COLUMNS = f"{'state':<9} {'cells':>6} {'lake':>10} {'sink':>10} {'differ':>7} {'fixed':>7}"


def finish(receipt: "Receipt", as_json: bool, verbose: bool = False) -> NoReturn:
    """Print the receipt and exit with its exit code."""
    from tasks.core.settings import load_settings

    if as_json:
        print_clean(receipt.model_dump_json(indent=2))
    else:
        print_clean(summary(receipt, load_settings(), verbose))
    raise typer.Exit(int(receipt.exit_code))


def summary(receipt: "Receipt", settings: "Settings | None" = None, verbose: bool = False) -> str:
    """Return the receipt in a few lines; with settings, including the report's URL."""
    details = _DETAILS.get(type(receipt.details).__name__)
    # of a run with details, what was landed is the lesser part
    has_none = "nothing new landed" if details else "no data"
    work = has_none if receipt.status == "no_data" else f"work {receipt.status}"
    data = f", data {receipt.worst.value}" if receipt.worst else ""
    about = f"{receipt.flow} {receipt.run_id} in {receipt.environment}"
    lines = [receipt.sentence, f"run      {about}: {work}{data}"]
    if receipt.window:
        lines.append(window_line(receipt, settings))
    lines += details(receipt.details) if details else _values(receipt, settings, verbose)
    lines += [f"note     {note}" for note in receipt.remarks if note not in receipt.sentence]
    if receipt.report is not None:
        lines.append(f"report   {shown_report(receipt.report, settings)}")
    elif receipt.flow == "collect" and receipt.is_idle:
        lines.append("report   none: nothing changed (make one with fedvitals report)")
    elif receipt.flow == "federated" and all(each.ok for each in receipt.deliveries):
        lines.append("report   skipped: no new training data (write one with --output)")
    return "\n".join(lines)


def window_line(receipt: "Receipt", settings: "Settings | None") -> str:
    """Return the line on a receipt's window, in the configured time zone."""
    zone = settings.timezone if settings else UTC
    moments = (datetime.fromisoformat(text) for text in (receipt.window or {}).values())
    return f"window   {' to '.join(iso(each, zone) for each in moments)}"


def _values(receipt: "Receipt", settings: "Settings | None", verbose: bool) -> list[str]:
    values, lines = receipt.values, []
    if receipt.flow != "replay":
        lines.append(
            f"values   {values.extracted} extracted: {values.landed} landed, "
            f"{values.quarantined} quarantined, {values.dropped_by_rule} dropped by rule, "
            f"{values.unchanged} unchanged; {values.retained} retained"
            + (f", {values.erased} erased" if values.erased else "")
        )
    for name, counts in receipt.sinks.items():
        lines.append(
            f"{name:<8} {counts.owed} owed: {counts.loaded} loaded, {counts.pending} pending, "
            f"{counts.refused} refused, {counts.skipped_by_rule} skipped by rule"
        )
    return [*lines, *_measurements(receipt, verbose), *_without_data(receipt, settings)]


def _measurements(receipt: "Receipt", verbose: bool) -> list[str]:
    """Return a line for measurements that are not good, and the number of the others."""
    from tasks.core.sentence import worst_first

    checks = {each.evidence.get("measurement"): each for each in reversed(worst_first(receipt))}
    alike: dict[tuple[str, tuple[str, ...], str], list[str]] = {}
    others: list[str] = []
    for line in receipt.measurements:
        texts = (*line.problems, *line.warnings)
        is_good = line.state in _GOOD and not texts and line.name not in checks
        if is_good and not line.values.quarantined and not verbose:
            others.append(line.state)
            continue
        # those with the same text share it
        key = (_about(line, checks.get(line.name)), texts, "" if texts else line.name)
        alike.setdefault(key, []).append(line.name)
    labels = [_several(names) for names in alike.values()]
    width, lines = _widest(labels), []
    for label, (about, texts, _) in zip(labels, alike, strict=True):
        lines.append(f"  {label:<{width}}  {about}")
        lines += [f"    {text}" for text in texts]
    return [*lines, *_others(others, "other" if lines else "measurement")]


def _several(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _widest(names: Iterable[str]) -> int:
    return max(map(len, names), default=0)


def _others(states: list[str], noun: str) -> list[str]:
    empty = states.count("no_data")
    good = len(states) - empty
    parts = [f"{counted(good, noun)} good"] if good else []
    parts += [f"{empty} without data"] if empty else []
    return [f"  {', '.join(parts)}"] if parts else []


def _about(line: "MeasurementReceipt", check: "Finding | None") -> str:
    """Return a measurement's state and counts, and its worst failed check."""
    values = line.values
    parts = [] if line.state == "landed" else [line.state.replace("_", " ")]
    parts += [f"{values.landed} landed"] if line.state == "landed" or values.landed else []
    parts += [f"{values.quarantined} quarantined"] if values.quarantined else []
    if check is None:
        return ", ".join(parts)
    more = f" and {len(line.failing) - 1} more" if len(line.failing) > 1 else ""
    return f"{', '.join(parts)}: {check.evidence['check']} ({check.severity}){more}"


def _without_data(receipt: "Receipt", settings: "Settings | None") -> list[str]:
    """Return until when a run without data asked, and what to do."""
    if receipt.status != "no_data" or receipt.window is None or settings is None:
        return []
    delay = settings.pipeline.settle_delay
    stop, began = datetime.fromisoformat(receipt.window["stop"]), moment_of(receipt.run_id)
    asked = min(stop, began - delay) if began else stop
    return [
        f"no data  asked for values up to {iso(asked, settings.timezone)}; a run leaves out the last "
        f"{format_duration(delay)} (settle_delay). Fix: if values are younger, collect again later; "
        "if older, name a --start; to test the queries: fedvitals catalogue --live"
    ]


def _reconciliation(found: "Reconciliation") -> list[str]:
    """Return a line a measurement, followed by its first differing cells."""
    left, shown = MOST_LINES, [line for line in found.measurements if line.cells or line.problems]
    width = _widest(["measurement", *(line.name for line in shown)])
    lines = [f"compared with {found.sink}", f"  {'measurement':<{width}}  {_COLUMNS}"]
    for line in shown:
        lines.append(
            f"  {line.name:<{width}}  {line.state:<9} {line.cells:>6} {line.lake_values:>10} "
            f"{line.sink_values:>10} {line.differing:>7} {line.fixed:>7}"
        )
        lines += [f"    {problem}" for problem in line.problems]
        cells = [each for each in found.differences if each.measurement == line.name]
        lines += [f"    {_cell(each)}" for each in cells[:left]]
        left -= min(left, len(cells))
    hidden = max(0, len(found.differences) - MOST_LINES)
    if hidden:
        lines.append(f"{hidden} more cells differ: --json lists them all")
    if not shown:
        lines.append("both sides are empty")
    return lines


def _cell(each: "CellDifference") -> str:
    why = ", ".join(f"{count} {reason}" for reason, count in each.reasons.items())
    what = "; fixed" if each.fixed else ""
    return f"{each.start}  lake {each.lake.count}, sink {each.sink.count}: {why}{what}"


def _maintenance(maintained: "Maintenance") -> list[str]:
    width, lines = _widest(table.name for table in maintained.tables), []
    for table in maintained.tables:
        lines.append(f"  {table.name:<{width}}  {table.state:<8} {_table(table)}")
        lines += [f"    {problem}" for problem in table.problems]
    lines.append(f"ledger   {_ledger(maintained.ledger)}")
    lines += [f"    {problem}" for problem in maintained.ledger.problems]
    reports = maintained.reports
    gone = f"; removed: {reports.removed}, {reports.bytes_removed} bytes" if reports.removed else ""
    lines.append(f"reports  {reports.state}, {reports.retained} retained{gone}")
    lines += [f"    {problem}" for problem in reports.problems]
    return lines


def _table(table: "TableUpkeep") -> str:
    expired = {
        "rows": table.rows_expired,
        "of quarantine": table.quarantine_expired,
        "cells": table.cells_expired,
    }
    gone = ", ".join(f"{count} {what}" for what, count in expired.items() if count)
    return (
        f"{table.files_before} → {table.files_after} files, "
        f"{table.bytes_before} → {table.bytes_after} bytes"
        f"{f'; expired: {gone}' if gone else ''}"
    )


def _ledger(ledger: "LedgerUpkeep") -> str:
    kept = f"backup {ledger.backup}" if ledger.backup else "no backup"
    removed = {
        "backups": ledger.backups_removed,
        "receipts": ledger.runs_removed,
        "pages": ledger.pages_removed,
        "proofs of suites": ledger.suites_removed,
        "samples and states of health": ledger.health_removed,
    }
    gone = ", ".join(f"{count} {what}" for what, count in removed.items() if count)
    return f"{ledger.state}, {kept}{f'; removed: {gone}' if gone else ''}"


def _health(report: "HealthReport") -> list[str]:
    checks = {**report.api_health, **report.pushed_checks}
    width = _widest(checks)
    lines = [
        f"  {name:<{width}}  {one.state:<8} {one.status}"
        + ("" if one.response_time is None else f", {one.response_time:.3f} s")
        + (f": {one.error}" if one.error else "")
        for name, one in checks.items()
    ]
    host, training = report.system_resources, report.federated_learning
    names = ("cpu", "memory", "disk")
    figures = ((name, getattr(host, f"{name}_percent")) for name in names)
    measured = ", ".join(f"{n} {value:.0f} %" for n, value in figures if value is not None)
    lines.append(f"host     {host.source}{f': {measured}' if measured else ''}")
    about = training.error or (training.state and f"{training.state}, round {training.round}")
    return [*lines, f"training {about or 'not checked'}"]


_DETAILS: dict[str, Callable[[Any], list[str]]] = {
    "AlertsReport": lambda found: [f"  {each.severity} {each.alert}" for each in found.open],
    "HealthReport": _health,
    "Reconciliation": _reconciliation,
    "Maintenance": _maintenance,
    "SloReport": lambda found: [f"  {each.sentence}" for each in (*found.slos, *found.runs_out)],
}
