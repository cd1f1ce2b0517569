"""Records of alerts: a notice, the incident that it is about, and how that changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from tasks.core.finding import STILL
from tasks.core.severity import Severity

# from Alertmanager's webhook, from POST /events, or from fedvitals' own runs
Origin = Literal["alertmanager", "event", "finding"]
Muted = Literal["", "silenced", "inhibited"]
Change = Literal[
    "opened",
    "adopted",
    "reopened",
    "flapping",
    "worsened",
    "eased",
    "silenced",
    "inhibited",
    "unmuted",
    "acknowledged",
    "unacknowledged",
    "escalated",
    "stale",
    "resolved",
]
# why an incident was closed
Reason = Literal["resolved", "gone", "by hand"]


@dataclass(frozen=True)
class Notice:
    """One statement of a source that an alert fires, or that it has ended.

    `fingerprint` is the identity in its environment: 16 hex digits, equal in every notice about the
    same alert, whatever its origin. `starts_at` orders its epochs; `ends_at` is None while it fires.
    `kind` is what routes choose by: `alert`, or the kind of a finding. `every` are the seconds
    between two evaluations.
    """

    fingerprint: str
    environment: str
    name: str
    kind: str
    severity: Severity
    origin: Origin
    starts_at: datetime
    received_at: datetime
    sentence: str
    ends_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    value: float | None = None
    limit: float | None = None
    every: float = 60.0
    runbook: str = ""
    link: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Return its identity: environment and fingerprint."""
        return self.environment, self.fingerprint


@dataclass(frozen=True)
class Timing:
    """How long what holds; `evaluations` are those that pass in quiet before a close.

    `flapping_starts` starts within `flapping_window` make an incident flap; it is then closed only
    after `reopen_window`, as one that has returned is.
    """

    evaluations: int = 4
    resolve_hold: timedelta = timedelta(minutes=5)
    reopen_window: timedelta = timedelta(minutes=30)
    flapping_starts: int = 4
    flapping_window: timedelta = timedelta(hours=1)
    acknowledged_for: timedelta = timedelta(hours=8)
    stale_after: timedelta = timedelta(hours=24)


@dataclass(frozen=True)
class Acknowledgement:
    """An acknowledgement: no escalation until it expires."""

    by: str
    at: datetime
    until: datetime
    why: str = ""


@dataclass(frozen=True)
class Silence:
    """A silence of an alert, of its later incidents too: nothing is opened or escalates."""

    by: str
    at: datetime
    until: datetime
    why: str = ""


@dataclass(frozen=True)
class Incident:
    """What fires, from its first notice to its end.

    `id` is 16 hex digits of this incident alone: one that returns late is a new one, with the
    earlier one's id in `returned_from`. `starts_at` and `ended` are those of its newest epoch, and
    `starts` the epochs of the last hours. While it is quiet, `quiet_since` is since when and
    `quiet_for` the seconds of it in which its source was up. `closed_at` is None while it is open.
    `values` are the newest ones, oldest first.
    """

    id: str
    newest: Notice
    opened_at: datetime
    starts_at: datetime
    seen_at: datetime
    ended: bool = False
    starts: tuple[datetime, ...] = ()
    quiet_since: datetime | None = None
    quiet_for: float = 0.0
    is_gone: bool = False
    closed_at: datetime | None = None
    reason: Reason | None = None
    muted: Muted = ""
    acknowledged: Acknowledgement | None = None
    is_flapping: bool = False
    is_stale: bool = False
    has_returned: bool = False
    returned_from: str = ""
    values: tuple[float, ...] = ()
    silence: Silence | None = None

    @property
    def is_open(self) -> bool:
        """Return whether it is not closed."""
        return self.closed_at is None

    @property
    def fires(self) -> bool:
        """Return whether its alert fires, as far as known."""
        return self.is_open and self.quiet_since is None

    @property
    def what(self) -> str:
        """Return its sentence; of one that is over, without what holds no more."""
        sentence = self.newest.sentence
        return sentence if self.is_open else sentence.removesuffix(STILL)

    @property
    def is_muted(self) -> bool:
        """Return whether nothing about it is to be opened: silenced here or there, or inhibited."""
        return bool(self.muted) or self.silence is not None

    @property
    def key(self) -> tuple[str, str]:
        """Return its identity: environment and fingerprint."""
        return self.newest.key


@dataclass(frozen=True)
class ShownIncident:
    """An incident that a channel shows as open, with its reference there."""

    id: str
    fingerprint: str
    environment: str
    name: str
    severity: Severity
    opened_at: datetime
    reference: str


@dataclass(frozen=True)
class IncidentEvent:
    """One change of an incident, kept for ever: when, from what, to what, by whom and why."""

    incident_id: str
    at: datetime
    change: Change
    before: str = ""
    after: str = ""
    by: str = ""
    why: str = ""


@dataclass(frozen=True)
class ActiveAlert:
    """An alert that Alertmanager holds, and what keeps it from being sent."""

    notice: Notice
    muted: Muted = ""


@dataclass(frozen=True)
class Snapshot:
    """All that the Alertmanager of an environment holds at a moment.

    `started_at` is since when it runs: right after that it does not know yet what fires.
    `is_source_up` says whether the Prometheus that evaluates the rules answered, and `firing` are the
    labels of what fires there, without those that it adds on the way. `others` are the environments
    whose alerts another Alertmanager holds.
    """

    environment: str
    at: datetime
    started_at: datetime
    is_source_up: bool
    alerts: tuple[ActiveAlert, ...] = ()
    firing: tuple[Mapping[str, str], ...] = ()
    others: frozenset[str] = frozenset()

    def fires(self, incident: Incident) -> bool:
        """Return whether Prometheus has the incident's alert, whatever Alertmanager holds."""
        labels = incident.newest.labels.items()
        return any(one.items() <= labels for one in self.firing)


# what a channel is to do about an incident; `summary` is a message about several
Action = Literal["open", "update", "acknowledge", "resolve", "summary"]


@dataclass(frozen=True)
class AlertMessage:
    """What a channel shows of an incident at one moment; client identities are hashed.

    `title` is one line; `facts` are pairs of label and text, in order; `history` is the line that
    says what changed. `newest` are values for a sparkline, oldest first. `links` are pairs of title
    and URL. News are worth a message of their own where none can be changed. A repeat is one that the
    channel may show already.
    """

    incident_id: str
    fingerprint: str
    action: Action
    environment: str
    name: str
    kind: str
    severity: Severity
    title: str
    sentence: str
    time: datetime
    opened_at: datetime
    closed_at: datetime | None = None
    history: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    failed: tuple[str, ...] = ()
    newest: tuple[float, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    is_news: bool = False
    is_test: bool = False
    is_repeat: bool = False
