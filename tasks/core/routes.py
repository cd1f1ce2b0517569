"""config/routes.yaml: which channels an incident goes to, and when it escalates."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from tasks.core.documents import Duration, Strict, parse, read_yaml
from tasks.core.incidents import Incident, Timing
from tasks.core.settings import Settings
from tasks.core.severity import Severity
from tasks.core.window import format_duration

FILE = "routes.yaml"
ChannelName = Literal["slack", "pagerduty", "github", "email", "grafana", "apprise"]
CHANNELS: tuple[ChannelName, ...] = ("slack", "pagerduty", "github", "email", "grafana", "apprise")


def is_channel(name: str, of_routes: str) -> bool:
    """Return whether a channel is one that routes name so: apprise-2 is of apprise."""
    return name.partition("-")[0] == of_routes


class Escalation(Strict):
    """A step that is taken while an incident is not acknowledged."""

    after: Duration = Field(description="after the incident opened")
    channels: tuple[ChannelName, ...] = Field(min_length=1)


class Route(Strict):
    """Where incidents go; the first route that fits one decides.

    What a channel refuses for good goes to the first of `fallback` that takes it.
    """

    severities: tuple[Severity, ...] = Field(
        default=tuple(Severity), description="severities; all by default"
    )
    environments: Literal["all", "default"] | tuple[str, ...] = Field(
        default="all", description="names, or default: the default environment alone"
    )
    kinds: tuple[str, ...] = Field(
        default=(), description="alert, or kinds of findings such as slo; all by default"
    )
    channels: tuple[ChannelName, ...] = Field(default=(), description="none: no message")
    fallback: tuple[ChannelName, ...] = ()
    escalation: tuple[Escalation, ...] = ()

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        times = [step.after for step in self.escalation]
        if times != sorted(set(times)):
            raise ValueError("the steps of escalation must come one after the other")
        return self

    def fits(self, incident: Incident, default_environment: str) -> bool:
        """Return whether it is the incident's."""
        newest = incident.newest
        named = self.environments
        if named == "default":
            named = (default_environment,)
        return (
            newest.severity in self.severities
            and (named == "all" or newest.environment in named)
            and (not self.kinds or newest.kind in self.kinds)
        )


class _Incidents(Strict):
    """How long what holds, as Timing has it."""

    evaluations: int = Field(default=Timing.evaluations, ge=0)
    resolve_hold: Duration = Timing.resolve_hold
    reopen_window: Duration = Timing.reopen_window
    flapping_starts: int = Field(default=Timing.flapping_starts, ge=2)
    flapping_window: Duration = Timing.flapping_window
    acknowledged_for: Duration = Timing.acknowledged_for
    stale_after: Duration = Timing.stale_after


class _File(Strict):
    shadow: bool = Field(default=False, description="true: incidents are kept, and nothing is sent")
    incidents: _Incidents = _Incidents()
    routes: dict[str, Route]
    digest: tuple[ChannelName, ...] = Field(default=(), description="channels of digests")


class Planned(NamedTuple):
    """A step of an incident's route: when, and what is sent where."""

    at: datetime
    number: int
    channels: tuple[ChannelName, ...]


class Routes(NamedTuple):
    """The routes in force, by name, in their order."""

    timing: Timing
    routes: Mapping[str, Route]
    digest: tuple[ChannelName, ...]
    default_environment: str
    shadow: bool = False

    def route_of(self, incident: Incident) -> tuple[str, Route]:
        """Return the first route that fits, with its name; one without channels when none does."""
        fitting = (
            (name, route)
            for name, route in self.routes.items()
            if route.fits(incident, self.default_environment)
        )
        return next(fitting, ("none", Route()))

    def steps_of(self, incident: Incident) -> Iterator[Planned]:
        """Yield the steps of an incident that nobody acknowledges, the first messages as step 0."""
        _, route = self.route_of(incident)
        begin = incident.opened_at
        yield Planned(begin, 0, route.channels)
        for number, step in enumerate(route.escalation, 1):
            yield Planned(begin + step.after, number, step.channels)

    def matrix(self, environments: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return the channels of every environment and severity, for the kind alert."""
        return [
            {"environment": name, "severity": str(severity), **self._cell(name, severity)}
            for name in environments
            for severity in Severity
        ]

    def _cell(self, environment: str, severity: Severity) -> dict[str, Any]:
        incident = _sample(environment, severity)
        name, route = self.route_of(incident)
        steps = {format_duration(step.after): list(step.channels) for step in route.escalation}
        return {"route": name, "channels": list(route.channels), "escalation": steps}


def read_routes(settings: Settings) -> Routes:
    """Read routes.yaml; raise ConfigurationInvalid when it is wrong."""
    path = settings.config_file(FILE)
    content = parse(_File, read_yaml(path), str(path))
    timing = Timing(**dict(content.incidents))
    return Routes(
        timing, content.routes, content.digest, settings.default_environment, content.shadow
    )


def _sample(environment: str, severity: Severity) -> Incident:
    from tasks.core.incidents import Notice
    from tasks.core.window import EPOCH

    facts = {"fingerprint": "0" * 16, "name": "any", "kind": "alert", "origin": "alertmanager"}
    times = {"starts_at": EPOCH, "received_at": EPOCH}
    notice = Notice(environment=environment, severity=severity, sentence="", **facts, **times)  # type: ignore[arg-type]
    return Incident("0" * 16, notice, EPOCH, EPOCH, EPOCH)
