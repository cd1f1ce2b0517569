"""What a run leaves behind in Prefect: its artifacts and its final state."""

import base64
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import runtime
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from tasks.core.receipt import Receipt
from tasks.core.settings import Settings

if TYPE_CHECKING:
    from tasks.reports.convergence import ConvergenceFiles
    from tasks.reports.convergence_records import RunSection
    from tasks.run.reporting import Report

# Prefect stores larger ones, and then refuses their event
MOST_IMAGE_BYTES = 48_000


def publish_artifacts(report: "Report", receipt: Receipt, settings: Settings) -> None:
    """Publish a report's summary, table, picture and link as artifacts."""
    if runtime.flow_run.id is None:
        return
    key = re.sub(r"[^a-z0-9]+", "-", f"{receipt.flow}-{receipt.environment}".lower())
    create_markdown_artifact(report.markdown, key=f"{key}-summary")
    create_table_artifact(
        [_row(receipt, n) for n in range(len(receipt.measurements))], key=f"{key}-measurements"
    )
    _publish_link(report.files.html, settings, f"{key}-report", "The report")
    _publish_picture(report.files.chart, f"{key}-chart")


def publish_convergence(
    section: "RunSection", files: "ConvergenceFiles", environment: str, settings: Settings
) -> None:
    """Publish a training's verdict, numbers, curve and link as artifacts."""
    if runtime.flow_run.id is None:
        return
    from tasks.reports.convergence import markdown

    key = re.sub(r"[^a-z0-9]+", "-", f"convergence-{environment}".lower())
    create_markdown_artifact(markdown(section, environment), key=f"{key}-summary")
    rows = [
        {"number": n.label, "value": n.value or "–", "interval": n.interval or n.why_not or ""}
        for n in section.numbers
    ]
    create_table_artifact(rows, key=f"{key}-numbers")
    _publish_link(files.html, settings, f"{key}-report", "Convergence report")
    _publish_picture(files.chart, f"{key}-chart")


def _publish_link(page: Path, settings: Settings, key: str, name: str) -> None:
    """Publish a link to the page; its host and path where no web server shows it."""
    from tasks.reports.summary import code

    link = settings.report_link(page)
    if link is not None:
        create_link_artifact(link, key=key, link_text=name)
        return
    # browsers open no file:// link from a web page
    place = code(f"{socket.gethostname()}:{page.resolve()}")
    create_markdown_artifact(f"{name}: {place}\n", key=key)


def _publish_picture(path: Path, key: str) -> None:
    picture = path.read_bytes()
    if len(picture) <= MOST_IMAGE_BYTES:
        data = base64.b64encode(picture).decode()
        create_image_artifact(f"data:image/png;base64,{data}", key=key)


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
