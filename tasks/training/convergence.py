"""Convergence of a watched training."""

from dataclasses import dataclass, replace

from tasks.analysis.analyse import analyse
from tasks.analysis.participation import Counts
from tasks.analysis.run_analysis import AnalysisSettings, RunAnalysis
from tasks.core.finding import Finding
from tasks.core.goal import Goal
from tasks.core.snapshots import Watched
from tasks.core.training import TrainingRun

NO_ROUNDS = "Too short to judge: the file has no rounds, so it shows fairness alone."


@dataclass(frozen=True, eq=False)
class Analysed:
    """One run, its analysis, its file (None: the service), findings and metric."""

    run: TrainingRun
    analysis: RunAnalysis
    file: str | None = None
    findings: tuple[Finding, ...] = ()
    metric: str | None = None

    @property
    def metric_name(self) -> str:
        """Return the requested metric, else accuracy or loss."""
        return self.metric or self.analysis.curve.metric

    @property
    def has_rounds(self) -> bool:
        """Return whether the file has rounds, not only a finished model at several sites."""
        return all(finding.kind != "without_rounds" for finding in self.findings)

    @property
    def rounds_seen(self) -> int:
        """Return how many rounds were reported."""
        return len(self.analysis.curve) if self.has_rounds else 0

    @property
    def sentence(self) -> str:
        """Return the verdict in one sentence, with a requested metric and its direction."""
        if not self.has_rounds:
            return NO_ROUNDS
        sentence = self.analysis.sentence
        if self.metric is None:
            return sentence
        better = "lower" if self.analysis.curve.metric == "loss" else "higher"
        return f"{sentence.removesuffix('.')} ({self.metric}: {better} is better)."

    @property
    def every_finding(self) -> tuple[Finding, ...]:
        """Return the findings on the file, and those of the analysis beside its verdict."""
        about = [one for one in self.analysis.findings if one.kind != "convergence"]
        return (*self.findings, *about)


def analyse_watched(watched: Watched, goal: Goal) -> Analysed | None:
    """Analyse the service's newest run beside its earlier ones; None when it has none."""
    run = watched.current
    if run is None:
        return None
    # of several polls of one round the last counts
    counts = {
        s.current_round: Counts(
            s.current_round, s.total_clients, s.participating_clients, s.data_quality
        )
        for s in watched.snapshots
        if s.current_round is not None and (s.run_id is None or s.run_id == run.run_id)
    }
    settings, notes = _aims(run, goal)
    analysis = analyse(run, watched.runs, settings, tuple(counts.values()))
    return Analysed(run, replace(analysis, notes=(*analysis.notes, *notes)))


def _aims(run: TrainingRun, goal: Goal) -> tuple[AnalysisSettings, list[str]]:
    """Return the parts of the goal that fit the run, and a note on each other part."""
    target, total, notes = goal.target, goal.total_rounds, []
    if run.total_rounds is not None and total not in (None, run.total_rounds):
        notes.append(
            f"the service plans {run.total_rounds} rounds, so a plan of {total} is ignored"
        )
    tells_accuracy = any(each.accuracy is not None for each in run.rounds)
    if goal.metric is None and target is not None and not tells_accuracy:
        target = None
        notes.append("the target is an accuracy, but no round has one. Fix: set the metric to loss")
    total = total if run.total_rounds is None else None
    return AnalysisSettings(metric=goal.metric, total_rounds=total, target=target), notes
