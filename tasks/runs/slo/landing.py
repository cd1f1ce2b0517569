"""Values of SLOs land as any other: a row an SLO and run, and the events of each hour."""

from collections.abc import Iterator, Sequence
from typing import Any

from tasks.analysis.slo.status import Status
from tasks.core.batch import Batch, build_frame
from tasks.core.measurement import Measurement
from tasks.core.ports import Sink
from tasks.core.receipt import Outcome, joined
from tasks.core.slo_measurement import BURN_RATES, CHANCES, slo_measurements
from tasks.core.window import Cell, Window, floor, follows, groups_of
from tasks.ledger.locks import RunLock
from tasks.pipeline.chunk import MOST_CELLS, Chunk, OneBatch
from tasks.pipeline.process import process
from tasks.runs.base.plan import verified_suites
from tasks.runs.base.run import Run
from tasks.runs.base.toolbox import opened_stores, tools_of


def land(run: Run, found: Sequence[Status], counted: Sequence[dict[str, Any]]) -> None:
    """Land and load a row of each SLO that was judged, and the hours that were counted."""
    states, hours = slo_measurements()
    with opened_stores(run) as sinks:
        _land(run, states, list(_rows(run, found)), sinks)
        _land(run, hours, counted, sinks)
        run.append_states()


def _land(
    run: Run, entry: Measurement, rows: Sequence[dict[str, Any]], sinks: tuple[Sink, ...]
) -> None:
    if not rows:
        return
    name, length = run.environment.name, run.settings.pipeline.cell
    frame = build_frame(entry, {key: [row[key] for row in rows] for key in rows[0]})
    suite = verified_suites(run.settings, run.ledger, (entry,))[entry.name]
    starts = sorted({floor(time.to_pydatetime(), length) for time in frame["time"]})
    cells = [Cell(start, start + length) for start in starts]

    def work(lock: RunLock) -> Outcome:
        run.lake.prepare(entry)
        outcomes = []
        for some in groups_of(cells, MOST_CELLS, fits=follows):
            window = Window(some[0].start, some[-1].stop)
            inside = (frame["time"] >= window.start) & (frame["time"] < window.stop)
            batch = Batch(entry, name, window, frame[inside].reset_index(drop=True))
            tools = tools_of(run, OneBatch(batch, "slo"), suite, sinks, lock)
            outcomes.append(process(Chunk(entry, name, tuple(some), window), tools))
        return joined(entry.name, outcomes)

    run.work(entry.name, work)


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
                "good_without_maintenance_ratio": each.good_without_maintenance,
                "maintenance_seconds": each.maintenance.total_seconds(),
                "budget_left_ratio": each.budget_left,
                "bad_events": each.bad,
                "total_events": each.total,
                "covered_ratio": each.covered / each.slo.window,
                **{f"{name}_burn_rate": rates.get(name) for name in BURN_RATES},
                **{f"spent_in_{days}d_ratio": each.forecast.chances.get(days) for days in CHANCES},
                "spent_after_days": each.forecast.day,
                "state": each.state,
                "definition": each.slo.definition,
            }
