"""The catalogue: which measurements there are and how each is read."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tasks.core.documents import Duration, Strict, parse, read_yaml
from tasks.core.errors import UsageInvalid
from tasks.core.window import parse_duration

MetricType = Literal["performance", "business", "security", "federated", "health", "pipeline"]
SourceName = Literal["prometheus"]
FieldType = Literal["float", "int", "string", "bool"]
Better = Literal["lower", "higher", "none"]

RESERVED = frozenset({"time", "environment", "field", "measurement"})
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise ValueError(
            f"{name!r} cannot be a name: use letters, digits and _, starting with a letter, "
            f"and none of {', '.join(sorted(RESERVED))}"
        )
    return name


Name = Annotated[str, AfterValidator(_check_name)]


class Scrape(Strict):
    """How a field is read from a /metrics page."""

    metric: str = Field(description="name of the metric family's samples, without _bucket")
    labels: dict[str, str] = Field(default_factory=dict, description="labels a sample must have")
    as_: Literal["value", "rate", "quantile"] = Field(
        alias="as",
        description="value: as it stands; rate: growth a second since the page kept before; "
        "quantile: of a histogram's growth since then",
    )
    quantile: float | None = Field(default=None, gt=0, lt=1)
    combine: Literal["sum", "mean", "max", "min"] = Field(
        default="sum", description="how samples with the same tags become one value"
    )
    scale: float = Field(default=1.0, description="factor to the field's unit")

    @model_validator(mode="after")
    def _quantile_fits(self) -> Self:
        if (self.quantile is not None) != (self.as_ == "quantile"):
            raise ValueError("`quantile` goes with `as: quantile`, and only with it")
        return self


class FieldSpec(Strict):
    """One field of a measurement."""

    query: str | None = Field(default=None, description="PromQL, aggregated by exactly the tags")
    scrape: Scrape | None = None
    type: FieldType = "float"
    unit: str = Field(default="", description="base unit, e.g. seconds, bytes, ratio")
    better: Better = "none"
    required: bool = False
    description: str = ""

    @model_validator(mode="after")
    def _has_origin(self) -> Self:
        if self.query is None and self.scrape is None:
            raise ValueError("needs a `query` or a `scrape`, or both")
        return self


class Measurement(Strict):
    """One entry of the catalogue: a wide table with one label set."""

    name: Name
    type: MetricType
    source: SourceName = "prometheus"
    description: str = ""
    tags: tuple[Name, ...] = ()
    fields: dict[Name, FieldSpec] = Field(min_length=1)
    suite: str = Field(
        default="", description="name of the suite file; the measurement's by default"
    )
    step: Duration = Field(description="distance of two samples of one series")
    every: Duration = Field(description="slot of a source without history")
    max_series: int = Field(gt=0)

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        columns = [*self.tags, *self.fields]
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise ValueError(f"tags and fields share the name {', '.join(twice)}")
        return self

    @property
    def suite_name(self) -> str:
        """The suite's file name without its ending."""
        return self.suite or self.name

    @property
    def all_tags(self) -> tuple[str, ...]:
        """The tag columns of a Batch, environment first."""
        return ("environment", *self.tags)

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that name one row."""
        return (*self.all_tags, "time")

    @property
    def digest(self) -> str:
        """Hash of all that decides what the data look like."""
        text = self.model_dump_json(exclude={"description"}, by_alias=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class Defaults(Strict):
    """What a measurement has when it says nothing."""

    step: Duration = parse_duration("15s")
    every: Duration = parse_duration("60s")
    max_series: int = Field(default=1000, gt=0)


class _File(Strict):
    defaults: Defaults = Defaults()
    measurements: dict[str, Measurement] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, content: object) -> object:
        if not isinstance(content, dict) or not isinstance(content.get("measurements"), dict):
            return content
        defaults = Defaults.model_validate(content.get("defaults") or {}).model_dump()
        entries = {
            name: {**defaults, **entry, "name": name} if isinstance(entry, dict) else entry
            for name, entry in content["measurements"].items()
        }
        return {**content, "measurements": entries}


class Catalogue(Mapping[str, Measurement]):
    """All measurements by name, in the order of the file."""

    def __init__(self, measurements: Mapping[str, Measurement]) -> None:
        self._measurements = dict(measurements)

    def __getitem__(self, name: str) -> Measurement:
        return self._measurements[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._measurements)

    def __len__(self) -> int:
        return len(self._measurements)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The catalogue of a metrics.yaml.

        Raises:
            ConfigurationInvalid: naming every wrong key.
        """
        return cls(parse(_File, read_yaml(path), str(path)).measurements)

    def select(
        self, types: frozenset[MetricType], names: tuple[str, ...] = ()
    ) -> tuple[Measurement, ...]:
        """The measurements of these types, or exactly the named ones.

        Raises:
            UsageInvalid: when a name is not in the catalogue.
        """
        unknown = [name for name in names if name not in self]
        if unknown:
            raise UsageInvalid(
                argument="--measurement",
                problem=f"{', '.join(unknown)} is not in the catalogue",
                mend="List them: fedvitals catalogue",
            )
        if names:
            return tuple(self[name] for name in names)
        return tuple(entry for entry in self.values() if entry.type in types)
