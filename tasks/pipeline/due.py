"""The due cells of a measurement: the newest, those with late rows, and gaps."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from tasks.core.measurement import Measurement
from tasks.core.run_id import moment_of
from tasks.core.settings import Pipeline
from tasks.core.window import Cell, Window, floor
from tasks.ledger.deferred import deferred_cells
from tasks.ledger.gaps import Gaps, find_gaps
from tasks.ledger.ledger import Ledger
from tasks.ledger.watermark import begins_at


@dataclass(frozen=True)
class Job:
    """A measurement of an environment, and what a run does with it.

    `window` is None for due cells; the source's data are final up to `settled`. With `allow_deletes`
    values that the source no longer has are deleted instead of retained.
    """

    measurement: Measurement
    environment: str
    window: Window | None
    now: datetime
    pipeline: Pipeline
    allow_deletes: bool = False

    @property
    def settled(self) -> datetime:
        """Return the end of readable data, on the measurement's own step."""
        return floor(self.now - self.pipeline.settle_delay, self.measurement.step)

    @property
    def newest(self) -> datetime:
        """Return the start of the newest readable cell."""
        return floor(self.settled - timedelta(microseconds=1), self.pipeline.cell)

    @property
    def source_has_since(self) -> datetime:
        """Return the start of the oldest cell that the source may still have."""
        return floor(self.settled - self.pipeline.source_retention, self.pipeline.cell)

    @property
    def kept_since(self) -> datetime | None:
        """Return the start of the oldest retained cell; None when the lake keeps all."""
        return self.measurement.kept_from(self.now, self.pipeline.cell)


@dataclass(frozen=True)
class Due:
    """What a run has to read of a measurement.

    `cells` are read by this run, in this order; `late` are cells to read again for late rows, which
    a run with a window leaves to the next one without; `left` are gaps for later runs, `lost` those
    that the source no longer has; `deferred` were deferred by an earlier run.
    """

    cells: tuple[Cell, ...]
    left: Gaps
    lost: Gaps
    late: tuple[Cell, ...] = ()
    deferred: frozenset[Cell] = frozenset()


def find_due(job: Job, ledger: Ledger) -> Due:
    """Return the cells of the window; else the newest, those with late rows, and gaps.

    A gap is a cell, from the oldest known one or `first_run_cells` on, that was not read to its
    end. `max_gaps_per_run` gaps are read, oldest first; deferred ones get the rest of that limit,
    the longest untried first. Gaps beyond the source's retention are lost, unless a window names
    them.
    """
    length = job.pipeline.cell
    nothing = Gaps((), length)
    if job.window is not None:
        window = job.window.widened(length).clipped(job.settled)
        cells = list(window.cells(length)) if window else []
        order = (*cells[-1:], *cells[:-1])
        return Due(order, left=nothing, lost=nothing, late=late_before(job, cells, ledger))
    start, late = _start(job, ledger), _late(job, ledger)
    span = Window(start, job.newest) if start < job.newest else None
    name, environment = job.measurement.name, job.environment
    gaps = find_gaps(ledger, name, environment, span, length) if span else nothing
    deferred = deferred_cells(ledger, name, environment)
    open_gaps = gaps.since(job.source_has_since).without(late)
    healed = _healed(open_gaps, deferred, job.pipeline.max_gaps_per_run)
    return Due(
        cells=(Cell(job.newest, job.newest + length), *late, *healed),
        left=open_gaps.without(healed),
        lost=gaps.before(job.source_has_since),
        late=tuple(late),
        deferred=frozenset(deferred),
    )


def _healed(gaps: Gaps, deferred: Mapping[Cell, str], limit: int) -> list[Cell]:
    """Return gaps up to the limit: those never tried come first."""
    healed = list(islice(gaps.without(deferred).cells(), limit))
    tried = (cell for cell in gaps.cells() if cell in deferred) if deferred else ()
    return healed + sorted(tried, key=lambda cell: deferred[cell])[: limit - len(healed)]


def _start(job: Job, ledger: Ledger) -> datetime:
    """Return the start of due time, within the lake's own retention."""
    start = job.newest - job.pipeline.first_run_cells * job.pipeline.cell
    retention = job.pipeline.source_retention
    first = begins_at(ledger, job.measurement.name, job.environment, retention)
    if first is not None:
        start = min(start, first)
    return start if job.kept_since is None else max(start, job.kept_since)


def _late(job: Job, ledger: Ledger) -> list[Cell]:
    """Return cells that may have late rows: `late_data_cells` before the newest ones.

    Counted back from this run's newest cell (excluded) and from the last run's (included).
    """
    length, back = job.pipeline.cell, job.pipeline.late_data_cells * job.pipeline.cell
    last = ledger.newest(job.measurement.name, job.environment)
    spans = [(job.newest - back, job.newest)]
    if last is not None and last.cell.start < job.newest:
        spans.append((last.cell.start - back, last.cell.stop))
    earliest = max(_start(job, ledger), job.source_has_since)
    cells = {
        cell
        for start, stop in spans
        if max(start, earliest) < stop
        for cell in Window(max(start, earliest), stop).cells(length)
    }
    return sorted(cells)


def late_before(job: Job, cells: list[Cell], ledger: Ledger) -> tuple[Cell, ...]:
    """Return cells that may have late rows, before these newer ones are read.

    `cells` go beyond the newest known cell, from which late cells are counted; once they are read,
    it is no longer the newest.
    """
    last = ledger.newest(job.measurement.name, job.environment)
    if last is None or not cells or cells[-1].start <= last.cell.start:
        return ()
    back, read_at = job.pipeline.late_data_cells * job.pipeline.cell, moment_of(last.run_id)
    if read_at is not None and read_at >= last.cell.stop + back:
        return ()
    start = max(last.cell.start - back, _start(job, ledger), job.source_has_since)
    if start >= last.cell.stop:
        return ()
    taken = set(cells)
    late = Window(start, last.cell.stop).cells(job.pipeline.cell)
    return tuple(cell for cell in late if cell not in taken)
