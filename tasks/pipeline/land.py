"""Landing: quarantine first, then the good rows in one commit, then the ledger."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from tasks.core.batch import Batch, count_values, slice_cell, split_cells
from tasks.core.digest import digest_rows
from tasks.core.quarantine import keys_of, keys_within
from tasks.core.retry import COMMIT_DEADLINE_SECONDS, retrying
from tasks.core.state import CellState
from tasks.core.window import Cell, Window
from tasks.pipeline.chunk import Chunk, Tools
from tasks.pipeline.merge import retain_older, times_with, united, without_untagged


@dataclass(frozen=True)
class Extracted:
    """A chunk's batch cut into cells, their source digests, and the changed cells."""

    batch: Batch
    rows: Mapping[Cell, pd.DataFrame]
    digests: Mapping[Cell, str]
    changed: tuple[Cell, ...]


@dataclass(frozen=True)
class Landed:
    """The changed cells with their new state and rows.

    `retained` and `erased` count the older values that the source should have returned again and did
    not: retained, and deleted.
    """

    frames: Mapping[CellState, pd.DataFrame]
    retained: int
    erased: int


@dataclass(frozen=True)
class _Merged:
    """The rows to land, older values among them, and the cells that lost values.

    `held` are the landed digests of the lake's present rows, of the cells that have any.
    """

    frame: pd.DataFrame
    retained: int = 0
    erased: int = 0
    shrunk: frozenset[Cell] = frozenset()
    held: Mapping[Cell, str] = field(default_factory=dict)


def land(
    chunk: Chunk,
    extracted: Extracted,
    good: pd.DataFrame,
    bad: pd.DataFrame,
    known: Mapping[Cell, CellState],
    tools: Tools,
) -> Landed:
    """Land the good rows of the changed cells and the records of the bad values.

    good has the layout of a Batch, in canonical order; bad holds quarantine records. Raises
    SchemaChanged, LakeBusy, LakeDamaged, LockLost, LedgerUnavailable.
    """
    return _Landing(chunk, extracted, known, tools).landed(good, bad)


