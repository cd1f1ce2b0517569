"""The run `federated`: a training's new rounds, and its convergence."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from tasks.analysis.oddities import oddities
from tasks.core.catalogue import Catalogue
from tasks.core.clocks import CLOCK
from tasks.core.finding import CHECK, Finding
from tasks.core.goal import Goal
from tasks.core.receipt import Outcome, Receipt
from tasks.core.severity import Severity
from tasks.core.snapshots import Watched
from tasks.runs.base.collecting import collect_by_source
from tasks.runs.base.deliver import deliver
from tasks.runs.base.plan import Plan, Request, covered_window, make_plan
from tasks.runs.base.registry import source
from tasks.runs.base.run import Run
from tasks.runs.base.self_metrics import land_self_metrics
from tasks.runs.base.step import Step, plain
from tasks.training.files import documents, write_documents
from tasks.training.history import watched


@dataclass(frozen=True)
class FederatedRequest:
    """Options to judge a training by; environments.yaml has the defaults."""

    target: str | None = None
    metric: Literal["accuracy", "loss"] | None = None
    total_rounds: int | None = None
    output: str | None = None


@dataclass(frozen=True)
class Seen:
    """The service's trainings in the lake, and anomalies of the newest."""

    watched: Watched
    findings: tuple[Finding, ...]


def federated(run: Run, request: FederatedRequest, step: Step = plain) -> Receipt:
    """Collect a training's rounds, find anomalies, judge whether it converges."""
    goal = run.settings.training.with_options(request.metric, request.target, request.total_rounds)
    plan = step("plan", make_plan)(run, Request(type="federated", output=request.output))
    collect_by_source(run, plan, step)
    seen = step("find anomalies", look)(run, plan)
    has_news = bool(request.output) or not stands_still(plan, run.outcomes, seen)
    if has_news:
        step("judge convergence", judge)(run, plan, seen, goal)
    else:
        run.findings += findings_before(run)
    receipt = step("account", run.account)(covered_window(plan, run.outcomes))
    step("self metrics", land_self_metrics)(run, receipt)
    if has_news:
        from tasks.runs.base.report import report_run

        step("report", report_run)(run, plan, receipt)
    return step("deliver", deliver)(run, receipt)


def look(run: Run, plan: Plan) -> Seen:
    """Read all trainings of the environment back, and find anomalies."""
    catalogue = Catalogue.read(plan.settings.config / "metrics.yaml")
    found = watched(run.lake, plan.environment.name, catalogue)
    return Seen(found, tuple(oddities(found)))


def stands_still(plan: Plan, outcomes: Iterable[Outcome], seen: Seen) -> bool:
    """Return whether a good poll found nothing new, so the last report still applies."""
    done = list(outcomes)
    if any(_is_bad(outcome) for outcome in done):
        return False
    states = {outcome.state for outcome in done}
    if "unchanged" in states and states <= {"unchanged", "no_data"} and not _owed(done):
        return True
    of_rounds = {m.name for m in plan.measurements if source(m.source).history == "rounds"}
    polls = seen.watched.snapshots[-2:]
    if len(polls) < 2:
        return False
    states = {outcome.state for outcome in done if outcome.measurement in of_rounds}
    return states <= {"unchanged", "no_data"} and replace(polls[0], time=polls[1].time) == polls[1]


def findings_before(run: Run) -> list[Finding]:
    """Return what the last run found of the training, which holds until there is news."""
    last = next(iter(run.receipts_before), None)
    findings = last.findings if last else ()
    return [one for one in findings if one.kind not in (CHECK, CLOCK)]


def _owed(outcomes: Iterable[Outcome]) -> bool:
    return any(counts.owed for outcome in outcomes for counts in outcome.sinks.values())


def _is_bad(outcome: Outcome) -> bool:
    failed = [check for verdict in outcome.verdicts for check in verdict.failed]
    return (
        outcome.state in ("failed", "refused", "pending")
        or outcome.values.quarantined > 0
        or any(check.severity is Severity.CRITICAL for check in failed)
    )


def judge(run: Run, plan: Plan, seen: Seen, goal: Goal) -> None:
    """Write the training's files and the convergence report; add their findings."""
    # imports scipy and matplotlib only with something to report
    from tasks.analysis.run_analysis import plain as as_json
    from tasks.reports.convergence.build import artifacts_of, write_convergence
    from tasks.training.convergence import analyse_watched

    environment, findings = plan.environment.name, list(seen.findings)
    with run.delivery("convergence report"):
        write_documents(plan.output, documents(seen.watched, seen.findings, environment))
        analysed = analyse_watched(seen.watched, goal)
        if analysed is not None:
            findings += analysed.analysis.findings
            files = write_convergence(
                [analysed], (), plan.output, environment, zone=run.settings.timezone
            )
            run.artifacts += artifacts_of(
                analysed, files, environment, run.settings.report_link(files.html)
            )
    run.findings += [replace(one, evidence=as_json(one.evidence)) for one in findings]
