"""Health checks: their configuration (health.yaml), samples, and states over time."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tasks.core.clocks import CLOCK
from tasks.core.documents import Duration, Strict, parse, read_yaml
from tasks.core.json_path import JsonPath
from tasks.core.maintenance_windows import MaintenanceWindow
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.core.severity import Severity
from tasks.core.thresholds import Comparison
from tasks.core.window import parse_duration

FILE = "health.yaml"
_SECOND, _DAY = timedelta(seconds=1), timedelta(days=1)

# begins the error of an answer that did not come in time
LATE = "no whole answer within"

# checks besides endpoints and pushed ones, as findings and maintenance name them
OTHER_CHECKS = ("training", "controls", "host_cpu", "host_memory", "host_disk", CLOCK)
State = Literal["up", "degraded", "down", "no_data", "maintenance"]
SampleStatus = Literal["healthy", "unhealthy", "error"]


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from error
    return text


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.password:
        raise ValueError(f"{url!r} is not an http or https URL without credentials")
    return url


Pattern = Annotated[str, AfterValidator(_pattern)]
Url = Annotated[str, AfterValidator(_address)]
Path = Annotated[str, Field(pattern=r"^/[^\s\\#]*$")]


class BodyCondition(Strict):
    """A condition on the body: on what a path selects, or on the whole text."""

    path: JsonPath | None = Field(default=None, description="JSONPath; without it the whole text")
    comparison: Comparison | None = Field(default=None, description="of the selected with `value`")
    value: bool | float | str | None = None
    pattern: Pattern | None = Field(default=None, description="regular expression, found in it")
    degrades: bool = Field(default=False, description="unmet it is degraded, not down")

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.comparison is None) != (self.value is None):
            raise ValueError("`comparison` and `value` go together")
        if self.comparison is not None and (self.path is None or self.pattern is not None):
            raise ValueError("`comparison` needs a `path`, and no `pattern`")
        if self.path is None and self.pattern is None:
            raise ValueError("needs a `path`, a `pattern`, or both")
        return self


class Endpoint(Strict):
    """An endpoint that is asked: the key is its path on the service's API, or `url` says where."""

    url: Url | None = Field(default=None, description="an address of its own; it gets no token")
    status: int = Field(default=200, ge=100, le=599, description="expected status")
    body: tuple[BodyCondition, ...] = ()
    response_time: Duration | None = Field(default=None, description="slower is degraded")
    severity: Severity = Severity.HIGH
    environments: tuple[str, ...] = Field(default=(), description="only these; empty: all")


class TrainingCheck(Strict):
    """Whether rounds move while a training runs; paths are of a body of the service's API."""

    endpoint: Path = "/api/training/status"
    state: JsonPath = "$.state"
    running: str = "running"
    round: JsonPath = "$.current_round"
    total_rounds: JsonPath = "$.total_rounds"
    stalled_after: Duration = Field(default=parse_duration("30m"), gt=timedelta(0))
    severity: Severity = Severity.HIGH


class PushedCheck(Strict):
    """A job that reports by itself."""

    every: Duration = Field(ge=_SECOND, description="how often it reports")
    grace: Duration = Field(default=parse_duration("5m"), description="how late it may be")
    severity: Severity = Severity.HIGH
    environments: tuple[str, ...] = Field(default=(), description="only these; empty: all")


Check = TypeVar("Check", Endpoint, PushedCheck)


def _none_is_empty(content: object) -> object:
    return {} if content is None else content


