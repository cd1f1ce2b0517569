"""Receipts of runs. All sums count values, that is non-null field cells."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, computed_field

from tasks.core.alert_report import AlertsReport
from tasks.core.errors import FedvitalsError, LakeBusy, LedgerAway, LockHeld, LockLost, SumsDiffer
from tasks.core.finding import CHECK, Earlier, Finding, finding_of, no_earlier
from tasks.core.health_report import HealthReport
from tasks.core.maintenance import Maintenance
from tasks.core.outside import shortened
from tasks.core.reconciliation import Reconciliation
from tasks.core.sentence import sentence_of
from tasks.core.severity import Severity, worst
from tasks.core.slo_report import SloReport
from tasks.core.verdict import Verdict, joined_verdicts
from tasks.core.window import Window, iso

MeasurementState = Literal[
    "landed", "unchanged", "no_data", "retained", "lost", "pending", "refused", "failed"
]
RunStatus = Literal["ok", "degraded", "failed", "no_data"]
# lowest severity of the data that makes the exit code 1
FailOn = Literal["critical", "high", "warning", "never"]
# ordered: a measurement gets the first state that applies
STATE_ORDER: tuple[MeasurementState, ...] = (
    "failed", "refused", "pending", "retained", "landed", "unchanged", "lost", "no_data",
)  # fmt: skip


class ExitCode(IntEnum):
    """Exit codes of commands."""

    GOOD = 0
    BAD_FOUND = 1
    USAGE = 2
    PARTIAL = 3


Sums = TypeVar("Sums", "Values", "SinkValues")


@dataclass(frozen=True)
class Values:
    """Destinations of the extracted values, and older values that the source has lost."""

    extracted: int = 0
    landed: int = 0
    quarantined: int = 0
    dropped_by_rule: int = 0
    unchanged: int = 0
    retained: int = 0
    erased: int = 0

    def __add__(self, other: "Values") -> "Values":
        return _added(self, other)

    def check(self) -> None:
        """Raise SumsDiffer when a value is unaccounted for."""
        total = self.landed + self.quarantined + self.dropped_by_rule + self.unchanged
        if self.extracted != total:
            raise SumsDiffer(
                what="extracted = landed + quarantined + dropped_by_rule + unchanged",
                left=self.extracted,
                right=total,
            )


@dataclass(frozen=True)
class SinkValues:
    """Destinations of the values owed to one sink."""

    owed: int = 0
    loaded: int = 0
    pending: int = 0
    refused: int = 0
    skipped_by_rule: int = 0

    def __add__(self, other: "SinkValues") -> "SinkValues":
        return _added(self, other)

    def check(self, sink: str) -> None:
        """Raise SumsDiffer when a value is unaccounted for."""
        total = self.loaded + self.pending + self.refused + self.skipped_by_rule
        if self.owed != total:
            raise SumsDiffer(
                what=f"{sink}: owed = loaded + pending + refused + skipped_by_rule",
                left=self.owed,
                right=total,
            )


def _added(left: Sums, right: Sums) -> Sums:
    return type(left)(
        **{f.name: getattr(left, f.name) + getattr(right, f.name) for f in fields(left)}
    )


@dataclass(frozen=True)
class Outcome:
    """Result of one chunk, or of all chunks of a measurement."""

    measurement: str
    state: MeasurementState
    rows: int = 0
    values: Values = Values()
    sinks: dict[str, SinkValues] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    start: datetime | None = None

    def __post_init__(self) -> None:
        # they quote what comes from outside
        for name in ("problems", "warnings"):
            object.__setattr__(self, name, _bounded(getattr(self, name)))


MOST_LINES, LONGEST_LINE = 100, 1000


def _bounded(lines: tuple[str, ...]) -> tuple[str, ...]:
    more = len(lines) - MOST_LINES
    first = (shortened(line, LONGEST_LINE) for line in lines[:MOST_LINES])
    return (*first, *([f"… and {more} more"] if more > 0 else []))


# outcomes without a time of their own, such as loads, come first
_NEVER = datetime.min.replace(tzinfo=UTC)
# another run works on the same measurement, or the ledger's server is away: the next run does it
_IN_THE_WAY = (LakeBusy, LedgerAway, LockHeld, LockLost)


def given_up(measurement: str, error: FedvitalsError) -> Outcome:
    """Return the outcome of failed work: failed, or left to the next run."""
    state: MeasurementState = "pending" if isinstance(error, _IN_THE_WAY) else "failed"
    return Outcome(measurement, state, problems=(str(error),))


def joined(measurement: str, outcomes: Iterable[Outcome]) -> Outcome:
    """Merge the outcomes of one measurement's chunks into one."""
    parts = sorted(outcomes, key=lambda part: part.start or _NEVER)
    states = {part.state for part in parts}
    values = sum((part.values for part in parts), Values())
    return Outcome(
        measurement=measurement,
        state=next((state for state in STATE_ORDER if state in states), "no_data"),
        rows=sum(part.rows for part in parts),
        values=values,
        sinks=_joined_sinks(parts),
        verdicts=joined_verdicts(v for part in parts for v in part.verdicts),
        problems=tuple(dict.fromkeys(p for part in parts for p in part.problems)),
        warnings=tuple(
            dict.fromkeys([*(w for part in parts for w in part.warnings), *_of_vanished(values)])
        ),
        seconds=_joined_seconds(parts),
        start=min((part.start for part in parts if part.start is not None), default=None),
    )


