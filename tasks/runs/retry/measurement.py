"""Retry of a measurement's quarantine from the lake: passing values are landed."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.batch import Batch, count_values, split_cells
from tasks.core.digest import digest_rows
from tasks.core.errors import FedvitalsError
from tasks.core.measurement import Measurement
from tasks.core.quarantine import no_records
from tasks.core.receipt import Outcome, Values, given_up, joined
from tasks.core.retry import COMMIT_DEADLINE_SECONDS, retrying
from tasks.core.state import CellState
from tasks.core.verdict import Verdict
from tasks.core.window import Cell, Window, follows, groups_of
from tasks.pipeline.chunk import Stopwatch, Tools, source_digest
from tasks.pipeline.load import load
from tasks.pipeline.merge import retain_older
from tasks.runs.retry.quarantined import take_up
from tasks.validation.validate import validate

_VALUE = ["time", "environment", "tags", "field"]


@dataclass(frozen=True)
class Retry:
    """The quarantine to retry, in a window of whole cells; chunk size in rows."""

    measurement: Measurement
    environment: str
    window: Window
    chunk_rows: int


@dataclass(frozen=True)
class _Chunk:
    """Adjacent cells with all their quarantine records."""

    states: Mapping[Cell, CellState]
    records: pd.DataFrame

    @property
    def cells(self) -> list[Cell]:
        return list(self.states)

    @property
    def span(self) -> Window:
        return Window(self.cells[0].start, self.cells[-1].stop)

    def held_by(self, stage: str) -> pd.DataFrame:
        """Return the records of one stage."""
        return self.records[self.records["stage"] == stage]


@dataclass(frozen=True)
class _Judged:
    """Validation of a chunk's landed and quarantined values by the current suite.

    `older` was landed, `seen` was judged, `left` could not be judged.
    """

    older: pd.DataFrame
    seen: pd.DataFrame
    good: pd.DataFrame
    bad: pd.DataFrame
    left: pd.DataFrame
    verdict: Verdict | None


@dataclass(frozen=True)
class _Cells:
    """The cells' new states and rows, the landed values refused now, and the cells
    whose landed rows change."""

    frames: Mapping[CellState, pd.DataFrame]
    refused: int
    changed: frozenset[Cell]


def retry(request: Retry, tools: Tools) -> Outcome:
    """Take quarantined values through suite and sinks once more, without the source.

    A cell with values quarantined by a suite is judged as a whole by the current suite: landed and
    quarantined values, as if a source had returned them together. In `values`

    - extracted are the values judged: landed ones and those quarantined by the suite;
    - landed were quarantined and pass now;
    - unchanged were landed and stay;
    - quarantined are in quarantine afterwards: still, for the first time under this suite, or
      because they have no place in the table (a warning says how many);

    so extracted = landed + quarantined + unchanged. Values rejected by the structural check stay and
    are not counted: no suite decides on them. Values that a sink refused are landed, so they count
    in the sinks' sums alone: their cells are owed to that sink again.

    An error ends the retry of this measurement and becomes an outcome; finished cells stay done.
    """
    return joined(request.measurement.name, _until_error(request, tools))


def _until_error(request: Retry, tools: Tools) -> Iterator[Outcome]:
    """Yield the outcomes up to an error, and the error as the last of them."""
    try:
        yield from _outcomes(request, tools)
    except FedvitalsError as error:
        yield given_up(request.measurement.name, error)


def _outcomes(request: Retry, tools: Tools) -> Iterator[Outcome]:
    name, environment = request.measurement.name, request.environment
    tools.lake.prepare(request.measurement)
    records = tools.lake.quarantined(name, environment, request.window)
    known = tools.ledger.cells(name, environment, request.window)
    cells = sorted(known)
    parts = split_cells(records, cells) if cells else {}
    yield from _left_alone(request, records, parts, tools)
    stages = {cell: set(part["stage"]) for cell, part in parts.items()}
    held = [cell for cell in cells if "suite" in stages[cell]]
    refused = [cell for cell in cells if stages[cell] & {"suite", "sink"} == {"sink"}]
    sizes = {cell: known[cell].rows + len(part) for cell, part in parts.items()}
    if not tools.sinks:
        refused = []
    for some, again in ((held, _judge_again), (refused, _offer_again)):
        for group in groups_of(some, request.chunk_rows, sizes.__getitem__, follows):
            yield again(request, _chunk(group, known, parts), tools)


def _left_alone(
    request: Retry, records: pd.DataFrame, parts: Mapping[Cell, pd.DataFrame], tools: Tools
) -> Iterator[Outcome]:
    """Warn of records that a retry cannot use."""
    tried = int((records["stage"] != "structural").sum())
    unknown = tried - sum(int((part["stage"] != "structural").sum()) for part in parts.values())
    refused = int((records["stage"] == "sink").sum())
    warnings = []
    if unknown:
        what = "quarantined values lie in cells that the ledger does not know"
        warnings.append(f"{unknown} {what}. Fix: collect their time again")
    if refused and not tools.sinks:
        warnings.append(f"{refused} values that a sink refused stay: no sink is in use")
    if warnings:
        yield Outcome(request.measurement.name, "unchanged", warnings=tuple(warnings))


def _chunk(
    cells: list[Cell], known: Mapping[Cell, CellState], parts: Mapping[Cell, pd.DataFrame]
) -> _Chunk:
    records = pd.concat([parts[cell] for cell in cells], ignore_index=True)
    return _Chunk({cell: known[cell] for cell in cells}, records)


def _judge_again(request: Retry, chunk: _Chunk, tools: Tools) -> Outcome:
    watch = Stopwatch()
    with watch.stage("validate"):
        judged = _judge(request, chunk, tools)
    cells = _cells(request, chunk, judged, tools)
    with watch.stage("land"):
        _land(request, chunk, judged, cells, tools)
    with watch.stage("load"):
        loaded = load(request.measurement, request.environment, cells.frames, tools)
    return Outcome(
        measurement=request.measurement.name,
        state=loaded.state("landed" if cells.changed else "unchanged"),
        rows=len(judged.good),
        values=_values(request, judged, cells),
        sinks=loaded.sinks,
        verdicts=(judged.verdict,) if judged.verdict else (),
        problems=loaded.problems,
        warnings=_warnings(judged),
        seconds=watch.seconds,
        start=chunk.span.start,
    )


def _offer_again(request: Retry, chunk: _Chunk, tools: Tools) -> Outcome:
    watch = Stopwatch()
    with watch.stage("load"):
        kept = chunk.records[chunk.records["stage"] != "sink"]
        _settle_quarantine(request, chunk, kept, tools)
        rows = tools.lake.read(request.measurement, request.environment, chunk.span)
        parts = split_cells(rows, chunk.cells)
        frames = {state: parts[cell] for cell, state in chunk.states.items()}
        loaded = load(request.measurement, request.environment, frames, tools)
    return Outcome(
        measurement=request.measurement.name,
        state=loaded.state("unchanged"),
        sinks=loaded.sinks,
        problems=loaded.problems,
        seconds=watch.seconds,
        start=chunk.span.start,
    )


def _judge(request: Retry, chunk: _Chunk, tools: Tools) -> _Judged:
    measurement = request.measurement
    older = tools.lake.read(measurement, request.environment, chunk.span)
    taken = take_up(older, chunk.held_by("suite"), measurement)
    seen, left = taken.frame, taken.left
    if seen.empty:
        return _Judged(older, seen, good=seen, bad=no_records(), left=left, verdict=None)
    batch = Batch(measurement, request.environment, chunk.span, seen)
    found = validate(batch, tools.suite)
    return _Judged(older, seen, good=found.good, bad=found.bad, left=left, verdict=found.verdict)


def _cells(request: Retry, chunk: _Chunk, judged: _Judged, tools: Tools) -> _Cells:
    measurement = request.measurement
    older, seen, good, kept = (
        split_cells(frame, chunk.cells)
        for frame in (judged.older, judged.seen, judged.good, _kept_records(chunk, judged))
    )
    frames, refused, changed = {}, 0, set()
    for cell, before in chunk.states.items():
        rows = good[cell]
        lost = retain_older(rows, older[cell], seen[cell], measurement).lost
        there = digest_rows(older[cell], measurement) if len(older[cell]) else ""
        is_landed = bool(len(rows) or there or before.landed_digest)
        digest = digest_rows(rows, measurement) if is_landed else ""
        state = replace(
            _judged_state(before, seen[cell], kept[cell], request, tools),
            state="landed" if is_landed else before.state,
            landed_digest=digest,
            rows=len(rows),
            values=count_values(rows, measurement),
        )
        if lost or (there and there != before.landed_digest):
            # where the ledger is behind the lake, it is unknown what sinks have
            state = replace(state, delete_count=before.delete_count + 1)
        if digest != there and (len(rows) or there):
            changed.add(cell)
        frames[state] = rows
        refused += lost
    return _Cells(frames, refused, frozenset(changed))


def _judged_state(
    before: CellState, seen: pd.DataFrame, kept: pd.DataFrame, request: Retry, tools: Tools
) -> CellState:
    """Set the source digest to that of the judged rows.

    A collect that gets exactly these rows would end the same; any other answer is a change.
    """
    return replace(
        before,
        source_digest=source_digest(seen, tools.suite, request.measurement),
        quarantined=int(kept["field"].notna().sum()),
        catalogue_digest=request.measurement.digest,
        run_id=tools.run_id,
    )


def _kept_records(chunk: _Chunk, judged: _Judged) -> pd.DataFrame:
    """Return the records that stay before the cells are loaded into sinks."""
    return _together(chunk.held_by("structural"), judged.left, judged.bad)


def _land(request: Retry, chunk: _Chunk, judged: _Judged, cells: _Cells, tools: Tools) -> None:
    """Land the rows, then remove the records of landed values.

    The source is not queried after a crash, so at every moment each value is in the table or in
    quarantine: record one before it goes, land one before its record goes. Until all is done the
    ledger has no source digest, as in any landing, so that a collect reads again.
    """
    earlier = chunk.states
    tools.ledger.record(replace(before, source_digest="") for before in earlier.values())
    if cells.refused:
        newly = judged.bad[~_is_among(judged.bad, chunk.records)]
        _commit(tools, lambda: tools.lake.quarantine_more(request.measurement, newly))
    _commit_rows(request, cells, tools)
    tools.ledger.record(replace(state, source_digest="") for state in cells.frames)
    kept = _kept_records(chunk, judged)
    if not tools.sinks:
        refused = split_cells(chunk.held_by("sink"), chunk.cells)
        kept = _together(kept, *(refused[c] for c in chunk.cells if c not in cells.changed))
    _settle_quarantine(request, chunk, kept, tools)
    tools.ledger.record(cells.frames)
    tools.record([s for s in cells.frames if s != replace(earlier[s.cell], run_id=s.run_id)])


def _commit_rows(request: Retry, cells: _Cells, tools: Tools) -> None:
    """Commit once the cells whose rows change; nothing if none do."""
    states = [state for state in cells.frames if state.cell in cells.changed]
    if not states:
        return
    rows = pd.concat([cells.frames[state] for state in states], ignore_index=True)
    metadata = {"run_id": tools.run_id, "cells": [state.brief() for state in states]}
    numbers = [state.cell for state in states]
    environment = request.environment
    _commit(
        tools, lambda: tools.lake.land(request.measurement, rows, numbers, environment, metadata)
    )


def _settle_quarantine(request: Retry, chunk: _Chunk, kept: pd.DataFrame, tools: Tools) -> None:
    """Replace the records of the chunk's cells; no commit when nothing changes.

    A value refused by a sink is owed again before its record goes: after a crash in between it is
    sent twice, not lost.
    """
    name, environment = request.measurement.name, request.environment
    for sink in tools.sinks:
        had = tools.ledger.loads(sink.target, name, environment, chunk.span)
        tools.ledger.record_loads(
            replace(had[cell], landed_digest="")
            for cell in chunk.cells
            if cell in had and had[cell].refused
        )
    if _as_set(kept) == _as_set(chunk.records) and len(kept) == len(chunk.records):
        return
    _commit(
        tools, lambda: tools.lake.quarantine(request.measurement, kept, chunk.cells, environment)
    )


def _commit(tools: Tools, write: Callable[[], None]) -> None:
    for attempt in retrying(COMMIT_DEADLINE_SECONDS):
        with attempt:
            tools.lock.check()
            write()


def _as_set(records: pd.DataFrame) -> set[tuple[Any, ...]]:
    """Return the records' content, without their time."""
    content = records.drop(columns="quarantined_at").astype("object")
    return set(content.where(content.notna(), None).itertuples(index=False, name=None))


def _is_among(records: pd.DataFrame, others: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return whether another record is of the same value."""
    mine, theirs = (pd.MultiIndex.from_frame(each[_VALUE]) for each in (records, others))
    return np.asarray(mine.isin(theirs))


def _together(*parts: pd.DataFrame) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else no_records()


def _values(request: Retry, judged: _Judged, cells: _Cells) -> Values:
    measurement = request.measurement
    left = int(judged.left["field"].notna().sum())
    stayed = count_values(judged.older, measurement) - cells.refused
    return Values(
        extracted=count_values(judged.seen, measurement) + left,
        landed=count_values(judged.good, measurement) - stayed,
        quarantined=int(judged.bad["field"].notna().sum()) + left,
        unchanged=stayed,
    )


def _warnings(judged: _Judged) -> tuple[str, ...]:
    if judged.left.empty:
        return ()
    return (
        f"{len(judged.left)} quarantined values have no place in the table: their field or tag is no "
        "longer in the catalogue, or another value is landed there",
    )
