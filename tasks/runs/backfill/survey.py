"""Survey of a backfill: an estimate from cheap counts and earlier runs."""

from dataclasses import dataclass
from datetime import timedelta

from tasks.core.errors import FedvitalsError, SourceUnavailable
from tasks.core.measurement import Measurement
from tasks.core.receipt import Receipt
from tasks.core.window import Window, follows, groups_of
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.pipeline.chunk import MOST_CELLS
from tasks.pipeline.due import Job
from tasks.runs.backfill.plan import FLOW, Backfill, cells_to_read, window_cells
from tasks.runs.base.registry import source
from tasks.sources.counting import SeriesCount

# receipts to measure the pace by, and the least values that they must have moved
PACE_RUNS = 10
PACE_VALUES = 100_000
# half the pace of two cores from a local Prometheus to a local InfluxDB
ASSUMED_PACE = 100_000.0


@dataclass(frozen=True)
class Pace:
    """Values processed in a second, and the origin of that number."""

    values_per_second: float
    origin: str


@dataclass(frozen=True)
class Share:
    """One measurement's cells in the window, those still to be read, and an estimate.

    `series` and `values` are None where they could not be counted.
    """

    measurement: str
    cells: int
    due: int
    cells_a_chunk: int
    chunks: int
    series: int | None
    values: int | None


@dataclass(frozen=True)
class Survey:
    """The estimate of a backfill. `problems` say why something could not be counted."""

    shares: tuple[Share, ...]
    pace: Pace
    problems: tuple[str, ...]

    @property
    def values(self) -> int:
        """Return the estimated values of everything countable."""
        return sum(share.values or 0 for share in self.shares)

    @property
    def seconds(self) -> float:
        """Return the estimated time for them."""
        return self.values / self.pace.values_per_second

    def line(self) -> str:
        """Describe the survey in one line."""
        due, cells = sum(s.due for s in self.shares), sum(s.cells for s in self.shares)
        chunks = sum(s.chunks for s in self.shares)
        took = timedelta(seconds=round(self.seconds))
        return (
            f"{due} of {cells} cells to read, in {chunks} chunks: about {self.values:,} values in "
            f"{took} ({self.pace.values_per_second:,.0f} values a second: {self.pace.origin})"
        )


def survey(backfill: Backfill, ledger: Ledger) -> Survey:
    """Estimate a backfill; the source is queried for numbers of series only.

    Values are series times slots of the cells to be read; the time is theirs at the pace of the
    last runs.
    """
    plan = backfill.plan
    lake = Lake(plan.settings.lake_url)
    shares, problems = [], []
    is_there = True
    for entry in plan.measurements:
        counts: dict[str, SeriesCount] = {}
        try:
            counts = _counted(entry, backfill) if is_there else {}
        except FedvitalsError as error:
            problems.append(str(error))
            # after a failure the others are not waited for
            is_there = not isinstance(error, SourceUnavailable)
        shares.append(_share(entry, backfill, counts, ledger, lake))
    pace = _known_pace(ledger, plan.environment.name, plan.run_id)
    return Survey(tuple(shares), pace, tuple(problems))


def _counted(entry: Measurement, backfill: Backfill) -> dict[str, SeriesCount]:
    cells = list(window_cells(backfill.job(entry)))
    kind = source(entry.source)
    if not cells or kind.count is None:
        return {}
    service = backfill.plan.environment.services[kind.service_name]
    return kind.count(service, entry, Window(cells[0].start, cells[-1].stop))


def _share(
    entry: Measurement,
    backfill: Backfill,
    counts: dict[str, SeriesCount],
    ledger: Ledger,
    lake: Lake,
) -> Share:
    job, options = backfill.job(entry), backfill.options
    suite = backfill.plan.suites[entry.name]
    # the ledger's state of a missing table is dropped once the run begins
    is_new = options.replace or not lake.has(entry.name)
    due = cells_to_read(job, suite, ledger, is_new)
    slots = job.pipeline.cell // entry.step
    most = max((count.most for count in counts.values()), default=0)
    a_chunk = options.chunk or _cells_of_rows(most * slots, job, ledger)
    mean = sum(count.mean for count in counts.values())
    return Share(
        measurement=entry.name,
        cells=sum(1 for _ in window_cells(job)),
        due=len(due),
        cells_a_chunk=a_chunk,
        chunks=sum(1 for _ in groups_of(due, a_chunk, fits=follows)),
        series=most if counts else None,
        values=round(mean * slots * len(due)) if counts else None,
    )


def _cells_of_rows(rows: int, job: Job, ledger: Ledger) -> int:
    """Return the number of cells of `rows` rows; by the last cell if uncounted."""
    last = ledger.newest(job.measurement.name, job.environment)
    fullest = max(rows, last.rows if last else 0, 1)
    return max(1, min(MOST_CELLS, job.pipeline.chunk_rows // fullest))


def _known_pace(ledger: Ledger, environment: str, before: str) -> Pace:
    """Return the pace of earlier backfills that loaded something, else of such collects."""
    for flow in (FLOW, "collect"):
        texts = ledger.last_runs(flow, environment, before, PACE_RUNS)
        receipts = [each for each in map(Receipt.model_validate_json, texts) if _moved(each)]
        values = sum(receipt.values.landed for receipt in receipts)
        took = sum(receipt.seconds.get("work", 0.0) for receipt in receipts)
        if values >= PACE_VALUES and took:
            return Pace(values / took, f"the last {len(receipts)} runs of {flow}")
    return Pace(ASSUMED_PACE, "assumed, since no earlier run was large enough to measure")


def _moved(receipt: Receipt) -> bool:
    """Return whether a run landed values and, where it has sinks, loaded some."""
    sinks = receipt.sinks.values()
    return bool(receipt.values.landed) and (not sinks or any(each.loaded for each in sinks))
