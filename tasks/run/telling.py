"""What a run leaves behind in Prefect: its artifacts and its final state."""

import base64
import re
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

if TYPE_CHECKING:
    from tasks.reports.convergence import ConvergenceFiles
    from tasks.reports.convergence_records import RunSection
    from tasks.run.reporting import Report

# Prefect stores larger ones, and then refuses their event
MOST_IMAGE_BYTES = 48_000


def publish_artifacts(report: "Report", receipt: Receipt) -> None:
    """Puts a summary, a table, a picture and a link to the report beside the flow run in Prefect."""
    if runtime.flow_run.id is None:
        return
    key = re.sub(r"[^a-z0-9]+", "-", f"{receipt.flow}-{receipt.environment}".lower())
    create_markdown_artifact(report.markdown, key=f"{key}-summary")
    create_table_artifact(
        [_row(receipt, n) for n in range(len(receipt.measurements))], key=f"{key}-measurements"
    )
    create_link_artifact(report.files.html.as_uri(), key=f"{key}-report", link_text="The report")
    _publish_picture(report.files.chart, f"{key}-chart")


def publish_convergence(section: "RunSection", files: "ConvergenceFiles", environment: str) -> None:
    """Puts a training's verdict, its numbers, its curve and a link to the report beside the flow run."""
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
    create_link_artifact(files.html.as_uri(), key=f"{key}-report", link_text="Convergence report")
    _publish_picture(files.chart, f"{key}-chart")


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
