"""The documents of `fedvitals alerts` and `fedvitals digest`; docs/schemas has their schemas."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from tasks.core.documents import Strict
from tasks.core.severity import Severity
from tasks.core.units import counted

IncidentState = Literal[
    "open", "silenced", "inhibited", "stale", "flapping", "quiet", "acknowledged",
    "resolved", "gone", "by hand",
]  # fmt: skip


class IncidentLine(Strict):
    """An incident; the id is that of `alerts show`."""

    id: str
    severity: Severity
    environment: str
    alert: str
    state: IncidentState
    since: datetime
    until: datetime | None = Field(default=None, description="when it was closed")
    acknowledged_by: str = ""
    acknowledged_until: datetime | None = None
    silenced_until: datetime | None = None
    undelivered: str = Field(default="", description="what the last channel that refused it says")
    what: str


class IncidentList(Strict):
    """Incidents, the gravest first."""

    incidents: tuple[IncidentLine, ...]


class EventLine(Strict):
    """One change of an incident."""

    at: datetime
    change: str
    before: str
    after: str
    by: str
    why: str


class MessageLine(Strict):
    """One message to a channel about an incident; `at` is when it ended, or is tried next."""

    at: datetime
    channel: str
    what: str
    because: str
    state: str
    tries: int
    problem: str


class IncidentDetail(IncidentLine):
    """An incident with all that happened to it."""

    runbook: str
    labels: dict[str, str]
    events: tuple[EventLine, ...]
    messages: tuple[MessageLine, ...]


class PlannedStep(Strict):
    """When which channels get a message."""

    at: datetime
    step: int = Field(description="0: the first message; then the steps of the escalation")
    channels: tuple[str, ...]
    not_configured: tuple[str, ...]


class Explained(Strict):
    """What an alert would do now."""

    alert: str
    environment: str
    severity: Severity
    fingerprint: str
    incident: str | None = Field(description="id of the incident that it is about, if there is one")
    changes: tuple[str, ...]
    route: str
    steps: tuple[PlannedStep, ...]
    fallback: tuple[str, ...]


class Explanation(Strict):
    """What the alerts of a file would do now."""

    alerts: tuple[Explained, ...]


class ChannelAnswer(Strict):
    """How a channel took a message."""

    channel: str
    ok: bool
    detail: str


class ChannelAnswers(Strict):
    """How channels took a test."""

    channels: tuple[ChannelAnswer, ...]


class NoiseLine(Strict):
    """An alert, and how much of it was noise: ended within 15 minutes, and nobody acted on it."""

    alert: str
    environment: str
    fired: int
    noise: int
    acted_on: int
    flapping: int
    messages: int = Field(description="that channels took")
    median_minutes: float | None = Field(description="of those that have ended")
    longer_for: str | None = Field(
        description="a longer `for` by this much would have kept 80 % of the noise from firing"
    )


class NoiseReport(Strict):
    """The alerts of a window, the noisiest first."""

    start: datetime
    stop: datetime
    alerts: tuple[NoiseLine, ...]


class ShadowLine(Strict):
    """An incident of one side, or of both; the team's alert is empty where it had none."""

    environment: str
    severity: Severity
    fedvitals: str = Field(default="", description="the alert of fedvitals")
    team: str = Field(default="", description="the team's alert at that time")
    since: datetime
    minutes: float | None = Field(description="how long it lasted; null while it is open")
    lead_seconds: float | None = Field(
        default=None, description="by which fedvitals was earlier; negative: later"
    )


class ShadowReport(Strict):
    """Alerts of fedvitals beside a team's own, and the messages that were kept back."""

    start: datetime
    stop: datetime
    is_on: bool = Field(description="shadow of routes.yaml: no message is sent")
    both: tuple[ShadowLine, ...]
    only_fedvitals: tuple[ShadowLine, ...]
    only_team: tuple[ShadowLine, ...]
    openings: dict[str, int] = Field(description="messages that open an incident, by channel")


class SilenceLine(Strict):
    """A silence, in Alertmanager or of `alerts silence`."""

    where: Literal["Alertmanager", "fedvitals"]
    environment: str
    what: str
    by: str
    until: datetime
    why: str


class BudgetLine(Strict):
    """What is left of an SLO's error budget, at its newest run."""

    environment: str
    slo: str
    left_ratio: float
    state: str


class LimitLine(Strict):
    """A limit that history would set elsewhere."""

    rule: str
    limit: float
    learned: float
    fires: int = Field(description="how often the learned one would have fired")


class Review(Strict):
    """What a month says about rules, SLOs and silences."""

    never_fired: tuple[str, ...]
    never_acted_on: tuple[str, ...]
    budgets_unused: tuple[BudgetLine, ...] = Field(description="met with over 90 % of it left")
    limits: tuple[LimitLine, ...]
    silences_without_end: tuple[SilenceLine, ...] = Field(description="of more than 30 days")


class Digest(Strict):
    """What alerts did in a window."""

    start: datetime
    stop: datetime
    open: tuple[IncidentLine, ...]
    fired: dict[str, int] = Field(description="by alert")
    noise: dict[str, int]
    acted_on: dict[str, int]
    escalated: int
    flapping: tuple[str, ...]
    undelivered: int
    silences_that_end: tuple[SilenceLine, ...] = ()
    budgets: tuple[BudgetLine, ...] = Field(default=(), description="below 25 %")
    review: Review | None = None
    not_known: tuple[str, ...] = Field(
        default=(), description="what could not be looked at, and why"
    )
    sent: tuple[ChannelAnswer, ...] = ()


class AlertsReport(Strict):
    """What is open at the end of a run of `alerts`, the gravest first."""

    open: tuple[IncidentLine, ...]
    findings: tuple[str, ...] = Field(default=(), description="sentences")

    @property
    def sentence(self) -> str:
        """Return it as one sentence, what is wrong with alerts first."""
        left = counted(len(self.open), "open incident") if self.open else "no open incident"
        first = f": {self.open[0].severity} {self.open[0].alert}" if self.open else ""
        return "; ".join((*self.findings, left + first))


DOCUMENTS: Mapping[str, type[BaseModel]] = {
    "alerts-ls": IncidentList,
    "alerts-show": IncidentDetail,
    "alerts-explain": Explanation,
    "alerts-test": ChannelAnswers,
    "alerts-noise": NoiseReport,
    "alerts-shadow": ShadowReport,
    "digest": Digest,
}