def _joined_sinks(parts: list[Outcome]) -> dict[str, SinkValues]:
    names = dict.fromkeys(name for part in parts for name in part.sinks)
    return {
        name: sum((part.sinks.get(name, SinkValues()) for part in parts), SinkValues())
        for name in names
    }


def _joined_seconds(parts: list[Outcome]) -> dict[str, float]:
    names = dict.fromkeys(name for part in parts for name in part.seconds)
    return {name: sum(part.seconds.get(name, 0.0) for part in parts) for name in names}


class MeasurementReceipt(BaseModel):
    """One measurement's line of a Receipt; `failing` checks are worst first."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: MeasurementState
    rows: int = 0
    values: Values = Values()
    verdict: dict[str, Any] | None = None
    failing: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Delivery:
    """A delivery of a run; only a defect in it makes the run degraded.

    `what` is "self metrics", "report", "artifacts" or the name of a channel.
    """

    what: str
    ok: bool
    message: str = ""


class Receipt(BaseModel):
    """Results of one run, in values; `seconds` of chunks may exceed the wall's.

    `status` says whether the run did its work, `worst` is the most severe finding in the data:
    critical when a value went to quarantine, None without any. `sinks` are all that are in use.
    `lag_seconds` is the age of the newest loaded data of the measurement that is furthest behind,
    None when nothing is loaded. `places` are the folders in force, `details` those of a reconcile,
    a maintain, a health, an SLO or an alerts run.
    """

    model_config = ConfigDict(frozen=True)

    flow: str
    run_id: str
    environment: str
    status: RunStatus
    worst: Severity | None = None
    fail_on: FailOn = "high"
    window: dict[str, str] | None
    values: Values = Values()
    sinks: dict[str, SinkValues] = {}
    measurements: tuple[MeasurementReceipt, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = {}
    retries: int = 0
    lag_seconds: float | None = None
    deliveries: tuple[Delivery, ...] = ()
    report: str | None = None
    places: dict[str, str] = {}
    details: Reconciliation | Maintenance | HealthReport | SloReport | AlertsReport | None = None

    @property
    def is_idle(self) -> bool:
        """Return whether nothing changed or was owed, so the last report still applies."""
        states = {line.state for line in self.measurements}
        owed = any(counts.owed for counts in self.sinks.values())
        return "unchanged" in states and states <= {"unchanged", "no_data"} and not owed

    @property
    def did_its_work(self) -> bool:
        """Return whether nothing failed or was refused; pending work does not count."""
        states = {line.state for line in self.measurements}
        return self.status != "failed" and not states & {"failed", "refused"}

    @property
    def is_found_bad(self) -> bool:
        """Return whether the data are at least as bad as `fail_on`, or the service unhealthy."""
        if self.fail_on == "never":
            return False
        if isinstance(self.details, HealthReport) and not self.details.is_healthy:
            return True
        return self.worst is not None and self.worst.rank <= Severity(self.fail_on).rank

    @computed_field  # type: ignore[prop-decorator]
    @property
    def sentence(self) -> str:
        """Return the one sentence on the run, which every place shows."""
        return sentence_of(self)

    @property
    def exit_code(self) -> ExitCode:
        """Return 1 when work failed, was refused, or data are bad; 3 when pending; else 0."""
        if not self.did_its_work or self.is_found_bad:
            return ExitCode.BAD_FOUND
        return ExitCode.PARTIAL if self.status == "degraded" else ExitCode.GOOD

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return the sentences about the whole run: notes, findings, failed deliveries."""
        found = (
            each.sentence
            for each in self.findings
            if each.kind != CHECK and each.severity is not Severity.INFO
        )
        lost = (each.message for each in self.deliveries if not each.ok)
        return (*self.notes, *found, *lost)


