"""Thresholds: the limits of alert-thresholds.yaml, which Prometheus and fedvitals both obey."""

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

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
# what changes an annotation with every evaluation
OF_VALUE = re.compile(r"\$value|\.Value\b")
NEVER = timedelta(0)

Comparison = Literal[">", ">=", "<", "<=", "==", "!="]
COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
Label = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=100)]
Number = Annotated[float, Field(allow_inf_nan=False)]
_CONDITION = re.compile(r"([a-zA-Z]\w*)\s*(>=|<=|==|!=|>|<)\s*(-?[0-9.]+)")


class Condition(NamedTuple):
    """The `when` of a field's threshold, on another field of the same row."""

    field: str
    comparison: str
    value: float


class Threshold(Strict):
    """One limit: PromQL that Prometheus judges, or a field of the catalogue in the lake."""

    id: Label
    expr: str | None = Field(default=None, min_length=1)
    field: str | None = Field(default=None, pattern=r"^[a-zA-Z]\w*\.[a-zA-Z]\w*$")
    comparison: Comparison | None = None
    value: Number | None = None
    for_: Duration = Field(default=NEVER, alias="for")
    keep_firing_for: Duration = NEVER
    severity: Severity
    environment: str | None = None
    when: str | None = Field(default=None, min_length=1)
    no_data_after: Duration | None = Field(default=None, gt=NEVER)
    may_be_absent: bool = False
    tags: tuple[Label, ...] = ()
    mode: Literal["observe", "alert"] = "alert"
    runbook: str = Field(
        default="",
        pattern=rf"^((https?://|{RUNBOOKS}/)\S+)?$",
        description="URL of its page, or one of ours",
    )
    summary: str = Field(min_length=1)
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.expr is None) == (self.field is None):
            raise ValueError("needs either `expr` or `field`")
        if (self.comparison is None) != (self.value is None):
            raise ValueError("`comparison` and `value` go together")
        if self.comparison is None and (self.field or self.no_data_after):
            key = "field" if self.field else "no_data_after"
            raise ValueError(f"`{key}` needs a `comparison` and a `value`")
        if self.field and self.when and not _CONDITION.fullmatch(self.when):
            raise ValueError(f"`when` {self.when!r} is not of the form FIELD > NUMBER")
        if OF_VALUE.search(" ".join((self.summary, *self.annotations.values()))):
            raise ValueError("`summary` and `annotations` may not show the value: findings do")
        return self

    @property
    def of_field(self) -> tuple[str, str]:
        """Return measurement and name of the field that it limits, if it has one."""
        measurement, _, name = (self.field or "").partition(".")
        return measurement, name

    @property
    def condition(self) -> Condition | None:
        """Return `when` of a field's threshold."""
        found = _CONDITION.fullmatch(self.when) if self.field and self.when else None
        return Condition(found[1], found[2], float(found[3])) if found else None

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

    def breaks(self, value: float) -> bool:
        """Return whether one value breaks the limit."""
        return self.comparison is not None and bool(COMPARISONS[self.comparison](value, self.value))

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


WATCHDOG_RULE = Threshold(
    id=WATCHDOG,
    expr="vector(1)",
    severity=Severity.INFO,
    summary="always fires: its absence shows that alerts do not arrive",
)


class ThresholdsFile(Strict):
    """The content of alert-thresholds.yaml."""

    interval: Duration = Field(default=parse_duration("1m"), gt=NEVER)
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
        if WATCHDOG in named:
            raise ValueError(f"thresholds.{WATCHDOG}: the name is built in")
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
    known = {None, *environments}
    problems = []
    for each in thresholds:
        wrong = list(field_problems(each, catalogue))
        if each.environment not in known:
            wrong.append(f"there is no environment {each.environment!r}")
        problems += [f"{each.id}: {problem}" for problem in wrong]
    if problems:
        fix = "Correct the thresholds named here"
        raise ConfigurationInvalid(where=path, problem="; ".join(problems), fix=fix)


def field_problems(threshold: Threshold, catalogue: Catalogue) -> Iterator[str]:
    """Yield what of a field's threshold does not fit the catalogue."""
    measurement, field = threshold.of_field
    entry = catalogue.get(measurement)
    for name in (field, *([threshold.condition.field] if threshold.condition else [])):
        spec = entry.fields.get(name) if entry else None
        if threshold.field and spec is None:
            yield f"the catalogue has no {measurement}.{name}"
        elif spec is not None and spec.type == "string":
            yield f"{measurement}.{name} is text, not a number"
    if entry is None:
        return
    if NEVER < threshold.for_ < entry.step:
        step, length = format_duration(entry.step), format_duration(threshold.for_)
        yield f"`for` {length} is shorter than the step of {entry.name}, {step}"
    if missing := sorted(set(threshold.tags) - set(entry.tags)):
        yield f"{entry.name} has no tag {', '.join(missing)}"
