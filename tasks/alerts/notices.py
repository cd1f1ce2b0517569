"""Notices from what senders say: Alertmanager's webhook, generic events, and our own findings."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tasks.core.finding import Finding, fingerprint_of
from tasks.core.incidents import Notice
from tasks.core.outside import shortened
from tasks.core.severity import NAMES, Severity

# what Alertmanager says of the end of an alert that fires: Go's zero time
_LONG_AGO = datetime(1970, 1, 2, tzinfo=UTC)
LONGEST, MOST_LABELS = 1000, 64
# the identity of one of our findings that Alertmanager sends back
FINGERPRINT_LABEL, KIND_LABEL = "fedvitals_fingerprint", "fedvitals_kind"
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
# names of severities elsewhere
_SEVERITIES: Mapping[str, Severity] = {
    "error": Severity.HIGH,
    "major": Severity.HIGH,
    "page": Severity.CRITICAL,
    "low": Severity.INFO,
    "medium": Severity.WARNING,
    **{names.alertmanager: one for one, names in NAMES.items()},
}

# fingerprint and kind of an alert, by its labels, where it came from a rule of ours
Identify = Callable[[str, Mapping[str, str]], tuple[str, str] | None]
Text = Annotated[str, AfterValidator(lambda text: shortened(text, LONGEST))]
Labels = Annotated[
    dict[Text, Text], AfterValidator(lambda given: dict(sorted(given.items())[:MOST_LABELS]))
]


Model = TypeVar("Model", bound=BaseModel)


class _Lax(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class SentAlert(_Lax):
    """An alert as Alertmanager's webhook and its API have it."""

    labels: Labels
    annotations: Labels = Field(default_factory=dict)
    starts_at: datetime = Field(alias="startsAt")
    ends_at: datetime = Field(default=_LONG_AGO, alias="endsAt")
    generator_url: Text = Field(default="", alias="generatorURL")
    status: Any = "firing"


class Webhook(_Lax):
    """The body of Alertmanager's webhook, version 4; only `alerts` are used.

    The status of the whole and the common labels are those of a group, which nobody asked about.
    """

    version: Literal["4"]
    alerts: tuple[SentAlert, ...]
    truncated: int = Field(default=0, ge=0, alias="truncatedAlerts")


class Event(_Lax):
    """A generic event; its name and environment are its identity, and nothing else."""

    action: Literal["alert-triggered", "alert-resolved"]
    alert_name: Annotated[Text, Field(min_length=1)]
    severity: str = "warning"
    description: Text = ""
    environment: Text = ""


def severity_of(name: str) -> Severity:
    """Return the severity of this name; a warning for one that is not known."""
    known = {str(one): one for one in Severity}
    return known.get(name.lower()) or _SEVERITIES.get(name.lower(), Severity.WARNING)


def of_webhook(
    body: bytes, default_environment: str, identify: Identify, now: datetime
) -> tuple[list[Notice], int]:
    """Return the notices of a webhook, and how many alerts the sender left out.

    Raises ValueError for a body that is none.
    """
    read = _parse(Webhook, body)
    made = (of_alert(one, default_environment, identify, now) for one in read.alerts)
    return [one for one in made if one is not None], read.truncated


def of_alert(
    alert: SentAlert, default_environment: str, identify: Identify, now: datetime
) -> Notice | None:
    """Return the notice of an alert; None for one of a rule that only observes.

    Its fingerprint is that of the finding on the same threshold, else of all its labels.
    """
    labels = dict(alert.labels)
    name = labels.get("alertname", "")
    environment = labels.get("environment") or default_environment
    known = identify(environment, labels)
    if known and labels.get("mode") == "observe":
        return None
    ours = labels.pop(FINGERPRINT_LABEL, "")
    kind = labels.pop(KIND_LABEL, "alert")
    if _FINGERPRINT.fullmatch(ours):
        known = (ours, kind)
    text = "\0".join(f"{key}={value}" for key, value in labels.items())
    fingerprint, kind = known or (fingerprint_of("alert", f"{environment}\0{text}"), "alert")
    notes = alert.annotations
    ended = alert.status == "resolved" and alert.ends_at > _LONG_AGO
    return Notice(
        fingerprint=fingerprint if name else "",
        environment=environment,
        name=name,
        kind=kind,
        severity=severity_of(labels.get("severity", "")),
        origin="alertmanager",
        starts_at=alert.starts_at,
        received_at=now,
        sentence=notes.get("summary") or notes.get("description") or name,
        ends_at=alert.ends_at if ended else None,
        labels=labels,
        runbook=notes.get("runbook_url", ""),
        link=alert.generator_url,
    )


def of_event(body: bytes, default_environment: str, now: datetime) -> Notice:
    """Return the notice of a generic event; raise ValueError for a body that is none."""
    read = _parse(Event, body)
    environment = read.environment or default_environment
    return Notice(
        fingerprint=fingerprint_of("event", f"{environment}\0{read.alert_name}"),
        environment=environment,
        name=read.alert_name,
        kind="event",
        severity=severity_of(read.severity),
        origin="event",
        starts_at=now,
        received_at=now,
        sentence=read.description or read.alert_name,
        ends_at=now if read.action == "alert-resolved" else None,
        labels={"alertname": read.alert_name},
    )


def of_finding(finding: Finding, environment: str, flow: str, now: datetime, link: str) -> Notice:
    """Return the notice that a finding holds."""
    evidence = finding.evidence
    labels = evidence.get("labels")
    tags = labels if isinstance(labels, Mapping) else {}
    name = evidence.get("rule") or evidence.get("check") or finding.kind
    hint = finding.hint.removeprefix("See ")
    return Notice(
        fingerprint=finding.fingerprint,
        environment=environment,
        name=shortened(str(name), LONGEST),
        kind=finding.kind,
        severity=finding.severity,
        origin="finding",
        starts_at=now,
        received_at=now,
        sentence=finding.sentence,
        labels={"flow": flow, **{str(key): str(value) for key, value in tags.items()}},
        value=finding.estimate,
        runbook=hint if hint != finding.hint else "",
        link=link,
    )


def _parse(model: type[Model], body: bytes) -> Model:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise ValueError(f"{where}: {first['msg']}") from None


def hidden_labels(
    labels: Mapping[str, str], tags: frozenset[str], name: Callable[[str], str]
) -> dict[str, str]:
    """Return the labels with the identities of clients as pseudonyms."""
    return {tag: name(value) if tag in tags and value else value for tag, value in labels.items()}


def hidden(
    notices: Iterable[Notice], tags: frozenset[str], name: Callable[[str], str]
) -> list[Notice]:
    """Return the notices with the identities of clients as pseudonyms, in labels and sentences."""
    found = []
    for one in notices:
        sentence = one.sentence
        for value in (value for tag, value in one.labels.items() if tag in tags and value):
            sentence = sentence.replace(value, name(value))
        labels = hidden_labels(one.labels, tags, name)
        found.append(replace(one, labels=labels, sentence=sentence))
    return found
