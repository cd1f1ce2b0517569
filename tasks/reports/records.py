"""Input of a report, and its files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from tasks.core.alert_report import IncidentLine
from tasks.core.measurement import Measurement
from tasks.core.receipt import (
    STATE_ORDER,
    MeasurementReceipt,
    MeasurementState,
    Receipt,
    RunStatus,
    Values,
)
from tasks.core.severity import Severity
from tasks.core.verdict import Verdict
from tasks.core.window import Window

Attention = Literal["bad", "high", "warning", "ok", "unchanged", "no_data"]
Limits = Mapping[str, tuple[float | None, float | None]]
Means = Mapping[str, Mapping[timedelta, float]]
EventKind = Literal["quarantined", "no_data", "not_collected", "catalogue"]

_BY_SEVERITY: dict[str, Attention] = {
    Severity.CRITICAL: "bad",
    Severity.HIGH: "high",
    Severity.WARNING: "warning",
}
_BY_STATE: dict[str, Attention] = {
    "failed": "bad",
    "refused": "bad",
    "pending": "high",
    "lost": "high",
    "retained": "warning",
    "unchanged": "unchanged",
    "no_data": "no_data",
}


@dataclass(frozen=True)
class Event:
    """A fact that fedvitals knows of the time [start, stop), in a sentence."""

    kind: EventKind
    start: datetime
    stop: datetime
    text: str


@dataclass(frozen=True)
class MeasurementChange:
    """Changes since an earlier run: `started` checks fail now, `ended` ones then."""

    name: str
    state_before: MeasurementState
    state: MeasurementState
    started: tuple[str, ...]
    ended: tuple[str, ...]
    quarantined_before: int | None
    quarantined: int | None


@dataclass(frozen=True)
class Changes:
    """Changes since the last run: measurements that differ, and new ones."""

    run_id: str
    stop: datetime
    status: RunStatus
    worst: Severity | None
    sentence: str
    values: Values
    measurements: tuple[MeasurementChange, ...]
    new: tuple[str, ...]


@dataclass(frozen=True)
class MeasurementSection:
    """One measurement of the run, with landed rows and quarantine in the window.

    `limits` are a field's lower and upper limit in its base unit; `earlier` the means of a field in
    the window moved back by so much (tasks.reports.comparison.shifts_of); `events` are drawn.
    """

    measurement: Measurement
    frame: pd.DataFrame
    quarantine: pd.DataFrame
    verdict: Verdict | None
    line: MeasurementReceipt
    limits: Limits = field(default_factory=dict)
    earlier: Means = field(default_factory=dict)
    events: tuple[Event, ...] = ()

    @property
    def attention(self) -> Attention:
        """Return the section's urgency."""
        return attention_of(self.line, self.verdict)


@dataclass(frozen=True)
class RunReport:
    """A run with `notes` on the whole of it; `changes` is None without an earlier run."""

    receipt: Receipt
    generated_at: datetime
    sections: tuple[MeasurementSection, ...]
    notes: tuple[str, ...] = ()
    changes: Changes | None = None
    incidents: tuple[IncidentLine, ...] = ()

    @property
    def zone(self) -> tzinfo:
        """Return the reader's time zone: that of `generated_at`."""
        return self.generated_at.tzinfo or UTC

    @property
    def window(self) -> Window:
        """Return the window that the run read."""
        window = self.receipt.window
        assert window is not None, "a report needs a window"
        return Window(
            datetime.fromisoformat(window["start"]), datetime.fromisoformat(window["stop"])
        )

    @property
    def ordered(self) -> tuple[MeasurementSection, ...]:
        """Return the sections, worst first; equally bad ones keep their order."""
        order = get_args(Attention)
        return tuple(
            sorted(
                self.sections,
                key=lambda one: (order.index(one.attention), STATE_ORDER.index(one.line.state)),
            )
        )


@dataclass(frozen=True)
class ReportFiles:
    """The paths of a written report, and why measurements are shown without their data."""

    html: Path
    json: Path
    chart: Path
    by_type: tuple[Path, ...]
    broken: tuple[str, ...] = ()


def attention_of(line: MeasurementReceipt, verdict: Verdict | None = None) -> Attention:
    """Return the worst of a line's state, quarantine, verdict and warnings."""
    worst = (line.verdict or {}).get("worst")
    if verdict is not None:
        worst = verdict.short()["worst"]
    said: list[Attention] = [_BY_STATE.get(line.state, "ok"), _BY_SEVERITY.get(worst or "", "ok")]
    if line.values.quarantined:
        said.append("bad")
    if line.warnings and line.state != "no_data":
        said.append("warning")
    alarms: list[Attention] = [entry for entry in said if entry in ("bad", "high", "warning")]
    return min(alarms, key=get_args(Attention).index) if alarms else said[0]