class Health(Strict):
    """The content of health.yaml."""

    interval: Duration = Field(default=parse_duration("30s"), ge=_SECOND, le=_DAY)
    timeout: Duration = Field(default=parse_duration("30s"), ge=_SECOND / 10, le=60 * 5 * _SECOND)
    failures: int = Field(default=3, ge=1, le=100, description="in a row, then it is down")
    successes: int = Field(default=2, ge=1, le=100, description="in a row, then it is up")
    no_data_after: Duration = Field(default=parse_duration("15m"), ge=_SECOND)
    no_data_severity: Severity | None = Field(
        default=None, description="by default high in the default environment, else warning"
    )
    certificate_days: float = Field(default=14, ge=0, description="fewer days left are a warning")
    endpoints: Annotated[dict[str, Endpoint], BeforeValidator(_none_is_empty)] = Field(
        default_factory=dict
    )
    training: TrainingCheck | None = TrainingCheck()
    pushed: Annotated[dict[str, PushedCheck], BeforeValidator(_none_is_empty)] = Field(
        default_factory=dict
    )
    controls: tuple[Url, ...] = Field(
        default=(), description="addresses that answer whenever the checker's network works"
    )
    maintenance: tuple[MaintenanceWindow, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, content: object) -> object:
        """Let an endpoint without settings of its own stand as a bare key."""
        if not isinstance(content, dict) or not isinstance(content.get("endpoints"), dict):
            return content
        named = {name: entry or {} for name, entry in content["endpoints"].items()}
        return {**content, "endpoints": named}

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        for name, endpoint in self.endpoints.items():
            if endpoint.url is None and not re.fullmatch(r"/[^\s\\#]*", name):
                raise ValueError(f"endpoints.{name}: is no path; give it a `url`")
        if twice := sorted(set(self.endpoints) & set(self.pushed)):
            raise ValueError(f"pushed.{twice[0]}: an endpoint has this name")
        return self

    @property
    def gap(self) -> timedelta:
        """Return the time between two samples beyond which nothing was observed."""
        return 2 * self.interval

    def severity_of_no_data(self, environment: str, default: str) -> Severity:
        """Return how severe it is that an environment's check has no data."""
        own = Severity.HIGH if environment == default else Severity.WARNING
        return self.no_data_severity or own

    def pushed_in(self, environment: str) -> dict[str, PushedCheck]:
        """Return the pushed checks of an environment."""
        return _of(self.pushed, environment)

    def targets(self, environment: Environment) -> "tuple[Target, ...]":
        """Return what is asked in an environment; nothing of a service without an address."""
        service = environment.services.get("api")
        asked = _of(self.endpoints, environment.name).items()
        named = ((name, one, one.url or (service and service.url + name)) for name, one in asked)
        return tuple(Target(environment.name, name, url, one) for name, one, url in named if url)


def _of(checks: Mapping[str, Check], environment: str) -> dict[str, Check]:
    return {
        n: one for n, one in checks.items() if environment in (one.environments or (environment,))
    }


def read_health(settings: Settings) -> Health:
    """Read health.yaml, the shipped one where the config folder has none."""
    path = settings.config_file(FILE)
    return parse(Health, read_yaml(path), str(path))


class Key(NamedTuple):
    """A check of an environment."""

    environment: str
    check: str


@dataclass(frozen=True)
class Target:
    """An endpoint of an environment, with its whole address."""

    environment: str
    check: str
    url: str
    endpoint: Endpoint


@dataclass(frozen=True)
class Sample:
    """One answer of a check, or why there was none.

    `answered`: something came from the target, so it is evidence whatever the checker's network
    does. `excused`: the checker could not see, so it is none. `seconds` is None without an answer.
    """

    environment: str
    check: str
    at: datetime
    status: SampleStatus
    seconds: float | None = None
    status_code: int | None = None
    error: str = ""
    answered: bool = True
    degraded: bool = False
    excused: bool = False
    certificate_days: float | None = None

    @property
    def key(self) -> Key:
        """Return the check that it is of."""
        return Key(self.environment, self.check)

    @property
    def is_late(self) -> bool:
        """Return whether the time-out was used up."""
        return self.error.startswith(LATE)

    @property
    def state(self) -> State:
        """Return the state that it alone is evidence for."""
        if self.excused:
            return "no_data"
        if self.status == "healthy":
            return "up"
        return "degraded" if self.degraded else "down"


@dataclass(frozen=True)
class Interval:
    """One state of a check over [start, until): until its newest sample while it lasts.

    `state` is what the samples say, also in maintenance, so that uptime can be counted both ways.
    """

    environment: str
    check: str
    state: State
    start: datetime
    until: datetime
    why: str = ""
    maintenance: bool = False

    @property
    def key(self) -> Key:
        """Return the check that it is of."""
        return Key(self.environment, self.check)

    @property
    def shown(self) -> State:
        """Return the state that people see."""
        return "maintenance" if self.maintenance else self.state


@dataclass(frozen=True)
class Streak:
    """Samples in a row that disagree with the state, all in one direction."""

    state: State
    count: int
    first: datetime
    why: str


@dataclass(frozen=True)
class Track:
    """What is known of a check: its newest interval, and what speaks against it."""

    interval: Interval
    streak: Streak | None = None


@dataclass(frozen=True)
class Push:
    """The last report of a pushed check; `at` is None before the first one."""

    environment: str
    check: str
    at: datetime | None
    deadline: datetime
    failed: bool = False


@dataclass(frozen=True)
class HostSample:
    """Figures of a machine; shares are 0 to 1."""

    environment: str
    at: datetime
    cpu_ratio: float
    memory_ratio: float
    disk_ratio: float
    load_1m: float | None = None
    load_5m: float | None = None
    load_15m: float | None = None


@dataclass(frozen=True)
class ResponseTime:
    """How long a check's answers took in the ten minutes from `start`, in seconds."""

    check: str
    start: datetime
    mean: float
    slowest: float
