"""Reports from lake and ledger: of a run that has just ended, or of any window."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from tasks.alerts.explain import lines_of
from tasks.core.alert_report import IncidentLine
from tasks.core.artifact import Artifact, artifact_key, page_artifact
from tasks.core.batch import Batch, count_values
from tasks.core.errors import ReportNotWritten
from tasks.core.measurement import Measurement
from tasks.core.receipt import MeasurementReceipt, Outcome, Receipt, Values, write_receipt
from tasks.core.self_metrics import SELF_METRICS, self_measurement
from tasks.core.verdict import Verdict
from tasks.core.window import Window
from tasks.lake.history import means
from tasks.lake.tables import Lake
from tasks.ledger.incidents import incidents_in
from tasks.ledger.ledger import Ledger
from tasks.reports.changes import changes_of
from tasks.reports.comparison import shifts_of
from tasks.reports.events import events_of
from tasks.reports.page import markdown, write
from tasks.reports.records import Means, MeasurementSection, ReportFiles, RunReport
from tasks.reports.words import REPORT
from tasks.runs.base.plan import Plan, Request, covered_window, make_report_plan
from tasks.runs.base.run import Run
from tasks.validation.limits import limits_of
from tasks.validation.validate import validate

NOTHING_LANDED = "the lake has no values in this window"
CHECKED_AS_LANDED = (
    "This report was built from the lake: the checks ran over landed values, without those in "
    "quarantine."
)


@dataclass(frozen=True)
class Report:
    """A written report and its parts for Prefect."""

    files: ReportFiles
    markdown: str


@dataclass(frozen=True)
class Held:
    """Landed rows and quarantine records of a measurement in a window."""

    frame: pd.DataFrame
    quarantine: pd.DataFrame


def report_run(run: Run, plan: Plan, receipt: Receipt) -> None:
    """Write the report of a run that has just ended; a failure is a failed delivery."""
    window = covered_window(plan, run.outcomes)
    receipt = receipt.model_copy(update={"deliveries": tuple(run.deliveries)})
    with run.delivery("report") as problems:
        written = write_report(run, plan, window, receipt, read_lake(plan, window))
        problems += written.files.broken
        run.is_partial |= bool(written.files.broken)
        run.report = str(written.files.html)
        link = run.settings.report_link(written.files.html)
        run.artifacts += _artifacts(written, receipt, link)


def _artifacts(written: Report, receipt: Receipt, link: str | None) -> tuple[Artifact, ...]:
    key = artifact_key(receipt.flow, receipt.environment)
    return (
        Artifact("markdown", f"{key}-summary", written.markdown),
        Artifact("table", f"{key}-measurements", [_row(line) for line in receipt.measurements]),
        page_artifact(written.files.html, link, f"{key}-report", "The report"),
        Artifact("image", f"{key}-chart", written.files.chart),
    )


def _row(line: MeasurementReceipt) -> dict[str, str | int]:
    return {
        "measurement": line.name,
        "state": line.state,
        "landed": line.values.landed,
        "quarantined": line.values.quarantined,
        "worst": (line.verdict or {}).get("worst") or "",
    }


def read_lake(plan: Plan, window: Window) -> dict[str, Held]:
    """Read the rows and records of each measurement of the plan."""
    lake, environment = Lake(plan.settings.lake_url), plan.environment.name
    return {
        entry.name: Held(
            lake.read(entry, environment, window), lake.quarantined(entry.name, environment, window)
        )
        for entry in plan.measurements
    }


def write_report(
    run: Run, plan: Plan, window: Window, receipt: Receipt, held: Mapping[str, Held]
) -> Report:
    """Write the report's files into the plan's folder, compared with earlier runs.

    Raises ReportNotWritten, LakeDamaged, LedgerUnavailable.
    """
    sections = _sections(plan, window, receipt, run.outcomes, held, run.ledger)
    sections += _own_section(plan, window, receipt)
    report = RunReport(
        receipt=receipt,
        generated_at=datetime.now(run.settings.timezone),
        sections=sections,
        notes=receipt.remarks,
        changes=changes_of(receipt, run.receipts_before),
        incidents=_incidents(run, window),
    )
    try:
        return Report(files=write(report, plan.output), markdown=markdown(report))
    except OSError as error:
        problem = error.strerror or str(error)
        raise ReportNotWritten(folder=plan.output, problem=problem) from error


def _incidents(run: Run, window: Window) -> tuple[IncidentLine, ...]:
    """Return the environment's incidents that were open in the window, the gravest first."""
    found = incidents_in(run.ledger, window)
    return lines_of([one for one in found if one.newest.environment == run.environment.name], {})


