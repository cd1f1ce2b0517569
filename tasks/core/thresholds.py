"""Thresholds: the limits of alert-thresholds.yaml, which Prometheus and fedvitals both obey."""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from tasks.core.catalogue import Catalogue
from tasks.core.documents import Duration, Strict, parse, read_yaml
from tasks.core.errors import ConfigurationInvalid
from tasks.core.evaluations import Evaluations
from tasks.core.finding import fingerprint_of
from tasks.core.severity import Severity
from tasks.core.window import format_duration, parse_duration

FILE = "alert-thresholds.yaml"
# kind of the findings of thresholds
RULE = "rule"
# the built-in rule that always fires
WATCHDOG = "Watchdog"
# folder of the pages of rules that name no URL
RUNBOOKS = "docs/runbooks"
# added to the id, the name of the alert on `no_data_after`
NO_DATA = "_no_data"

Comparison = Literal[">", ">=", "<", "<=", "==", "!="]
COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
# what changes an annotation with every evaluation
OF_VALUE = re.compile(r"\$value|\.Value\b")
_LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
_FIELD = r"([a-zA-Z]\w*)\.([a-zA-Z]\w*)"
_CONDITION = re.compile(rf"\s*{_FIELD}\s*(>=|<=|==|!=|>|<)\s*(\S+)\s*")


class FieldName(NamedTuple):
    """A field of the catalogue."""

    measurement: str
    field: str


class Condition(NamedTuple):
    """The `when` of a field's threshold: it applies while this holds."""

    field: FieldName
    comparison: str
    value: float


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


class Threshold(Strict):
    """One limit: PromQL that Prometheus judges, or a field of the catalogue in the lake."""

    id: str = Field(pattern=rf"^{_LABEL}$", max_length=100)
    expr: str | None = Field(default=None, min_length=1, description="PromQL")
    field: str | None = Field(
        default=None, pattern=rf"^{_FIELD}$", description="MEASUREMENT.FIELD of the catalogue"
    )
    comparison: Comparison | None = Field(
        default=None, description="of the value with the limit; an expr may have its own"
    )
    value: Annotated[float, AfterValidator(_finite)] | None = None
    for_: Duration = Field(default=timedelta(0), alias="for", description="holds at least so long")
    keep_firing_for: Duration = Field(
        default=timedelta(0), description="fires on so long after the last breach"
    )
    severity: Severity
    environment: str | None = Field(default=None, description="the only one; without it, all")
    when: str | None = Field(
        default=None,
        min_length=1,
        description="applies only while this returns a series, or holds (MEASUREMENT.FIELD > 0)",
    )
    no_data_after: Duration | None = Field(
        default=None, gt=timedelta(0), description="a finding when there was no value for so long"
    )
    may_be_absent: bool = Field(
        default=False, description="its metrics may be missing in Prometheus"
    )
    tags: tuple[Annotated[str, Field(pattern=rf"^{_LABEL}$")], ...] = Field(
        default=(), description="labels that distinguish its findings"
    )
    mode: Literal["observe", "alert"] = "alert"
    runbook: str = Field(default="", pattern=r"^(https?://\S+)?$", description="URL of its page")
    summary: str = Field(min_length=1, description="one sentence, without the value")
    labels: dict[str, str] = Field(default_factory=dict, description="further labels of the alert")
    annotations: dict[str, str] = Field(default_factory=dict, description="further annotations")

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.expr is None) == (self.field is None):
            raise ValueError("needs either `expr` or `field`")
        if (self.comparison is None) != (self.value is None):
            raise ValueError("`comparison` and `value` go together")
        if self.field is not None and self.comparison is None:
            raise ValueError("a `field` needs a `comparison` and a `value`")
        if self.no_data_after is not None and self.comparison is None:
            raise ValueError("`no_data_after` needs a `comparison`, or its absence is not seen")
        if OF_VALUE.search(" ".join((self.summary, *self.annotations.values()))):
            raise ValueError(
                "`summary` and `annotations` may not show the value: it is in findings"
            )
        if self.field is not None and self.when is not None:
            _condition(self.when)
        return self

    @property
    def of_field(self) -> FieldName:
        """Return the field that it limits; only of a threshold with `field`."""
        measurement, _, field = (self.field or "").partition(".")
        return FieldName(measurement, field)

    @property
    def condition(self) -> Condition | None:
        """Return `when` of a field's threshold."""
        return None if self.field is None or self.when is None else _condition(self.when)

    @property
    def runbook_page(self) -> str:
        """Return where its runbook is."""
        return self.runbook or f"{RUNBOOKS}/{self.id}.md"

    @property
    def limit(self) -> str:
        """Return comparison and value, as findings show them; empty for an expr with its own."""
        return "" if self.value is None else f"{self.comparison} {self.value:g}"

    def applies_in(self, environment: str) -> bool:
        """Return whether the environment has it."""
        return self.environment in (None, environment)

    def breaches(self, evaluations: Evaluations) -> Evaluations:
        """Return those that break the limit; an expr without one returns breaches only."""
        if self.comparison is None:
            return evaluations
        broken = COMPARISONS[self.comparison](evaluations.values, self.value)
        return Evaluations(evaluations.times[broken], evaluations.values[broken])

    def subject(self, environment: str, labels: Mapping[str, str], alert: str = "") -> str:
        """Name what a finding is about: its alert, environment and the values of its tags."""
        tags = (f"{tag}={labels[tag]}" for tag in sorted(self.tags) if labels.get(tag))
        return " ".join((alert or self.id, environment, *tags))

    def fingerprint(self, environment: str, labels: Mapping[str, str], alert: str = "") -> str:
        """Return the finding's, the same whether Prometheus or fedvitals saw it.

        `alert` is the alertname, which differs from the id when there is no data.
        """
        return fingerprint_of(RULE, self.subject(environment, labels, alert))


