"""The run `slo`: judge every SLO, and record its budget and burn rates."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

from tasks.analysis.slo.status import Status, judge
from tasks.core.artifact import Artifact, artifact_key
from tasks.core.batch import Batch, build_frame
from tasks.core.errors import FedvitalsError, SourceUnavailable
from tasks.core.receipt import Outcome, Receipt
from tasks.core.slo_measurement import BURN_RATES, SLO, slo_measurement
from tasks.core.slo_report import SloReport
from tasks.core.slos import Slo
from tasks.core.window import Window
from tasks.ledger.locks import RunLock
from tasks.pipeline.chunk import Chunk, OneBatch
from tasks.pipeline.process import process
from tasks.runs.base.deliver import deliver
from tasks.runs.base.home import begin
from tasks.runs.base.plan import verified_suites
from tasks.runs.base.run import Run
from tasks.runs.base.self_metrics import land_self_metrics
from tasks.runs.base.slos import require_prometheus, slos_in_force
from tasks.runs.base.step import Step, plain
from tasks.runs.base.thresholds import thresholds_in_force
from tasks.runs.base.toolbox import opened_stores, tools_of
from tasks.runs.slo.observe import events_of
from tasks.sources.prometheus_rules import RulesClient

_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True)
class SloRequest:
    """Has no options: all SLOs of the environment are judged."""


def slo(run: Run, request: SloRequest, step: Step = plain) -> Receipt:
    """Judge the environment's SLOs, and land their values; one that cannot be judged fails alone."""
    begin(run)
    found = step("judge", statuses)(run)
    step("land", land)(run, found)
    run.findings += [one.finding() for status in found for one in status.alerts if one.is_bad]
    report = SloReport(slos=tuple(each.line() for each in found))
    receipt = step("account", run.account)(None, details=report)
    step("self metrics", land_self_metrics)(run, receipt)
    rows = [{**each.model_dump(mode="json"), "state": each.shown} for each in report.slos]
    run.artifacts.append(Artifact("table", artifact_key("slo", run.environment.name), rows))
    return step("deliver", deliver)(run, receipt)


def statuses(run: Run) -> list[Status]:
    """Judge every SLO; what cannot be judged has the state `failed`, and is an outcome."""
    mine = [one for one in slos_in_force(run.settings) if one.applies_in(run.environment.name)]
    interval = thresholds_in_force(run.settings).interval
    found: list[Status] = []
    with closing(RulesClient(require_prometheus(run.environment))) as client:
        problem = ""
        for each in mine:
            # a server that does not answer is asked once
            if not problem:
                try:
                    found.append(_status(run, each, client, interval))
                    continue
                except SourceUnavailable as error:
                    problem = str(error)
                except FedvitalsError as error:
                    found.append(Status(each, "failed", run.now, problem=str(error)))
                    continue
            found.append(Status(each, "failed", run.now, problem=problem))
    problems = tuple(f"{one.slo.id}: {one.problem}" for one in found if one.problem)
    if problems:
        run.add(Outcome(SLO, "failed", problems=problems))
    return found


def _status(run: Run, slo: Slo, client: RulesClient, interval: timedelta) -> Status:
    length = min(slo.window, client.retention())
    events = events_of(slo, client, run.now, length, interval)
    return judge(slo, run.environment.name, events, interval)


def land(run: Run, found: Sequence[Status]) -> None:
    """Land and load a row of each SLO that was judged."""
    rows = list(_rows(run, found))
    if not rows:
        return
    entry, name = slo_measurement(), run.environment.name
    frame = build_frame(entry, {key: [row[key] for row in rows] for key in rows[0]})
    batch = Batch(entry, name, Window(run.now, run.now + _MOMENT), frame)
    cell = next(batch.window.cells(run.settings.pipeline.cell))
    suite = verified_suites(run.settings, run.ledger, (entry,))[SLO]
    with opened_stores(run) as sinks:

        def work(lock: RunLock) -> Outcome:
            run.lake.prepare(entry)
            tools = tools_of(run, OneBatch(batch, "slo"), suite, sinks, lock)
            return process(Chunk(entry, name, (cell,), batch.window), tools)

        run.work(SLO, work)
        run.append_states()


def _rows(run: Run, found: Sequence[Status]) -> Iterator[dict[str, object]]:
    for each in found:
        if each.state != "failed":
            rates = {burn.tier.name: burn.long for burn in each.burns}
            yield {
                "time": run.now,
                "environment": run.environment.name,
                "slo": each.slo.id,
                "objective_ratio": each.slo.objective,
                "good_ratio": each.good_ratio,
                "budget_left_ratio": each.budget_left,
                "bad_events": each.bad,
                "total_events": each.total,
                "covered_ratio": each.covered / each.slo.window,
                **{f"{name}_burn_rate": rates.get(name) for name in BURN_RATES},
                "state": each.state,
                "definition": each.slo.definition,
            }
