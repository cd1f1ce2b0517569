"""A backfill's plan: its checked options, and the cells still to read."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from tasks.core.errors import ConfigurationInvalid, NothingConfigured, UsageInvalid
from tasks.core.measurement import Measurement
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.core.window import Cell, Window, format_duration, iso, parse_duration
from tasks.ledger.ledger import Ledger
from tasks.pipeline.chunk import MOST_CELLS, is_by_rules
from tasks.pipeline.due import Job
from tasks.runs.base.plan import Plan, PlanType, Request, logger, make_plan
from tasks.runs.base.registry import PROMETHEUS, configured_sources, source_in
from tasks.runs.base.run import Run
from tasks.validation.model import Suite

Runner = Literal["threads", "dask"]
FLOW = "backfill"
# more workers is a typing error, on one machine or a cluster
MOST_WORKERS = 1000


@dataclass(frozen=True)
class BackfillOptions:
    """Options of a backfill; `chunk` is in cells, None for about `chunk_rows` rows.

    `address` is of a Dask scheduler; None for a cluster on this machine.
    """

    workers: int
    chunk: int | None = None
    replace: bool = False
    runner: Runner = "threads"
    address: str | None = None


@dataclass(frozen=True)
class Backfill:
    """The checked plan of a run, and its options."""

    plan: Plan
    options: BackfillOptions

    def job(self, measurement: Measurement) -> Job:
        """Return the job of one measurement."""
        return self.plan.job(measurement, self.options.replace)


@dataclass(frozen=True)
class BackfillRequest:
    """Parameters of a backfill, as the flow gets them."""

    start: str
    stop: str = "now"
    type: PlanType = "all"
    measurements: list[str] | None = None
    chunk: str | None = None
    replace: bool = False
    runner: Runner = "threads"
    workers: int | None = None
    address: str | None = None


def make_backfill(run: Run, request: BackfillRequest) -> Backfill:
    """Check all options and plan the backfill."""
    settings = run.settings
    options = BackfillOptions(
        workers=_checked_workers(request.workers, settings),
        chunk=None if request.chunk is None else _cells_of(request.chunk, settings.pipeline.cell),
        replace=request.replace,
        runner=request.runner,
        address=request.address,
    )
    _check_runner(options, settings)
    _check_history(run.environment)
    chosen = request.measurements
    plan = make_plan(run, Request(request.type, chosen, request.start, request.stop))
    return Backfill(_with_history(plan, bool(chosen)), options)


def cells_to_read(job: Job, suite: Suite, ledger: Ledger, is_anew: bool) -> list[Cell]:
    """Return the job's cells still to be read, oldest first; all of them with is_anew.

    A cell is done when the ledger has it covered to its end, or to now, and it was extracted under
    this suite and catalogue entry.
    """
    cells = list(window_cells(job))
    if not cells or is_anew:
        return cells
    span = Window(cells[0].start, cells[-1].stop)
    known = ledger.cells(job.measurement.name, job.environment, span)

    def is_done(cell: Cell) -> bool:
        state = known.get(cell)
        return (
            state is not None
            and state.covered_until >= min(cell.stop, job.settled)
            # a lost cell may have been read in part
            and state.state != "lost"
            and is_by_rules(state, suite, job.measurement)
        )

    return [cell for cell in cells if not is_done(cell)]


def window_cells(job: Job) -> Iterator[Cell]:
    """Yield the settled, retained cells of the job's window, oldest first."""
    assert job.window is not None, "a backfill always has a window"
    window = job.window.widened(job.pipeline.cell).clipped(job.settled)
    for cell in window.cells(job.pipeline.cell) if window else ():
        if job.kept_since is None or cell.start >= job.kept_since:
            yield cell


def _checked_workers(workers: int | None, settings: Settings) -> int:
    if workers is None:
        return settings.pipeline.workers
    if not 1 <= workers <= MOST_WORKERS:
        problem = f"{workers} is not a number of workers"
        raise UsageInvalid(argument="--workers", problem=problem, fix=f"Give 1 to {MOST_WORKERS}")
    return workers