def _condition(text: str) -> Condition:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError(f"`when` {text!r} is not of the form MEASUREMENT.FIELD > NUMBER")
    measurement, field, comparison, number = found.groups()
    try:
        return Condition(FieldName(measurement, field), comparison, _finite(float(number)))
    except ValueError as error:
        raise ValueError(f"`when` {text!r}: {number} is not a finite number") from error


class ThresholdsFile(Strict):
    """The content of alert-thresholds.yaml."""

    interval: Duration = Field(
        default=parse_duration("1m"), gt=timedelta(0), description="of Prometheus's evaluations"
    )
    thresholds: dict[str, Threshold] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, content: object) -> object:
        if not isinstance(content, dict) or not isinstance(content.get("thresholds"), dict):
            return content
        named = {
            name: {**entry, "id": name} if isinstance(entry, dict) else entry
            for name, entry in content["thresholds"].items()
        }
        if taken := {name for name in named if str(name).lower() == WATCHDOG.lower()}:
            raise ValueError(f"thresholds.{taken.pop()}: the name is built in")
        return {**content, "thresholds": named}


def read_file(path: Path) -> ThresholdsFile:
    """Read alert-thresholds.yaml; raise ConfigurationInvalid naming every wrong key."""
    return parse(ThresholdsFile, read_yaml(path), str(path))


def read_thresholds(path: Path) -> tuple[Threshold, ...]:
    """Read the thresholds in the file's order; raise ConfigurationInvalid as read_file."""
    return tuple(read_file(path).thresholds.values())


def check_thresholds(
    thresholds: Iterable[Threshold], catalogue: Catalogue, environments: Iterable[str], path: Path
) -> None:
    """Raise ConfigurationInvalid naming what does not fit catalogue and environments."""
    known = set(environments)
    problems = []
    for each in thresholds:
        wrong = list(_field_problems(each, catalogue)) if each.field else []
        if each.environment is not None and each.environment not in known:
            wrong.append(f"there is no environment {each.environment!r}")
        problems += [f"{each.id}: {problem}" for problem in wrong]
    if problems:
        raise ConfigurationInvalid(
            where=path, problem="; ".join(problems), fix="Correct the thresholds named here"
        )


def _field_problems(threshold: Threshold, catalogue: Catalogue) -> Iterable[str]:
    names = [threshold.of_field, *([threshold.condition.field] if threshold.condition else [])]
    for name in names:
        entry = catalogue.get(name.measurement)
        spec = entry.fields.get(name.field) if entry else None
        if spec is None:
            yield f"the catalogue has no {'.'.join(name)}"
        elif spec.type == "string":
            yield f"{'.'.join(name)} is text, not a number"
    entry = catalogue.get(threshold.of_field.measurement)
    if entry is None:
        return
    if timedelta(0) < threshold.for_ < entry.step:
        step, length = format_duration(entry.step), format_duration(threshold.for_)
        yield f"`for` {length} is shorter than the step of {entry.name}, {step}"
    if missing := sorted(set(threshold.tags) - set(entry.tags)):
        yield f"{entry.name} has no tag {', '.join(missing)}"


WATCHDOG_RULE = Threshold(
    id=WATCHDOG,
    expr="vector(1)",
    severity=Severity.INFO,
    summary="always fires: its absence shows that alerts do not arrive",
)
