"""The Prefect tasks of the flow federated, behind those that every flow of measurements has."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from prefect import get_run_logger

from tasks.analysis.oddities import oddities
from tasks.core.catalogue import Catalogue
from tasks.core.finding import Finding
from tasks.core.goal import Goal
from tasks.core.receipt import ExitCode, Receipt
from tasks.core.snapshots import Watched
from tasks.lake.tables import Lake
from tasks.run.plan import Plan
from tasks.run.staging import stage
from tasks.training.federating import watched
from tasks.training.files import documents, write_documents
from tasks.training.rounds import SOURCES_OF_ROUNDS


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


def stands_still(plan: Plan, receipt: Receipt, seen: Seen) -> bool:
    """Whether the poll was told nothing of the training that the one before was not, and all went
    well: the last report still tells all there is."""
    if receipt.is_idle:
        return True
    of_rounds = {m.name for m in plan.measurements if m.source in SOURCES_OF_ROUNDS}
    states = {line.state for line in receipt.measurements if line.name in of_rounds}
    polls = seen.watched.snapshots[-2:]
    if len(polls) < 2 or receipt.exit_code != ExitCode.GOOD:
        return False
    return states <= {"unchanged", "no_data"} and replace(polls[0], time=polls[1].time) == polls[1]


@stage("tell")
def tell(plan: Plan, receipt: Receipt, seen: Seen) -> Receipt:
    """Writes fl-progress.json, fl-participation.json and fl-privacy.json, and puts what is odd onto
    the receipt."""
    contents = documents(seen.watched, seen.findings, plan.environment.name)
    for path in write_documents(plan.output, contents):
        get_run_logger().info("written: %s", path)
    return _with_findings(receipt, seen.findings)


@stage("judge")
def judge(plan: Plan, receipt: Receipt, seen: Seen, goal: Goal) -> Receipt:
    """Writes the convergence report of the newest run and its JSON twin, publishes them as artifacts,
    and puts what they find onto the receipt."""
    # scipy and matplotlib are imported by a run with something to tell
    from tasks.run.telling import publish_convergence
    from tasks.training.convergence_report import section_of, write_convergence
    from tasks.training.converging import analyse_watched

    analysed = analyse_watched(seen.watched, goal)
    if analysed is None:
        return receipt
    files = write_convergence([analysed], (), plan.output, plan.environment.name)
    get_run_logger().info("written: %s", files.html)
    publish_convergence(section_of(analysed), files, plan.environment.name, plan.settings)
    return _with_findings(receipt, analysed.analysis.findings)


def _with_findings(receipt: Receipt, found: Sequence[Finding]) -> Receipt:
    told = receipt.with_findings(found)
    for note in told.notes[len(receipt.notes) :]:
        get_run_logger().warning(note)
    return told
