"""Records of alerts: a notice, the incident that it is about, and how that changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from tasks.core.severity import Severity

# from Alertmanager's webhook, from POST /events, or from fedvitals' own runs
Origin = Literal["alertmanager", "event", "finding"]
Muted = Literal["", "silenced", "inhibited"]
Change = Literal[
    "opened",
    "adopted",
    "reopened",
    "flapping",
    "steady",
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
    `kind` is what routes choose by: `alert`, or the kind of a finding.
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
    runbook: str = ""
    link: str = ""


@dataclass(frozen=True)
class Acknowledgement:
    """An acknowledgement: no escalation until it expires."""

    by: str
    at: datetime
    until: datetime
    why: str = ""


@dataclass(frozen=True)
class Incident:
    """What fires, from its first notice to its end.

    `id` is 16 hex digits of this incident alone: one that returns later is a new one, with the
    earlier one's id in `returned_from`. `starts_at` is that of its newest epoch. `quiet_since` is
    when it ended, while it is held open; `closed_at` is None until then. `evaluated_every` is the
    interval of what finds it, in seconds; `flips` are the moments at which it began or ended.
    """

    id: str
    newest: Notice
    opened_at: datetime
    starts_at: datetime
    seen_at: datetime
    muted: Muted = ""
    acknowledged: Acknowledgement | None = None
    quiet_since: datetime | None = None
    closed_at: datetime | None = None
    reason: Reason | None = None
    flips: tuple[datetime, ...] = ()
    is_flapping: bool = False
    is_stale: bool = False
    returned_from: str = ""

    @property
    def is_open(self) -> bool:
        """Return whether it is not closed."""
        return self.closed_at is None


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


# what a channel is to do about an incident; `summary` is a message about several
Action = Literal["open", "update", "acknowledge", "resolve", "summary"]


@dataclass(frozen=True)
class AlertMessage:
    """What a channel shows of an incident at one moment; client identities are hashed.

    `title` is one line; `facts` are pairs of label and text, in order; `history` is the line that
    says what changed. `newest` are values for a sparkline, oldest first. `links` are pairs of title
    and URL. A repeat is one that the channel may show already.
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
    is_test: bool = False
    is_repeat: bool = False