@dataclass(frozen=True)
class _Landing:
    """One chunk on its way into the lake, with the ledger's state of its cells."""

    chunk: Chunk
    extracted: Extracted
    known: Mapping[Cell, CellState]
    tools: Tools

    def landed(self, good: pd.DataFrame, bad: pd.DataFrame) -> Landed:
        """Land the chunk as `land` does."""
        changed = self.extracted.changed
        merged = self._with_older(good)
        earlier = self._earlier_records()
        bad, is_news = self._with_earlier(bad, earlier), len(bad) > 0
        held = split_cells(bad, changed)
        frames = {
            self._state(cell, rows, held[cell], merged): rows
            for cell, rows in split_cells(merged.frame, changed).items()
        }
        self._forget()
        self._commit_quarantine(bad, is_news, earlier, frames, merged)
        self._commit_rows(frames, merged)
        self.tools.ledger.record([*frames, *self._covered_further()])
        self.tools.record(list(frames))
        # a source without history returns each value once
        retained = 0 if is_sample(self.tools) else merged.retained
        return Landed(frames=frames, retained=retained, erased=merged.erased)

    def _forget(self) -> None:
        """Forget the source digests until the cells are recorded anew.

        Otherwise, after a crash behind the commit, cells would count as unchanged if their source, or
        the suite, went back to its earlier state.
        """
        known = [self.known[cell] for cell in self.extracted.changed if cell in self.known]
        self.tools.ledger.record(replace(state, source_digest="") for state in known)

    @property
    def _span(self) -> Window:
        return Window(self.extracted.changed[0].start, self.extracted.changed[-1].stop)

    def _with_older(self, good: pd.DataFrame) -> _Merged:
        """Merge in older rows, by the lake itself, since the ledger may be lost or behind."""
        chunk, changed = self.chunk, self.extracted.changed
        if not changed:
            return _Merged(frame=good)
        landed_before = self.tools.lake.read(chunk.measurement, chunk.environment, self._span)
        parts, retained, erased, shrunk, held = [good], 0, 0, set(), {}
        for cell, older in split_cells(landed_before, changed).items():
            if older.empty:
                continue
            seen = self.extracted.rows[cell]
            same = without_untagged(older, seen, chunk.measurement.tags)
            stays = retain_older(slice_cell(good, cell), same, seen, chunk.measurement)
            stayed, gone = _vanished(stays.rows, chunk)
            parts.append(stayed)
            retained += 0 if chunk.allow_deletes else count_values(gone, chunk.measurement)
            if chunk.allow_deletes and len(gone):
                erased += count_values(gone, chunk.measurement)
                shrunk.add(cell)
            held[cell] = digest_rows(older, chunk.measurement)
            # where the ledger is behind the lake, it is unknown what sinks have
            if stays.lost or len(same) < len(older) or held[cell] != self._digest_before(cell):
                shrunk.add(cell)
        frame = united(parts, chunk.measurement) if any(map(len, parts[1:])) else good
        return _Merged(
            frame=frame, retained=retained, erased=erased, shrunk=frozenset(shrunk), held=held
        )

    def _state(
        self, cell: Cell, rows: pd.DataFrame, held: pd.DataFrame, merged: _Merged
    ) -> CellState:
        chunk, before = self.chunk, self.known.get(cell)
        is_landed = len(rows) > 0 or self._digest_before(cell) != "" or cell in merged.held
        samples_before = before.quarantined if before and is_sample(self.tools) else 0
        return CellState(
            measurement=chunk.measurement.name,
            environment=chunk.environment,
            cell=cell,
            source=self.tools.source.name,
            covered_until=min(cell.stop, chunk.window.stop),
            state="landed" if is_landed else "no_data",
            source_digest=self.extracted.digests[cell],
            landed_digest=digest_rows(rows, chunk.measurement) if is_landed else "",
            rows=len(rows),
            values=count_values(rows, chunk.measurement),
            quarantined=int(held["field"].notna().sum()) + samples_before,
            delete_count=(before.delete_count if before else 0) + (cell in merged.shrunk),
            catalogue_digest=chunk.measurement.digest,
            run_id=self.tools.run_id,
        )

    def _earlier_records(self) -> dict[Cell, pd.DataFrame]:
        """Return the changed cells' records in the lake; a crash may have left some."""
        if not self.extracted.changed:
            return {}
        name, environment = self.chunk.measurement.name, self.chunk.environment
        found = self.tools.lake.quarantined(name, environment, self._span)
        return split_cells(found, self.extracted.changed)

    def _with_earlier(
        self, bad: pd.DataFrame, earlier: Mapping[Cell, pd.DataFrame]
    ) -> pd.DataFrame:
        """Add earlier records of values that the source has lost."""
        parts = [records[records["stage"] != "sink"] for records in earlier.values()]
        parts = [part for part in parts if len(part)]
        # samples are distinguished by their slot
        if not parts or is_sample(self.tools):
            return bad
        records = pd.concat(parts, ignore_index=True)
        new = {*keys_within(self.extracted.batch.frame, self.chunk.measurement), *keys_of(bad)}
        for tag in self.chunk.measurement.tags:
            without = [key for key in keys_of(records) if tag not in json.loads(key[1])]
            known = set(times_with(self.extracted.batch.frame, tag)) if without else ()
            new |= {key for key in without if key[0] in known}
        records = records[[key not in new for key in keys_of(records)]]
        stayed, _ = _vanished(records, self.chunk)
        filled = [part for part in (bad, stayed) if len(part)]
        return pd.concat(filled, ignore_index=True) if filled else bad

    def _commit_quarantine(
        self,
        bad: pd.DataFrame,
        is_news: bool,
        earlier: Mapping[Cell, pd.DataFrame],
        frames: Mapping[CellState, pd.DataFrame],
        merged: _Merged,
    ) -> None:
        """Replace the cells' records by the present ones; no commit when nothing changes."""
        if not is_news and not any(map(len, earlier.values())):
            return
        chunk, tools = self.chunk, self.tools
        stay = [
            self._still_true(
                earlier[state.cell], merged.held.get(state.cell) != state.landed_digest
            )
            for state in frames
        ]
        parts = [part for part in [*stay, bad] if len(part)]
        if not is_news and sum(map(len, parts)) == sum(map(len, earlier.values())):
            return
        records = pd.concat(parts, ignore_index=True) if parts else bad
        cells = [state.cell for state in frames]
        for attempt in retrying(COMMIT_DEADLINE_SECONDS):
            with attempt:
                tools.lock.check()
                tools.lake.quarantine(chunk.measurement, records, cells, chunk.environment)

    def _still_true(self, records: pd.DataFrame, is_loaded_again: bool) -> pd.DataFrame:
        """Return the earlier records that this run does not find anew.

        These are a sink's refusals unless the cell goes to the sinks again, and the quarantined values
        of other samples, which are not read again.
        """
        from_sink = records["stage"] == "sink"
        stays = from_sink & (not is_loaded_again)
        if is_sample(self.tools):
            window = self.chunk.window
            in_slot = (records["time"] >= window.start) & (records["time"] < window.stop)
            stays |= ~from_sink & ~in_slot
        return records[stays]

    def _commit_rows(self, frames: Mapping[CellState, pd.DataFrame], merged: _Merged) -> None:
        """Commit once the cells whose rows differ from the lake; nothing if none do."""
        states = [s for s in frames if s.rows or s.cell in merged.held]
        states = [s for s in states if s.landed_digest != merged.held.get(s.cell)]
        if not states:
            return
        chunk, tools = self.chunk, self.tools
        rows, cells = _joined([frames[state] for state in states]), [state.cell for state in states]
        metadata = {"run_id": tools.run_id, "cells": [state.brief() for state in states]}
        for attempt in retrying(COMMIT_DEADLINE_SECONDS):
            with attempt:
                tools.lock.check()
                tools.lake.land(chunk.measurement, rows, cells, chunk.environment, metadata)

    def _digest_before(self, cell: Cell) -> str:
        return self.known[cell].landed_digest if cell in self.known else ""

    def _covered_further(self) -> list[CellState]:
        same = [self.known[c] for c in self.chunk.cells if c not in self.extracted.changed]
        reached = {state: min(state.cell.stop, self.chunk.window.stop) for state in same}
        return [
            replace(state, covered_until=until)
            for state, until in reached.items()
            if until > state.covered_until
        ]


def _vanished(older: pd.DataFrame, chunk: Chunk) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split older rows that did not come again: those outside the window stay."""
    is_asked = (older["time"] >= chunk.window.start) & (older["time"] < chunk.window.stop)
    return (older[~is_asked] if chunk.allow_deletes else older), older[is_asked]


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Join cells cut from one frame, which share categories, without copying texts."""
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def is_sample(tools: Tools) -> bool:
    """Return whether the source has no history, so each run adds a sample."""
    return tools.source.history != "range"