def _cells_of(chunk: str, cell: timedelta) -> int:
    try:
        length = parse_duration(chunk)
    except ValueError as error:
        raise UsageInvalid(
            argument="--chunk", problem=str(error), fix="Give a duration such as 6h"
        ) from error
    if length % cell or length > MOST_CELLS * cell:
        raise UsageInvalid(
            argument="--chunk",
            problem=f"{chunk} is not a whole number of cells of {format_duration(cell)}, 1 to {MOST_CELLS}",
            fix="Give such a duration",
        )
    return length // cell


def _check_runner(options: BackfillOptions, settings: Settings) -> None:
    if options.runner == "dask" and find_spec("distributed") is None:
        fix = "Install it: pip install 'fedvitals[dask]'"
        raise ConfigurationInvalid(where="--runner", problem="dask is not installed", fix=fix)
    if options.address is None:
        return
    if options.runner != "dask":
        fix = "Add it, or leave this out"
        raise UsageInvalid(argument="--address", problem="goes with --runner dask", fix=fix)
    if _is_here(options.address):
        return
    local = []
    if settings.ledger_url.startswith("sqlite"):
        local.append("the ledger is a SQLite file (FEDVITALS_LEDGER_URL)")
    if "://" not in settings.lake_url or settings.lake_url.startswith("file:"):
        local.append("the lake is a folder (FEDVITALS_LAKE_URL)")
    if local:
        problem = f"the workers may be on other hosts, but {' and '.join(local)}"
        fix = "Use a PostgreSQL ledger and a lake on an object store, or leave --address out"
        raise ConfigurationInvalid(where="--address", problem=problem, fix=fix)


def _is_here(address: str) -> bool:
    """Return whether a Dask scheduler's address is on this machine."""
    parts = urlsplit(address)
    try:
        is_address = parts.scheme in ("tcp", "tls") and parts.hostname and parts.port
    except ValueError:
        is_address = None
    if not is_address or "@" in parts.netloc:
        problem = "is not the address of a Dask scheduler"
        fix = "Give one such as tcp://127.0.0.1:8786"
        raise UsageInvalid(argument="--address", problem=problem, fix=fix)
    host = parts.hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _check_history(environment: Environment) -> None:
    if not any(kind.history == "range" for kind in configured_sources(environment)):
        raise ConfigurationInvalid(
            where=f"environment {environment.name}",
            problem="has no source with history to backfill from",
            fix=f"Set {environment.setting(f'{PROMETHEUS.service_name}_url')}",
        )


def _with_history(plan: Plan, is_named: bool) -> Plan:
    """Return the plan without sources that lack history; raise if such is named."""
    kinds = {e.source: source_in(e.source, plan.environment) for e in plan.measurements}
    ranges = {name for name, kind in kinds.items() if kind and kind.history == "range"}
    entries = tuple(e for e in plan.measurements if e.source in ranges)
    others = [e.name for e in plan.measurements if e not in entries]
    if others and (is_named or not entries):
        problem = f"the source of {', '.join(others)} has no history"
        fix = "Collect its present values: fedvitals collect"
        if is_named:
            raise UsageInvalid(argument="--measurement", problem=problem, fix=fix)
        raise NothingConfigured(
            where=plan.settings.config / "metrics.yaml", problem=problem, fix=fix
        )
    warnings = [w for entry in entries if (w := _of_retention(entry, plan))]
    if others:
        warnings.insert(0, f"skipped, since their source has no history: {', '.join(others)}")
    for warning in warnings:
        logger.warning(warning)
    return replace(plan, measurements=entries, warnings=(*plan.warnings, *warnings))


def _of_retention(entry: Measurement, plan: Plan) -> str | None:
    assert plan.window is not None
    kept_from: datetime | None = entry.kept_from(plan.now, plan.settings.pipeline.cell)
    if kept_from is None or plan.window.start >= kept_from:
        return None
    return f"{entry.name}: not read before {iso(kept_from)}, the start of its retention"
