"""What a run leaves behind for people: its report, its Prefect artifacts, its final state."""

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from prefect import runtime
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from tasks.core.errors import ReportNotWritten
from tasks.core.receipt import Outcome, Receipt
from tasks.core.window import Window
from tasks.lake.tables import Lake
from tasks.plan import Plan
from tasks.reports.page import markdown, write
from tasks.reports.records import MeasurementSection, ReportFiles, RunReport
from tasks.validation.limits import limits_of

# Prefect stores larger ones, and then refuses their event
MOST_IMAGE_BYTES = 48_000


@dataclass(frozen=True)
class Report:
    """A written report and what of it goes to Prefect."""

    files: ReportFiles
    markdown: str


def write_report(
    plan: Plan, window: Window, receipt: Receipt, outcomes: tuple[Outcome, ...]
) -> Report:
    """Reads the window from the lake and writes the report's files into the plan's output folder.

    Raises:
        ReportNotWritten, LakeDamaged.
    """
    lake = Lake(plan.settings.lake_url)
    lines = {line.name: line for line in receipt.measurements}
    verdicts = {o.measurement: o.verdicts[0] for o in outcomes if o.verdicts}
    sections = tuple(
        MeasurementSection(
            measurement=entry,
            frame=lake.read(entry, receipt.environment, window),
            quarantine=lake.quarantined(entry.name, receipt.environment, window),
            verdict=verdicts.get(entry.name),
            line=lines[entry.name],
            limits=limits_of(plan.suites[entry.name]),
        )
        for entry in plan.measurements
    )
    report = RunReport(receipt=receipt, generated_at=datetime.now(UTC), sections=sections)
    try:
        return Report(files=write(report, plan.output), markdown=markdown(report))
    except OSError as error:
        problem = error.strerror or str(error)
        raise ReportNotWritten(folder=plan.output, problem=problem) from error


def publish_artifacts(report: Report, receipt: Receipt) -> None:
    """Puts a summary, a table, a picture and a link to the report beside the flow run in Prefect."""
    if runtime.flow_run.id is None:
        return
    key = re.sub(r"[^a-z0-9]+", "-", f"{receipt.flow}-{receipt.environment}".lower())
    create_markdown_artifact(report.markdown, key=f"{key}-summary")
    create_table_artifact(
        [_row(receipt, n) for n in range(len(receipt.measurements))], key=f"{key}-measurements"
    )
    create_link_artifact(report.files.html.as_uri(), key=f"{key}-report", link_text="The report")
    picture = report.files.chart.read_bytes()
    if len(picture) <= MOST_IMAGE_BYTES:
        data = base64.b64encode(picture).decode()
        create_image_artifact(f"data:image/png;base64,{data}", key=f"{key}-chart")


def _row(receipt: Receipt, position: int) -> dict[str, str | int]:
    line = receipt.measurements[position]
    return {
        "measurement": line.name,
        "state": line.state,
        "landed": line.values.landed,
        "quarantined": line.values.quarantined,
        "worst": (line.verdict or {}).get("worst") or "",
    }


def _message(receipt: Receipt) -> str:
    parts = [
        f"{receipt.values.landed} values landed, {receipt.values.quarantined} quarantined",
        *(
            f"{name}: {counts.loaded} loaded, {counts.pending} pending, {counts.refused} refused"
            for name, counts in receipt.sinks.items()
        ),
    ]
    failed = [line.name for line in receipt.measurements if line.state == "failed"]
    return "; ".join([*parts, f"failed: {', '.join(failed)}"] if failed else parts)


def final_state(receipt: Receipt) -> State[Receipt]:
    """The flow run's state: Failed when nothing landed by error, a Completed named Degraded when
    something is bad or pending, else Completed."""
    message = _message(receipt)
    if receipt.status == "failed":
        problems = [p for line in receipt.measurements for p in line.problems]
        return Failed(
            message=f"nothing landed: {problems[0] if problems else message}", data=receipt
        )
    if receipt.status == "degraded":
        return Completed(name="Degraded", message=message, data=receipt)
    return Completed(message=message, data=receipt)
