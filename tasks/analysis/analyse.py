"""Whole analysis of a run, and comparison of several."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from tasks.analysis.advice import Evidence, advise
from tasks.analysis.comparison import Compared, Comparison, compare_runs
from tasks.analysis.convergence import judge
from tasks.analysis.curve import Curve, Floats, curve_of
from tasks.analysis.forecast import Forecast, NoForecast, forecast
from tasks.analysis.participation import Counts, participation
from tasks.analysis.privacy import passages, race
from tasks.analysis.remaining_time import remaining_time
from tasks.analysis.run_analysis import AnalysisSettings, RunAnalysis
from tasks.analysis.settings import ForecastSettings
from tasks.analysis.spending import reported
from tasks.core.training import TrainingRun


def analyse(
    run: TrainingRun,
    history: Sequence[TrainingRun] = (),
    settings: AnalysisSettings | None = None,
    counts: Sequence[Counts] = (),
) -> RunAnalysis:
    """Analyse a run beside the service's earlier runs; unknown values have reasons.

    The plan is the setting's, else the run's own, else the longest similar run of the history. counts
    are the clients of rounds that name none.
    """
    settings = settings or AnalysisSettings()
    curve = curve_of(run, settings.metric)
    past = [curve_of(one, curve.metric) for one in history if one.run_id != run.run_id]
    # a copy of this run under another name is no further run
    past = [one for one in past if not one.is_same(curve)]
    target = None if settings.target is None else curve.scaled(settings.target)
    total, end = _planned(run, settings)
    verdict = judge(curve, past)
    ahead = forecast(curve, end, past, ForecastSettings(settings.level))
    if total is None and not isinstance(ahead, NoForecast):
        total, end = ahead.final_round + run.counts_from_0, ahead.final_round
    left = None if end is None or not len(curve) else max(0, end - int(curve.rounds[-1]))
    time = remaining_time(run.rounds, left, settings.level, _further(ahead, target))
    now = None if verdict.level is None else verdict.level.estimate
    epsilon = reported(run.rounds, run.privacy)
    odds = race(epsilon, run.privacy, curve, ahead, target, settings.level, now)
    evidence = Evidence(curve, verdict, ahead, odds, time, target, level=settings.level)
    return RunAnalysis(
        run_id=run.run_id,
        source=run.source,
        curve=curve,
        verdict=verdict,
        forecast=ahead,
        target=target,
        planned_rounds=total,
        final_round=end,
        time=time,
        participation=participation(run.rounds, curve, counts, settings.level),
        race=odds,
        advice=advise(evidence),
        findings=(verdict.finding(), *(odds.findings if odds else ())),
        notes=(*_notes(run, curve, settings), *_counting(run, total, end)),
    )


def compare(
    analyses: Sequence[RunAnalysis], called: Sequence[str] | None = None
) -> tuple[Comparison, ...]:
    """Compare each run with the best of them; runs of one name are numbered."""
    names = list(called) if called is not None else [one.run_id for one in analyses]
    runs = [
        Compared(name if names.count(name) == 1 else f"{name} ({place})", one.curve, one.forecast)
        for place, (name, one) in enumerate(zip(names, analyses, strict=True), start=1)
    ]
    return compare_runs(runs)


def _planned(run: TrainingRun, settings: AnalysisSettings) -> tuple[int | None, int | None]:
    total = settings.total_rounds if settings.total_rounds is not None else run.total_rounds
    return total, None if total is None else run.final_round(total)


def _further(ahead: Forecast | NoForecast, target: float | None) -> Floats | None:
    if isinstance(ahead, NoForecast) or target is None:
        return None
    return np.asarray(passages(ahead, target) - ahead.last_round)


def _counting(run: TrainingRun, total: int | None, end: int | None) -> Iterator[str]:
    """Explain how the rounds of a run that counts from 0 were counted."""
    if total is None or not run.counts_from_0:
        return
    first = "round 0 is the first" if end != total else "round 0 counts as before the first"
    yield f"{first} of {total} planned rounds, so round {end} is the last"


def _notes(run: TrainingRun, curve: Curve, settings: AnalysisSettings) -> list[str]:
    notes = []
    missing = len(curve) - int(np.isfinite(curve.values).sum())
    if len(curve) and missing == len(curve):
        notes.append(f"no round has a {curve.metric} that is a number")
    elif missing:
        notes.append(f"{missing} of {len(curve)} rounds have no {curve.metric} that is a number")
    target = settings.target
    if target is not None and curve.metric == "accuracy" and target > 1.0:
        notes.append(f"a target of {target:g} is out of range: accuracy is a share, 0 to 1")
    if target is not None and curve.metric == "loss" and target < 0.0:
        notes.append(f"a target of {target:g} is out of range: a loss is at least 0")
    if target is not None and np.isnan(target):
        notes.append("the target is not a number")
    skipped = [b.round - a.round - 1 for a, b in pairwise(run.rounds)]
    # every tenth round, for example, is no hole
    if len(set(skipped)) > 1:
        notes.append(f"{sum(skipped)} rounds between the first and the last are missing")
    return notes
