"""Measurements: their tags, their fields, and where each is read."""

import hashlib
import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tasks.core import plugins
from tasks.core.documents import Duration, Strict
from tasks.core.history import ROUND_TAGS, HistoryFact, facts_of
from tasks.core.json_path import JsonPath
from tasks.core.window import floor, format_duration

MetricType = Literal["performance", "business", "security", "federated", "health", "pipeline"]
FieldType = Literal["float", "int", "string", "bool"]
Better = Literal["lower", "higher", "none"]
Fact = Literal["days_left", "issuer", "subject", "host_matches", "trusted"]

FACT_TYPES: dict[Fact, FieldType] = {
    "days_left": "float",
    "issuer": "string",
    "subject": "string",
    "host_matches": "bool",
    "trusted": "bool",
}
# tags that distinguish TLS connections
TLS_TAGS = ("host", "port")
# source of a field's value, by kind of source; a plugin's may have any of these
ORIGINS: dict[str, tuple[str, ...]] = {
    "prometheus": ("query", "scrape"),
    "rest": ("path",),
    "tls": ("fact",),
    "federated": ("history",),
    # figures of a run, which tasks/core/self_metrics.py maps, and of health checks
    "receipt": (),
    "health": (),
    # of SLOs, which tasks/core/slo_measurement.py maps
    "slo": (),
    # changes of these
    "incidents": (),
}

_SHORTEST_RETENTION = timedelta(days=1)
RESERVED = frozenset({"time", "environment", "field", "measurement"})
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise ValueError(
            f"{name!r} is not a valid name: use letters, digits and _, starting with a letter, "
            f"but not {', '.join(sorted(RESERVED))}"
        )
    return name


def _check_source(name: str) -> str:
    # of what a run says of itself no entry can be made
    if name not in ORIGINS and name not in plugins.names(plugins.SOURCES):
        known = (
            *(source for source in ORIGINS if ORIGINS[source]),
            *plugins.names(plugins.SOURCES),
        )
        raise ValueError(f"there is no source {name!r}; there are {', '.join(known)}")
    return name


Name = Annotated[str, AfterValidator(_check_name)]
SourceName = Annotated[str, AfterValidator(_check_source)]


class Scrape(Strict):
    """How a field is read from a /metrics page."""

    metric: str = Field(description="name of the metric family's samples, without _bucket")
    labels: dict[str, str] = Field(default_factory=dict, description="labels a sample must have")
    as_: Literal["value", "rate", "quantile"] = Field(
        alias="as",
        description="value: as it is; rate: growth a second since the last page; "
        "quantile: of a histogram's growth since then",
    )
    quantile: float | None = Field(default=None, gt=0, lt=1)
    combine: Literal["sum", "mean", "max", "min"] = Field(
        default="sum", description="how samples with equal tags are combined"
    )
    scale: float = Field(default=1.0, description="factor to the field's unit")

    @model_validator(mode="after")
    def _quantile_fits(self) -> Self:
        if (self.quantile is not None) != (self.as_ == "quantile"):
            raise ValueError("`quantile` goes with `as: quantile`, and only with it")
        return self


class Rest(Strict):
    """Location of a measurement's rows in a REST API; paths are JSONPaths (RFC 9535)."""

    endpoint: str = Field(
        pattern=r"^/[^\s\\#]*$", description="path on the service, with its query if it has one"
    )
    rows: JsonPath | None = Field(
        default=None, description="of the list whose items are the rows; without it the body is one"
    )
    tags: dict[Name, JsonPath] = Field(
        default_factory=dict, description="where in a row each tag is"
    )


class FieldSpec(Strict):
    """One field of a measurement, with the source of its value."""

    query: str | None = Field(default=None, description="PromQL, aggregated by exactly the tags")
    scrape: Scrape | None = None
    path: JsonPath | None = Field(default=None, description="JSONPath in a row of a REST answer")
    fact: Fact | None = Field(default=None, description="of the service's TLS certificate")
    history: HistoryFact | None = Field(
        default=None, description="of a round, or of a client in it, in the training's history"
    )
    type: FieldType = "float"
    unit: str = Field(default="", description="base unit, e.g. seconds, bytes, ratio")
    better: Better = "none"
    required: bool = False
    description: str = ""

    @property
    def origins(self) -> tuple[str, ...]:
        """Return the keys that give its source."""
        keys = [key for keys in ORIGINS.values() for key in keys]
        return tuple(key for key in keys if getattr(self, key) is not None)