def write_receipt(
    flow: str,
    run_id: str,
    environment: str,
    window: Window | None,
    outcomes: Iterable[Outcome],
    seconds: dict[str, float],
    retries: int = 0,
    findings: Sequence[Finding] = (),
    sinks: Iterable[str] = (),
    at: datetime | None = None,
    earlier: Earlier = no_earlier,
    **more: Any,
) -> Receipt:
    """Build the receipt of a run from one outcome a measurement and its findings.

    sinks: the names of those in use; one without an outcome was owed nothing. at: now, in the
    reader's time zone. earlier: the same finding of an earlier run.
    Raises SumsDiffer when a value is unaccounted for.
    """
    parts = list(outcomes)
    lines = tuple(_line(part) for part in parts)
    values = sum((part.values for part in parts), Values())
    counted = {**dict.fromkeys(sinks, SinkValues()), **_joined_sinks(parts)}
    for part in parts:
        part.values.check()
        for name, counts in part.sinks.items():
            counts.check(name)
    found = (*_failed_checks(parts, at or datetime.now(UTC), earlier), *findings)
    quarantined = [Severity.CRITICAL] if values.quarantined else []
    return Receipt(
        flow=flow,
        run_id=run_id,
        environment=environment,
        status=_status(lines, counted),
        worst=worst([*quarantined, *(one.severity for one in found)]),
        window={"start": iso(window.start), "stop": iso(window.stop)} if window else None,
        values=values,
        sinks=counted,
        measurements=lines,
        findings=found,
        seconds={
            name: round(took, 4) for name, took in {**_joined_seconds(parts), **seconds}.items()
        },
        retries=retries,
        **more,
    )


def _failed_checks(parts: Iterable[Outcome], at: datetime, earlier: Earlier) -> Iterator[Finding]:
    for part in parts:
        for check in (check for verdict in part.verdicts for check in verdict.failed):
            yield finding_of(part.measurement, check, at, earlier)


def _line(outcome: Outcome) -> MeasurementReceipt:
    checks = [verdict.short() for verdict in outcome.verdicts]
    return MeasurementReceipt(
        name=outcome.measurement,
        state=outcome.state,
        rows=outcome.rows,
        values=outcome.values,
        verdict=checks[0] if checks else None,
        failing=tuple(c.check_id for verdict in outcome.verdicts for c in verdict.failed),
        problems=outcome.problems,
        warnings=outcome.warnings,
    )


def _of_vanished(values: Values) -> Iterator[str]:
    if values.retained:
        yield f"the source no longer has {values.retained} values; they are retained as landed before"
    if values.erased:
        yield f"the source no longer has {values.erased} values; they were deleted from the lake"


def _status(lines: tuple[MeasurementReceipt, ...], sinks: dict[str, SinkValues]) -> RunStatus:
    states = {line.state for line in lines}
    alive = states & {"landed", "unchanged", "retained", "pending", "refused"}
    # a measurement with a failed chunk is failed, but its other chunks have landed
    alive |= {line.state for line in lines if line.values.landed or line.values.unchanged}
    if "failed" in states and not alive:
        return "failed"
    unloaded = any(counts.pending or counts.refused for counts in sinks.values())
    if states & {"failed", "pending", "refused"} or unloaded:
        return "degraded"
    return "ok" if alive else "no_data"
