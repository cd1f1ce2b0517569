"""The run `slo`: judge every SLO, and record its budget and burn rates."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pandas as pd

from tasks.analysis.slo.status import Status, judge
from tasks.core.artifact import Artifact, artifact_key, code
from tasks.core.errors import FedvitalsError, ReportNotWritten, SourceUnavailable
from tasks.core.finding import Finding
from tasks.core.health import read_health
from tasks.core.maintenance_windows import Maintenance
from tasks.core.receipt import Outcome, Receipt
from tasks.core.severity import Severity
from tasks.core.slo_measurement import SLO, slo_measurements
from tasks.core.slo_report import SloReport
from tasks.core.slos import Slo
from tasks.core.whole_file import make_private
from tasks.core.window import Window
from tasks.ledger.health import started_maintenance
from tasks.reports.slo.page import Recorded, SloView, write
from tasks.runs.base.deliver import deliver
from tasks.runs.base.home import begin
from tasks.runs.base.run import Run
from tasks.runs.base.self_metrics import land_self_metrics
from tasks.runs.base.slos import require_prometheus, slos_in_force
from tasks.runs.base.step import Step, plain
from tasks.runs.base.thresholds import thresholds_in_force
from tasks.runs.slo.hours import LEARNED, all_events, counted_hours, new_hours
from tasks.runs.slo.landing import land
from tasks.runs.slo.running_out import running_out
from tasks.sources.prometheus_rules import RulesClient


@dataclass(frozen=True)
class SloRequest:
    """Has no options: all SLOs of the environment are judged."""


@dataclass(frozen=True)
class Judged:
    """An SLO's state, with its recorded values and the hours that the lake lacks."""

    status: Status
    recorded: pd.DataFrame
    hours: tuple[dict[str, Any], ...] = ()

    def view(self) -> SloView:
        """Return it as the page shows it."""
        rows = self.recorded[["time", "budget_left_ratio", "definition"]].itertuples(index=False)
        recorded = [Recorded(t.to_pydatetime(), float(left), str(by)) for t, left, by in rows]
        return SloView(self.status, self.status.line(), recorded)


def slo(run: Run, request: SloRequest, step: Step = plain) -> Receipt:
    """Judge the environment's SLOs, and land their values; one that cannot be judged fails alone."""
    begin(run)
    found = step("judge", statuses)(run)
    states = [each.status for each in found]
    step("land", land)(run, states, [row for each in found for row in each.hours])
    run.findings += [one.finding() for each in states for one in each.alerts if one.is_bad]
    run.findings += filter(None, (loosened(each.status, each.recorded) for each in found))
    report = SloReport(slos=tuple(each.line() for each in states), runs_out=running_out(run))
    step("report", write_report)(run, found, report)
    receipt = step("account", run.account)(None, details=report)
    step("self metrics", land_self_metrics)(run, receipt)
    return step("deliver", deliver)(run, receipt)


def statuses(run: Run) -> list[Judged]:
    """Judge every SLO; what cannot be judged has the state `failed`, and is an outcome."""
    mine = [one for one in slos_in_force(run.settings) if one.applies_in(run.environment.name)]
    interval = thresholds_in_force(run.settings).interval
    found: list[Judged] = []
    with closing(RulesClient(require_prometheus(run.environment))) as client:
        problem = ""
        for each in mine:
            recorded = recorded_values(run, each)
            # a server that does not answer is asked once
            if not problem:
                try:
                    found.append(_judged(run, each, client, interval, recorded))
                    continue
                except SourceUnavailable as error:
                    problem = str(error)
                except FedvitalsError as error:
                    failed = Status(each, "failed", run.now, problem=str(error))
                    found.append(Judged(failed, recorded))
                    continue
            found.append(Judged(Status(each, "failed", run.now, problem=problem), recorded))
    problems = tuple(
        f"{one.slo.id}: {one.problem}" for each in found if (one := each.status).problem
    )
    if problems:
        run.add(Outcome(SLO, "failed", problems=problems))
    return found


def recorded_values(run: Run, slo: Slo) -> pd.DataFrame:
    """Return what runs recorded of the SLO in its window, oldest first."""
    window = Window(run.now - slo.window, run.now)
    rows = run.lake.read(slo_measurements()[0], run.environment.name, window)
    return rows[rows["slo"] == slo.id].sort_values("time")


def _judged(
    run: Run, slo: Slo, client: RulesClient, interval: timedelta, recorded: pd.DataFrame
) -> Judged:
    name = run.environment.name
    hours = counted_hours(run.lake, name, slo, run.now)
    planned = [one for one in _maintenance(run, slo) if one.concerns(name, slo.id)]
    events = all_events(slo, client, run.now, interval, hours, planned)
    status = judge(slo, name, events, interval, planned)
    return Judged(status, recorded, tuple(new_hours(slo, name, events, hours)))


def _maintenance(run: Run, slo: Slo) -> list[Maintenance]:
    start = run.now - max(slo.window, LEARNED)
    started = started_maintenance(run.ledger, run.now, start)
    windows = read_health(run.settings).maintenance
    recurring = (one for window in windows for one in window.occurrences(start, run.now))
    return [*started, *recurring]


def loosened(status: Status, recorded: pd.DataFrame) -> Finding | None:
    """Return a finding when a spent budget was followed by a looser objective in its window."""
    slo = status.slo
    before = recorded[recorded["definition"] != slo.definition]
    stricter = before[before["objective_ratio"] > slo.objective]
    spent = stricter[stricter["budget_left_ratio"] <= 0]
    if spent.empty or spent["time"].iloc[-1] != stricter["time"].iloc[-1]:
        return None
    was = float(spent["objective_ratio"].iloc[-1])
    return Finding(
        "slo_loosened",
        Severity.HIGH if slo.mode == "alert" else Severity.INFO,
        f"{slo.id}: its objective went from {was:g} to {slo.objective:g} while its budget was spent",
        {"slo": slo.id, "before": was, "now": slo.objective, "definition": slo.definition},
        subject=slo.id,
        hint="Recorded values keep the old definition; the page draws where it changed",
    )


def write_report(run: Run, found: Sequence[Judged], report: SloReport) -> None:
    """Write the page, and show it with a table of the SLOs; a failure is a failed delivery."""
    name = run.environment.name
    folder, key = run.settings.reports / "slo" / name, artifact_key("slo", name)
    with run.delivery("report"):
        try:
            make_private(folder)
            zone = run.settings.timezone
            views = [each.view() for each in found]
            run.report = str(
                write(name, run.now.astimezone(zone), views, report, folder).absolute()
            )
        except OSError as error:
            raise ReportNotWritten(folder=folder, problem=error.strerror) from error
    rows = [{**each.model_dump(mode="json"), "state": each.shown} for each in report.slos]
    run.artifacts += [
        Artifact("table", key, rows),
        Artifact("markdown", f"{key}-summary", _markdown(report)),
    ]


def _markdown(report: SloReport) -> str:
    lines = [*(one.sentence for one in report.slos), *(one.sentence for one in report.runs_out)]
    return "".join(f"- {code(line)}\n" for line in lines)
