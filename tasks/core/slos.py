"""SLOs: the objectives of slos.yaml, over events or time slices, and their windows."""

import hashlib
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tasks.core.documents import Duration, Strict, parse, read_yaml
from tasks.core.errors import ConfigurationInvalid
from tasks.core.thresholds import Comparison, Label, Number
from tasks.core.window import parse_duration

FILE = "slos.yaml"
SHORTEST, LONGEST = timedelta(hours=1), timedelta(days=90)
# with a lower objective more events are bad than a burn rate can tell from an outage
LOWEST = 0.5


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Counters = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]


class Ratio(Strict):
    """Counters of all events, and of the bad or the good ones among them."""

    total: Counters
    bad: Counters | None = None
    good: Counters | None = None

    @model_validator(mode="after")
    def _has_one_part(self) -> Self:
        if (self.bad is None) == (self.good is None):
            raise ValueError("needs either `bad` or `good`")
        return self

    @property
    def part(self) -> tuple[str, ...]:
        """Return the counters of the bad events, or of the good ones."""
        return self.bad or self.good or ()

    @property
    def counters(self) -> tuple[str, ...]:
        """Return all counters, each once."""
        return tuple(dict.fromkeys((*self.total, *self.part)))


class TimeSlice(Strict):
    """A query of which each evaluation is a slice, good where it keeps the comparison."""

    expr: str = Field(min_length=1)
    comparison: Comparison
    value: Number


class Slo(Strict):
    """One objective: the least share of good events, or of good time slices, in a window."""

    id: Label
    objective: float = Field(allow_inf_nan=False)
    window: Duration = Field(default=parse_duration("30d"), ge=SHORTEST, le=LONGEST)
    ratio: Ratio | None = None
    slices: TimeSlice | None = None
    mode: Literal["observe", "alert"] = "observe"
    environment: str | None = None
    no_data_after: Duration | None = Field(default=None, gt=timedelta(0))
    no_traffic_after: Duration | None = Field(default=None, gt=timedelta(0))
    runbook: str = Field(default="", pattern=r"^(https?://\S+)?$")
    summary: str = Field(min_length=1)

    @field_validator("objective")
    @classmethod
    def _leaves_a_budget(cls, objective: float) -> float:
        if objective == 1:
            raise ValueError("100 % leaves no budget, so that any error would spend it")
        if not LOWEST <= objective < 1:
            raise ValueError(f"{objective:g} is not a share from {LOWEST:g} to below 1")
        return objective

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.ratio is None) == (self.slices is None):
            raise ValueError("needs either `ratio` or `slices`")
        if self.slices and self.no_traffic_after:
            raise ValueError("`no_traffic_after` is for a `ratio`: time slices have no traffic")
        return self

    @property
    def budget(self) -> float:
        """Return the share of events that may be bad."""
        return round(1 - self.objective, 12)

    @property
    def definition(self) -> str:
        """Return 16 hex digits of what its values depend on."""
        text = self.model_dump_json(include={"objective", "window", "ratio", "slices"})
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def indicator(self) -> str:
        """Return 16 hex digits of how its events are counted."""
        text = self.model_dump_json(include={"ratio", "slices"})
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def applies_in(self, environment: str) -> bool:
        """Return whether the environment has it."""
        return self.environment in (None, environment)


class SlosFile(Strict):
    """The content of slos.yaml."""

    slos: dict[str, Slo]

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, content: object) -> object:
        if not isinstance(content, dict) or not isinstance(content.get("slos"), dict):
            return content
        named = {
            name: {**entry, "id": name} if isinstance(entry, dict) else entry
            for name, entry in content["slos"].items()
        }
        return {**content, "slos": named}


def read_slos(path: Path, environments: Iterable[str]) -> tuple[Slo, ...]:
    """Read the SLOs in the file's order; raise ConfigurationInvalid naming every wrong key."""
    found = tuple(parse(SlosFile, read_yaml(path), str(path)).slos.values())
    known = {None, *environments}
    if wrong := [each for each in found if each.environment not in known]:
        problem = "; ".join(f"{e.id}: there is no environment {e.environment!r}" for e in wrong)
        raise ConfigurationInvalid(where=path, problem=problem, fix="Correct the SLOs named here")
    return found