def report(run: Run, request: Request) -> Receipt:
    """Build the report of a window from the lake alone; nothing is collected or sent.

    The receipt's sums are the lake's values. Its status is no_data when there are none.
    """
    started = time.perf_counter()
    plan = make_report_plan(run, request)
    window = covered_window(plan, ())
    held = read_lake(plan, window)
    run.outcomes += [_outcome(entry, held[entry.name], plan, window) for entry in plan.measurements]
    receipt = write_receipt(
        flow=REPORT,
        run_id=plan.run_id,
        environment=plan.environment.name,
        window=window,
        outcomes=run.outcomes,
        seconds={"read_and_check": time.perf_counter() - started},
        places=run.settings.places,
        notes=(CHECKED_AS_LANDED,),
        at=run.now.astimezone(run.settings.timezone),
    )
    files = write_report(run, plan, window, receipt, held).files
    more: dict[str, Any] = {"report": str(files.html), "notes": (*receipt.notes, *files.broken)}
    return receipt.model_copy(update=more | ({"status": "degraded"} if files.broken else {}))


def _outcome(entry: Measurement, held: Held, plan: Plan, window: Window) -> Outcome:
    landed = count_values(held.frame, entry)
    quarantined = int(held.quarantine["field"].notna().sum())
    if not landed and held.quarantine.empty:
        return Outcome(measurement=entry.name, state="no_data", warnings=(NOTHING_LANDED,))
    verdicts: tuple[Verdict, ...] = ()
    if len(held.frame):
        batch = Batch(entry, plan.environment.name, window, held.frame)
        verdicts = (validate(batch, plan.suites[entry.name]).verdict,)
    return Outcome(
        measurement=entry.name,
        state="landed",
        rows=len(held.frame),
        values=Values(landed + quarantined, landed, quarantined),
        verdicts=verdicts,
    )


def _sections(
    plan: Plan,
    window: Window,
    receipt: Receipt,
    outcomes: Iterable[Outcome],
    held: Mapping[str, Held],
    ledger: Ledger,
) -> tuple[MeasurementSection, ...]:
    lines = {line.name: line for line in receipt.measurements}
    verdicts = {o.measurement: o.verdicts[0] for o in outcomes if o.verdicts}
    lake, cell = Lake(plan.settings.lake_url), plan.settings.pipeline.cell
    return tuple(
        MeasurementSection(
            measurement=entry,
            frame=held[entry.name].frame,
            quarantine=held[entry.name].quarantine,
            verdict=verdicts.get(entry.name),
            line=lines[entry.name],
            limits=limits_of(plan.suites[entry.name]),
            earlier=_earlier(lake, entry, receipt.environment, window, held[entry.name]),
            events=events_of(ledger.cells(entry.name, receipt.environment, window), window, cell),
        )
        for entry in plan.measurements
    )


def _own_section(plan: Plan, window: Window, receipt: Receipt) -> tuple[MeasurementSection, ...]:
    """Summarise fedvitals's own runs in the window, beside the receipt's sums."""
    entry, lake = self_measurement(), Lake(plan.settings.lake_url)
    # the run itself stands at the very end of its window
    until = Window(window.start, window.stop + timedelta(microseconds=1))
    frame = lake.read(entry, receipt.environment, until)
    if frame.empty or entry in plan.measurements:
        return ()
    held = Held(frame, lake.quarantined(SELF_METRICS, receipt.environment, until))
    batch = Batch(entry, receipt.environment, until, frame)
    verdict = validate(batch, plan.suites[SELF_METRICS]).verdict
    landed = count_values(frame, entry)
    line = MeasurementReceipt(
        name=SELF_METRICS,
        state="landed",
        rows=len(frame),
        values=Values(extracted=landed, landed=landed),
        verdict=verdict.short(),
        failing=tuple(check.check_id for check in verdict.failed),
    )
    limits = limits_of(plan.suites[SELF_METRICS])
    earlier = _earlier(lake, entry, receipt.environment, window, held)
    return (MeasurementSection(entry, frame, held.quarantine, verdict, line, limits, earlier),)


def _earlier(lake: Lake, entry: Measurement, environment: str, window: Window, held: Held) -> Means:
    """Return the means to compare the window with; none for a window without values."""
    if held.frame.empty:
        return {}
    shifts = shifts_of(window.length)
    shifted = {each: Window(window.start - each, window.stop - each) for each in shifts}
    return means(lake, entry, environment, shifted)