def _check_origin(name: str, spec: FieldSpec, source: str) -> None:
    allowed = ORIGINS[source]
    wrong = [key for key in spec.origins if key not in allowed]
    if wrong:
        raise ValueError(f"field {name}: `{wrong[0]}` does not go with `source: {source}`")
    if allowed and not spec.origins:
        keys = " or a ".join(f"`{key}`" for key in allowed)
        raise ValueError(f"field {name}: needs a {keys}{', or both' * (len(allowed) > 1)}")
    if spec.fact is not None and spec.type != FACT_TYPES[spec.fact]:
        raise ValueError(f"field {name}: {spec.fact} is of type {FACT_TYPES[spec.fact]}")


def _check_history(name: str, spec: FieldSpec, tags: tuple[str, ...]) -> None:
    facts = facts_of(tags)
    if facts is None or spec.history is None:
        return
    if spec.history not in facts:
        raise ValueError(
            f"field {name}: with the tags {', '.join(tags)} there is no {spec.history}"
        )
    if spec.type != facts[spec.history]:
        raise ValueError(f"field {name}: {spec.history} is of type {facts[spec.history]}")


class Measurement(Strict):
    """One entry of the catalogue: a wide table with one label set."""

    name: Name
    type: MetricType
    source: SourceName = "prometheus"
    description: str = ""
    rest: Rest | None = None
    tags: tuple[Name, ...] = ()
    fields: dict[Name, FieldSpec] = Field(min_length=1)
    suite: str = Field(
        default="", description="name of the suite file; the measurement's by default"
    )
    step: Duration = Field(description="distance of two samples of one series")
    every: Duration = Field(description="slot of a source without history")
    max_series: int = Field(gt=0)
    identity: Name | None = Field(
        default=None, description="the tag that names a client, written as client_ids says"
    )
    retention: Duration | None = Field(
        default=None, description="how long its rows are kept; without it, for ever"
    )

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        columns = [*self.tags, *self.fields]
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise ValueError(f"tags and fields share the name {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _is_kept_a_while(self) -> Self:
        # late rows and healed gaps may still change younger rows
        if self.retention is not None and self.retention < _SHORTEST_RETENTION:
            raise ValueError(f"`retention` must be {format_duration(_SHORTEST_RETENTION)} or more")
        return self

    @model_validator(mode="after")
    def _fits_its_source(self) -> Self:
        origins = ORIGINS.get(self.source, ())
        for name, spec in self.fields.items():
            if self.source in ORIGINS:
                _check_origin(name, spec, self.source)
            _check_history(name, spec, self.tags)
        if (self.rest is not None) != ("path" in origins):
            raise ValueError("`rest` goes with `source: rest`, and only with it")
        if self.rest is not None and set(self.rest.tags) != set(self.tags):
            raise ValueError("`rest.tags` must have a path for each tag, and nothing else")
        if "fact" in origins and not set(self.tags) <= set(TLS_TAGS):
            raise ValueError(f"the tags of a certificate can be {' and '.join(TLS_TAGS)}")
        if "history" in origins:
            self._check_history()
        if self.identity is not None and self.identity not in self.tags:
            raise ValueError("`identity` must be one of the tags")
        return self

    def _check_history(self) -> None:
        if facts_of(self.tags) is None:
            raise ValueError("the tags of a training's history are run_id (rounds) or client")
        of_client: tuple[HistoryFact, ...] = () if self.tags == ROUND_TAGS else ("run_id",)
        for fact in (*of_client, "round"):
            if self.field_of(fact) is None:
                raise ValueError(f"needs a field with `history: {fact}` to distinguish rounds")

    @property
    def is_own(self) -> bool:
        """Whether it is built in: what fedvitals measures of itself and of health."""
        return ORIGINS.get(self.source) == ()

    @property
    def suite_name(self) -> str:
        """Return the suite's file name without its ending."""
        return self.suite or self.name

    @property
    def all_tags(self) -> tuple[str, ...]:
        """Return the tag columns of a Batch, environment first."""
        return ("environment", *self.tags)

    @property
    def key(self) -> tuple[str, ...]:
        """Return the columns that identify a row."""
        return (*self.all_tags, "time")

    def field_of(self, fact: HistoryFact) -> str | None:
        """Return the field that holds this fact of a training's history, if any."""
        return next((name for name, spec in self.fields.items() if spec.history == fact), None)

    def kept_from(self, now: datetime, cell: timedelta) -> datetime | None:
        """Return the start of the oldest retained whole cell; None when all are."""
        return None if self.retention is None else floor(now - self.retention, cell)

    @property
    def digest(self) -> str:
        """Hash everything that decides the form of the data."""
        left_out: dict[str, Any] = {
            "description": True,
            "retention": True,
            "fields": {"__all__": {"description"}},
        }
        text = self.model_dump_json(exclude=left_out, by_alias=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
