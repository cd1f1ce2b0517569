"""Processing of one chunk: extract, validate, land, load."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from tasks.core.batch import Batch, canonical, check_series, count_values, split_cells
from tasks.core.measurement import Measurement
from tasks.core.quarantine import no_records
from tasks.core.receipt import MeasurementState, Outcome, Values
from tasks.core.state import CellState
from tasks.core.verdict import Verdict
from tasks.core.window import Cell, Window
from tasks.pipeline.chunk import Chunk, Stopwatch, Tools, source_digest
from tasks.pipeline.land import Extracted, Landed, is_sample, land
from tasks.pipeline.load import load
from tasks.validation.breach import rejected
from tasks.validation.structural_check import check_structure
from tasks.validation.validate import validate


@dataclass(frozen=True)
class _Checked:
    """The changed cells' rows after structural check and suite."""

    good: pd.DataFrame
    bad: pd.DataFrame
    verdicts: tuple[Verdict, ...] = ()


def process(chunk: Chunk, tools: Tools) -> Outcome:
    """Process one chunk; the outcome accounts for every value.

    Landing is one atomic commit and only landed rows are loaded, so a crash at any point leaves
    work that the next run finds by its digests. Raises FedvitalsError when extraction, validation
    or landing fails. Values that a sink did not take are pending in the outcome.
    """
    watch = Stopwatch()
    known = tools.ledger.cells(chunk.measurement.name, chunk.environment, chunk.window)
    with watch.stage("extract"):
        batch = tools.source.extract(chunk.measurement, chunk.environment, chunk.window)
    with watch.stage("digest"):
        extracted = _compare(chunk, batch, known, tools)
    with watch.stage("validate"):
        checked = _check(chunk, extracted, tools)
    with watch.stage("land"):
        landed = land(chunk, extracted, checked.good, checked.bad, known, tools)
    with watch.stage("load"):
        loaded = load(chunk.measurement, chunk.environment, landed.frames, tools.without_order)
    values = _values(chunk, extracted, checked, landed)
    return Outcome(
        measurement=chunk.measurement.name,
        state=loaded.state(_state(values, extracted, known)),
        rows=len(checked.good),
        values=values,
        sinks=loaded.sinks,
        verdicts=checked.verdicts,
        problems=loaded.problems,
        warnings=_warnings(batch),
        seconds=watch.seconds,
        start=chunk.window.start,
    )


def load_pending(
    measurement: Measurement, environment: str, states: list[CellState], tools: Tools
) -> Outcome:
    """Load adjacent landed cells that a sink lacks from the lake, not from the source."""
    watch = Stopwatch()
    with watch.stage("load"):
        frames = _landed(measurement, environment, states, tools)
        loaded = load(measurement, environment, frames, tools)
    return Outcome(
        measurement=measurement.name,
        state=loaded.state("unchanged"),
        sinks=loaded.sinks,
        problems=loaded.problems,
        seconds=watch.seconds,
    )


def _landed(
    measurement: Measurement, environment: str, states: list[CellState], tools: Tools
) -> dict[CellState, pd.DataFrame]:
    cells = sorted(state.cell for state in states)
    span = Window(cells[0].start, cells[-1].stop)
    rows = split_cells(tools.lake.read(measurement, environment, span), cells)
    return {state: rows[state.cell] for state in states}


def _compare(
    chunk: Chunk, batch: Batch, known: Mapping[Cell, CellState], tools: Tools
) -> Extracted:
    """Keep the changed cells: those with another source digest; raise SeriesExceeded."""
    rows = split_cells(batch.frame, chunk.cells)
    for cell in chunk.cells:
        check_series(rows[cell], chunk.measurement, cell)
    digests = {
        cell: source_digest(rows[cell], tools.suite, chunk.measurement) for cell in chunk.cells
    }
    changed = tuple(
        cell
        for cell in chunk.cells
        if is_sample(tools)
        # retained values may have to go now, even with an unchanged answer
        or chunk.allow_deletes
        or cell not in known
        or known[cell].source_digest != digests[cell]
    )
    return Extracted(batch=batch, rows=rows, digests=digests, changed=changed)


def _check(chunk: Chunk, extracted: Extracted, tools: Tools) -> _Checked:
    rows, refused = _changed_rows(chunk, extracted), extracted.batch.rejected
    batch = extracted.batch.with_frame(rows)
    if len(rows):
        batch, records = check_structure(batch)
        refused = _together(refused, records)
    times = pd.concat([rows["time"], refused["time"]])
    before = rejected(refused, times.max()) if len(refused) else None
    verdicts = (before,) if before else ()
    if batch.frame.empty:
        return _Checked(batch.frame, refused, verdicts)
    validated = validate(batch, tools.suite)
    return _Checked(
        validated.good, _together(refused, validated.bad), (validated.verdict, *verdicts)
    )


def _together(*parts: pd.DataFrame) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else no_records()


def _changed_rows(chunk: Chunk, extracted: Extracted) -> pd.DataFrame:
    frame = extracted.batch.frame
    if len(extracted.changed) == len(chunk.cells):
        return frame
    parts = [extracted.rows[cell] for cell in extracted.changed]
    return canonical(pd.concat(parts), chunk.measurement) if parts else frame.iloc[:0]


def _values(chunk: Chunk, extracted: Extracted, checked: _Checked, landed: Landed) -> Values:
    batch = extracted.batch
    same = [cell for cell in chunk.cells if cell not in extracted.changed]
    return Values(
        extracted=batch.values + batch.dropped_values + batch.rejected_values,
        landed=count_values(checked.good, chunk.measurement),
        quarantined=int(checked.bad["field"].notna().sum()),
        dropped_by_rule=batch.dropped_values,
        unchanged=sum(count_values(extracted.rows[cell], chunk.measurement) for cell in same),
        retained=landed.retained,
        erased=landed.erased,
    )


def _state(
    values: Values, extracted: Extracted, known: Mapping[Cell, CellState]
) -> MeasurementState:
    if values.retained:
        return "retained"
    if values.landed or values.quarantined or values.erased:
        return "landed"
    held = any(state.values for state in known.values())
    return "unchanged" if values.unchanged or (held and not extracted.changed) else "no_data"


def _warnings(batch: Batch) -> tuple[str, ...]:
    warnings = list(batch.warnings)
    if batch.not_served:
        warnings.append(f"not served by this source: {', '.join(batch.not_served)}")
    return tuple(warnings)
