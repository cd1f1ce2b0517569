"""The convergence report built from analyses, as text and charts."""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import numpy as np

from tasks.analysis.advice import OPENINGS, Advice
from tasks.analysis.comparison import Comparison
from tasks.analysis.curve import Metric
from tasks.analysis.forecast import Forecast, NoForecast
from tasks.analysis.interval import Interval
from tasks.analysis.run_analysis import comparison_document, plain
from tasks.analysis.wording import change_text, range_text
from tasks.core.artifact import Artifact, artifact_key, page_artifact
from tasks.core.errors import ReportNotWritten
from tasks.reports.convergence import page, parts
from tasks.reports.convergence.page import ConvergenceFiles
from tasks.reports.convergence.records import (
    FAN,
    ComparisonLine,
    ConvergenceReport,
    CurveChart,
    RunSection,
)
from tasks.training.convergence import Analysed

ASSUMED = "Its intervals assume that nothing else changes: no other learning rate, no collapse."


def artifacts_of(
    one: Analysed, files: ConvergenceFiles, environment: str, link: str | None
) -> tuple[Artifact, ...]:
    """Return a training's verdict, its numbers, its curve and a link to the report."""
    section, key = section_of(one), artifact_key("convergence", environment)
    rows = [
        {"number": n.label, "value": n.value or "–", "interval": n.interval or n.why_not or ""}
        for n in section.numbers
    ]
    return (
        Artifact("markdown", f"{key}-summary", page.markdown(section, environment)),
        Artifact("table", f"{key}-numbers", rows),
        page_artifact(files.html, link, f"{key}-report", "Convergence report"),
        Artifact("image", f"{key}-chart", files.chart),
    )


def document_of(analyses: Sequence[Analysed], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Return the analyses as JSON; finite numbers, null for unknown ones."""
    return {
        "runs": [_run_document(one) for one in analyses],
        "comparison": comparison_document(tuple(comparisons)),
    }


def _run_document(one: Analysed) -> dict[str, Any]:
    document = one.analysis.document(one.file)
    return {
        **document,
        "rounds_seen": one.rounds_seen,
        "sentence": one.sentence,
        "metric": one.metric_name,
        "findings": [*plain(one.findings), *document["findings"]],
    }


def write_convergence(
    analyses: Sequence[Analysed],
    comparisons: Sequence[Comparison],
    folder: Path,
    environment: str | None = None,
    notes: Sequence[str] = (),
    zone: tzinfo = UTC,
) -> ConvergenceFiles:
    """Write the report of a service (environment) or files; raise ReportNotWritten."""
    report = ConvergenceReport(
        sections=tuple(map(section_of, analyses)),
        generated_at=datetime.now(zone),
        document=document_of(analyses, comparisons),
        environment=environment,
        comparison=tuple(map(_comparison_line, comparisons)),
        notes=tuple(notes),
    )
    try:
        return page.write(report, folder)
    except OSError as error:
        raise ReportNotWritten(folder=folder, problem=error.strerror or str(error)) from error


def section_of(one: Analysed) -> RunSection:
    """Build the page's section of one run."""
    analysis = one.analysis
    forecast = analysis.forecast
    lead, further = (None, None) if analysis.is_finished else _advice(analysis.advice)
    return RunSection(
        name=analysis.run_id,
        source=one.file or analysis.source,
        verdict=analysis.verdict.kind,
        sentence=one.sentence,
        metric=one.metric_name,
        rounds_seen=one.rounds_seen,
        is_finished=analysis.is_finished,
        curve=curve_of(one),
        numbers=parts.numbers_of(analysis, one.metric_name),
        advice=lead,
        advice_further=further,
        forecast_note=_forecast_note(forecast),
        time=parts.time_of(analysis),
        privacy=parts.privacy_of(analysis),
        burn=parts.burn_of(analysis, one.run.rounds),
        participation=parts.participation_of(analysis),
        heat=parts.heat_of(analysis),
        clients=parts.client_lines(analysis),
        findings=one.every_finding,
        notes=analysis.notes,
    )


def _advice(advice: Advice) -> tuple[str, str | None]:
    if len(advice.reasons) < 2:
        return advice.sentence, None
    further = "; ".join(advice.reasons[1:])
    return f"{OPENINGS[advice.action]}: {advice.reasons[0]}.", f"{further[0].upper()}{further[1:]}."


def _forecast_note(forecast: Forecast | NoForecast) -> str | None:
    if isinstance(forecast, NoForecast):
        return f"No forecast: {forecast.reason}."
    if not len(forecast.rounds):
        return None
    if not forecast.neighbours:
        return f"The forecast rests on the {forecast.n} rounds of this run alone. {ASSUMED}"
    count = len(forecast.neighbours)
    return (
        f"The forecast rests on the {forecast.n} rounds of this run and, for "
        f"{forecast.history_share:.0%}, on {count} earlier {'run' if count == 1 else 'runs'} like it. {ASSUMED}"
    )


def curve_of(one: Analysed) -> CurveChart:
    """Return the curve in the metric's own unit, with the fan of the forecast."""
    analysis = one.analysis
    curve, forecast = analysis.curve, analysis.forecast
    fan_rounds: tuple[int, ...] = ()
    fan: tuple[tuple[float, ...], ...] = ()
    if isinstance(forecast, Forecast) and len(forecast.rounds):
        rows = np.vectorize(curve.unscaled)(forecast.quantiles(FAN))
        # for a loss, low and high are swapped
        fan = tuple(tuple(map(float, row)) for row in np.sort(rows, axis=0))
        fan_rounds = tuple(map(int, forecast.rounds))
    return CurveChart(
        rounds=tuple(map(int, curve.rounds)),
        values=tuple(float(curve.unscaled(value)) for value in curve.values),
        is_share=curve.metric == "accuracy",
        name=one.metric_name,
        fan_rounds=fan_rounds,
        fan=fan,
        target=None if analysis.target is None else curve.unscaled(analysis.target),
        lost=tuple(int(number) for number in curve.rounds[curve.lost]),
        broken=analysis.verdict.onset_round,
    )


def _comparison_line(one: Comparison) -> ComparisonLine:
    return ComparisonLine(
        first=one.first,
        second=one.second,
        better=one.better,
        at_round=one.round,
        level=_span(one.metric, one.level),
        final=_span(one.metric, one.final),
        sentence=one.sentence,
        why_not=one.why_not,
    )


def _span(metric: Metric, interval: Interval | None) -> str | None:
    if interval is None:
        return None
    ends = range_text(metric, interval.low, interval.high, "+")
    return f"{change_text(metric, interval.estimate, '+')} ({ends}, {interval.level:.0%})"
