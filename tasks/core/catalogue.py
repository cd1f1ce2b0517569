"""The catalogue: all measurements, and how each is read."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from tasks.core.documents import Duration, Strict, closest, parse, read_yaml
from tasks.core.errors import ConfigurationInvalid, UsageInvalid
from tasks.core.health_measurements import health_measurements
from tasks.core.incident_measurement import incident_measurement
from tasks.core.measurement import Measurement, MetricType
from tasks.core.self_metrics import self_measurement
from tasks.core.slo_measurement import slo_measurements
from tasks.core.window import parse_duration


class Defaults(Strict):
    """Defaults of measurements."""

    step: Duration = parse_duration("15s")
    every: Duration = parse_duration("60s")
    max_series: int = Field(default=1000, gt=0)


def _defaults(content: object) -> Defaults:
    try:
        return Defaults.model_validate(content or {})
    except ValidationError:
        # errors in them are reported once, with their path
        return Defaults()


class _File(Strict):
    defaults: Defaults = Defaults()
    measurements: dict[str, Measurement] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, content: object) -> object:
        if not isinstance(content, dict) or not isinstance(content.get("measurements"), dict):
            return content
        defaults = _defaults(content.get("defaults")).model_dump()
        entries = dict(content["measurements"])
        for name, entry in entries.items():
            if not isinstance(entry, dict):
                continue
            if "name" in entry:
                raise ValueError(f"unknown key measurements.{name}.name: the key above is the name")
            entries[name] = {**defaults, **entry, "name": name}
        return {**content, "measurements": entries}


class Catalogue(Mapping[str, Measurement]):
    """Maps names to measurements, in the order of the file."""

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
        """Read metrics.yaml and add the built-in measurements as the last entries.

        Raises ConfigurationInvalid naming every wrong key.
        """
        measurements = parse(_File, read_yaml(path), str(path)).measurements
        ours = (
            *health_measurements(),
            *slo_measurements(),
            incident_measurement(),
            self_measurement(),
        )
        built_in = {entry.name: entry for entry in ours}
        own = [n for n, entry in measurements.items() if n in built_in or entry.is_own]
        if own:
            raise ConfigurationInvalid(
                where=f"{path}: measurements.{own[0]}",
                problem="the name is reserved for a built-in measurement",
                fix="Remove it, or give it another name and source",
            )
        return cls({**measurements, **built_in})

    def select(
        self, types: frozenset[MetricType], names: tuple[str, ...] = ()
    ) -> tuple[Measurement, ...]:
        """Return the measurements of these types, or exactly the named ones.

        Raises UsageInvalid when a name is not in the catalogue.
        """
        self.require(*names, argument="--measurement")
        if names:
            return tuple(self[name] for name in names)
        return tuple(entry for entry in self.values() if entry.type in types)

    def require(self, *names: str, argument: str = "MEASUREMENT") -> None:
        """Raise UsageInvalid with similar names when one is not in the catalogue."""
        unknown = [name for name in names if name not in self]
        similar = [close for name in unknown if (close := closest(name, self))]
        question = f"Did you mean {', '.join(similar)}? " if similar else ""
        if unknown:
            raise UsageInvalid(
                argument=argument,
                problem=f"{', '.join(unknown)} is not in the catalogue",
                fix=f"{question}List them: fedvitals catalogue",
            )
