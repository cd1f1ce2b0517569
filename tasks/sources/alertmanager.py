"""Alertmanager's API v2: what it holds, since when it runs, and findings that are posted to it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tasks.core.checks import ServiceCheck
from tasks.core.errors import AnswerInvalid, FedvitalsError, SourceRefused, SourceUnavailable
from tasks.core.incidents import Notice, Silence
from tasks.core.services import Service
from tasks.http import Answer, Limits, Transport

NAME = "Alertmanager"
LIMITS = Limits(connect=3.0, silence=10.0, total=10.0, largest=64 * 2**20)
# of its default resolve_timeout
LEAST_LIFE = timedelta(minutes=5)


class _Status(BaseModel):
    model_config = ConfigDict(extra="ignore")
    uptime: datetime


class _State(BaseModel):
    model_config = ConfigDict(extra="ignore")
    state: str
    silenced_by: list[str] = Field(default_factory=list, alias="silencedBy")
    inhibited_by: list[str] = Field(default_factory=list, alias="inhibitedBy")


class HeldAlert(BaseModel):
    """An alert as the API has it; what `alert` holds is read as the webhook's is."""

    model_config = ConfigDict(extra="allow")
    status: _State


class _Matcher(BaseModel):
    model_config = ConfigDict(extra="ignore")
    name: str
    value: str
    is_regex: bool = Field(default=False, alias="isRegex")
    is_equal: bool = Field(default=True, alias="isEqual")

    def __str__(self) -> str:
        sign = (
            ("=~" if self.is_regex else "=") if self.is_equal else "!~" if self.is_regex else "!="
        )
        return f"{self.name}{sign}{self.value}"


class _SilenceStatus(BaseModel):
    model_config = ConfigDict(extra="ignore")
    state: str


class HeldSilence(BaseModel):
    """A silence as the API has it."""

    model_config = ConfigDict(extra="ignore")
    id: str
    status: _SilenceStatus
    matchers: list[_Matcher]
    starts_at: datetime = Field(alias="startsAt")
    ends_at: datetime = Field(alias="endsAt")
    created_by: str = Field(default="", alias="createdBy")
    comment: str = ""

    @property
    def what(self) -> str:
        """Return its matchers as one text, in order."""
        return ", ".join(sorted(map(str, self.matchers)))


_ALERTS: TypeAdapter[list[HeldAlert]] = TypeAdapter(list[HeldAlert])
_SILENCES: TypeAdapter[list[HeldSilence]] = TypeAdapter(list[HeldSilence])


class Alertmanager(Transport):
    """One Alertmanager."""

    def __init__(self, service: Service, limits: Limits = LIMITS) -> None:
        super().__init__(service, NAME, limits)

    def no_answer(self, what: str, problem: str, is_late: bool) -> FedvitalsError:
        """Return SourceUnavailable."""
        return SourceUnavailable(service=NAME, url=self.service.url, what=what, problem=problem)

    def alerts(self) -> list[HeldAlert]:
        """Return all alerts that it holds, also those that it keeps to itself; raise as a source."""
        what = "its alerts"
        query = {"active": "true", "silenced": "true", "inhibited": "true", "unprocessed": "true"}
        found: list[HeldAlert] = self._get(_ALERTS, "/api/v2/alerts", what, query)
        return found

    def started_at(self) -> datetime:
        """Return since when it runs; raise as a source."""
        status: _Status = self._get(TypeAdapter(_Status), "/api/v2/status", "its status", {})
        return status.uptime.astimezone(UTC)

    def post(self, alerts: Sequence[dict[str, Any]]) -> None:
        """Post alerts; it takes all of them, or raises as a source."""
        what = "alerts that are posted"
        answer = self.call("POST", f"{self.service.url}/api/v2/alerts", what, json=list(alerts))
        if answer.status != HTTPStatus.OK:
            raise self._failure(answer, what)

    def silences(self) -> list[HeldSilence]:
        """Return the silences that hold now; raise as a source."""
        found: list[HeldSilence] = self._get(_SILENCES, "/api/v2/silences", "its silences", {})
        return [one for one in found if one.status.state == "active"]

    def silence(self, labels: Mapping[str, str], given: Silence) -> None:
        """Silence the alerts that have all these labels; raise as a source."""
        what = "a silence"
        matchers = [{"name": n, "value": v, "isRegex": False} for n, v in labels.items()]
        body = {
            "matchers": matchers,
            "startsAt": given.at.isoformat(),
            "endsAt": given.until.isoformat(),
            "createdBy": given.by,
            "comment": given.why or "no reason given",
        }
        answer = self.call("POST", f"{self.service.url}/api/v2/silences", what, json=body)
        if answer.status != HTTPStatus.OK:
            raise self._failure(answer, what)

    def end_silences(self, labels: Mapping[str, str]) -> None:
        """End the silences of exactly these labels; raise as a source."""
        wanted = {f"{name}={value}" for name, value in labels.items()}
        for one in self.silences():
            if {str(matcher) for matcher in one.matchers} == wanted:
                what, url = "the end of a silence", f"{self.service.url}/api/v2/silence/{one.id}"
                answer = self.call("DELETE", url, what)
                if answer.status != HTTPStatus.OK:
                    raise self._failure(answer, what)

    def check(self) -> ServiceCheck:
        """Check that it answers with this token."""
        try:
            since = self.started_at()
        except FedvitalsError as error:
            fix = error.facts.get("fix") or f"Check that it runs, and {self.service.origin}"
            return ServiceCheck(NAME, "answers", False, str(error.facts.get("problem")), fix)
        return ServiceCheck(NAME, "answers", True, f"since {since:%Y-%m-%d %H:%M} UTC")

    def _get(self, kind: TypeAdapter[Any], path: str, what: str, query: dict[str, str]) -> Any:
        answer = self.call("GET", self.service.url + path, what, params=query)
        if answer.status != HTTPStatus.OK:
            raise self._failure(answer, what)
        try:
            if answer.flaw:
                raise ValueError(answer.flaw)
            return kind.validate_json(answer.body)
        except (ValidationError, ValueError) as error:
            problem = str(error).splitlines()[0]
            facts = {"service": NAME, "url": self.service.url, "what": what}
            raise AnswerInvalid(**facts, problem=problem) from error

    def _failure(self, answer: Answer, what: str) -> FedvitalsError:
        words = self.quoted(answer.body.decode("utf-8", "replace")) or "no reason given"
        facts = {"service": NAME, "url": self.service.url, "what": what}
        if answer.asks_again:
            return SourceUnavailable(**facts, problem=f"HTTP {answer.status}: {words}")
        fix = f"Check {self.service.origin} and its token"
        return SourceRefused(**facts, status=answer.status, problem=words, fix=fix)


def posted(notices: Iterable[Notice], now: datetime, every: timedelta) -> list[dict[str, Any]]:
    """Return findings as its API takes them; each lives until a third check is missed."""
    life = max(3 * every, LEAST_LIFE)
    return [_posted(one, now, life) for one in notices]


def _posted(one: Notice, now: datetime, life: timedelta) -> dict[str, Any]:
    labels = {
        **one.labels,
        "alertname": one.name,
        "environment": one.environment,
        "severity": str(one.severity),
        "fedvitals_fingerprint": one.fingerprint,
        "fedvitals_kind": one.kind,
    }
    end = one.ends_at or now + life
    return {
        "labels": {key: value for key, value in labels.items() if value},
        "annotations": {"summary": one.sentence, "runbook_url": one.runbook},
        "startsAt": one.starts_at.isoformat(),
        "endsAt": end.isoformat(),
    }
