"""The Prefect tasks of the flow federated, behind those that every flow of measurements has."""

from collections.abc import Sequence
from dataclasses import dataclass

from prefect import get_run_logger

from tasks.analysis.oddities import oddities
from tasks.core.catalogue import Catalogue
from tasks.core.finding import Finding
from tasks.core.receipt import Receipt
from tasks.core.severity import Severity
from tasks.core.snapshots import Watched
from tasks.lake.tables import Lake
from tasks.run.plan import Plan
from tasks.run.staging import stage
from tasks.training.federating import watched
from tasks.training.files import documents, write_documents

BAD = ("collapsed", "diverging")


@dataclass(frozen=True)
class Seen:
    """The service's trainings as the lake has them, and what is odd about the newest."""

    watched: Watched
    findings: tuple[Finding, ...]


@stage("look")
def look(plan: Plan) -> Seen:
    """Reads all trainings of the environment back, and looks for what does not fit."""
    catalogue = Catalogue.read(plan.settings.config / "metrics.yaml")
    found = watched(Lake(plan.settings.lake_url), plan.environment.name, catalogue)
    return Seen(found, tuple(oddities(found)))


@stage("tell")
def tell(plan: Plan, receipt: Receipt, seen: Seen) -> Receipt:
    """Writes fl-progress.json, fl-participation.json and fl-privacy.json, and puts what is odd, but
    for what is merely worth knowing, into the receipt's notes."""
    contents = documents(seen.watched, seen.findings, plan.environment.name)
    for path in write_documents(plan.output, contents):
        get_run_logger().info("written: %s", path)
    notes = _notes(seen.findings)
    for note in notes:
        get_run_logger().warning(note)
    return receipt.model_copy(update={"notes": (*receipt.notes, *notes)})


@stage("judge")
def judge(plan: Plan, receipt: Receipt, seen: Seen) -> Receipt:
    """Writes the convergence report of the newest run and its JSON twin, publishes them as artifacts,
    and puts a run that has collapsed or diverges into the receipt's notes."""
    # scipy and matplotlib are imported by a run with something to tell
    from tasks.run.telling import publish_convergence
    from tasks.training.convergence_report import section_of, write_convergence
    from tasks.training.converging import analyse_watched

    analysed = analyse_watched(seen.watched)
    if analysed is None:
        return receipt
    files = write_convergence([analysed], (), plan.output, plan.environment.name)
    get_run_logger().info("written: %s", files.html)
    section = section_of(analysed)
    publish_convergence(section, files, plan.environment.name)
    if analysed.analysis.verdict.kind not in BAD:
        return receipt
    note = f"{section.name}: {section.sentence}"
    get_run_logger().warning(note)
    return receipt.model_copy(update={"notes": (*receipt.notes, note)})


def _notes(findings: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(f.sentence for f in findings if f.severity is not Severity.INFO)
