"""Judge a threshold by what its source showed: the state of each of its series now."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from tasks.analysis.rules.firing import Alert, AlertState, replay
from tasks.core.evaluations import Labels
from tasks.core.finding import Finding
from tasks.core.outside import shown
from tasks.core.thresholds import NO_DATA, RULE, Threshold
from tasks.core.window import iso

State = Literal["firing", "pending", "no_data", "failed", "not_applicable", "ok"]
_WORST_FIRST: tuple[AlertState, ...] = ("firing", "pending", "ok")


def labels_key(labels: Mapping[str, str]) -> Labels:
    """Return the labels as a key of Observed."""
    return tuple(sorted(labels.items()))


@dataclass(frozen=True)
class Observed:
    """What a source showed of a threshold since `start`, in evaluations of `interval`.

    `breaches` are the evaluations at which each series broke the limit, `values` the series at `at`.
    """

    start: datetime
    at: datetime
    interval: timedelta
    breaches: Mapping[Labels, Sequence[datetime]] = field(default_factory=dict)
    values: Mapping[Labels, float] = field(default_factory=dict)
    applies: bool = True
    is_absent: bool = False


@dataclass(frozen=True)
class Judgement:
    """The state of a threshold in an environment, of one group of equal tags if any is not ok."""

    threshold: Threshold
    environment: str
    state: State
    at: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    value: float | None = None
    since: datetime | None = None
    # it may have begun before the time that was looked at
    is_older: bool = False
    problem: str = ""

    @property
    def is_finding(self) -> bool:
        """Return whether it fires, also for missing data."""
        return self.state == "firing" or (
            self.state == "no_data" and self.threshold.no_data_after is not None
        )

    @property
    def is_bad(self) -> bool:
        """Return whether it fires in mode alert, or could not be judged."""
        return self.state == "failed" or (self.is_finding and self.threshold.mode == "alert")

    @property
    def subject(self) -> str:
        """Return the subject of its finding."""
        alert = self.threshold.id + NO_DATA * (self.state == "no_data")
        return self.threshold.subject(self.environment, self.labels, alert)

    def finding(self) -> Finding:
        """Return it as a finding."""
        evidence = {key: value for key, value in self.document().items() if key != "fingerprint"}
        return Finding(
            RULE,
            self.threshold.severity,
            self._sentence(),
            evidence,
            estimate=self.value,
            subject=self.subject,
            hint=f"See {self.threshold.runbook_page}",
        )

    def _sentence(self) -> str:
        tags = ", ".join(f"{name} {shown(text)}" for name, text in self.labels.items())
        where = f"{self.threshold.id}{f' ({tags})' if tags else ''}"
        if self.state == "no_data":
            return f"{where}: no data: {self.threshold.summary}"
        value = "" if self.value is None else f", {self.value:g}"
        limit = f" (limit {self.threshold.limit})" if self.threshold.limit else ""
        since = f", since {iso(self.since)}" if self.since else ""
        return f"{where}: {self.threshold.summary}{value}{limit}{since}"

    def document(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        one = self.threshold
        return {
            "rule": one.id,
            "environment": self.environment,
            "state": self.state,
            "severity": str(one.severity),
            "mode": one.mode,
            "labels": dict(self.labels),
            "value": self.value,
            "limit": one.limit,
            "since": iso(self.since) if self.since else None,
            "is_older": self.is_older,
            "at": iso(self.at),
            "problem": self.problem,
            "runbook": one.runbook_page,
            "fingerprint": one.fingerprint(
                self.environment, self.labels, one.id + NO_DATA * (self.state == "no_data")
            ),
        }


def judge(threshold: Threshold, environment: str, observed: Observed) -> list[Judgement]:
    """Return a judgement of each group of tags that is pending or fires, else one of all."""
    at = observed.at
    if not observed.applies:
        return [Judgement(threshold, environment, "not_applicable", at)]
    found = _groups(threshold, environment, observed)
    if found:
        return found
    is_missing = not observed.values and threshold.comparison is not None
    if observed.is_absent or is_missing:
        return [Judgement(threshold, environment, "no_data", at)]
    value = _worst(threshold, observed.values.values())
    return [Judgement(threshold, environment, "ok", at, value=value)]


def _groups(threshold: Threshold, environment: str, observed: Observed) -> list[Judgement]:
    """Judge each series by itself, and keep the worst one of each group of tags."""
    found: dict[Labels, Judgement] = {}
    for labels, breaches in observed.breaches.items():
        alert = Alert(threshold.for_, threshold.keep_firing_for, observed.interval)
        replay(alert, breaches, observed.at + timedelta.resolution)
        if alert.since is None:
            continue
        tags = {name: text for name, text in labels if name in threshold.tags and text}
        state = alert.state
        one = Judgement(
            threshold,
            environment,
            state,
            observed.at,
            tags,
            value=observed.values.get(labels),
            since=alert.since,
            is_older=alert.since - observed.start < observed.interval,
        )
        key = labels_key(tags)
        found[key] = min(found.get(key, one), one, key=lambda each: _rank(threshold, each))
    return sorted(found.values(), key=lambda each: _rank(threshold, each))


def _rank(threshold: Threshold, each: Judgement) -> tuple[int, float, datetime]:
    order = _WORST_FIRST.index(each.state) if each.state in _WORST_FIRST else len(_WORST_FIRST)
    return order, _badness(threshold, each.value), each.since or each.at


def _badness(threshold: Threshold, value: float | None) -> float:
    """Return a number that is lower for a value further beyond the limit."""
    if value is None or not threshold.comparison:
        return 0.0
    return value if threshold.comparison.startswith("<") else -value


def _worst(threshold: Threshold, values: Iterable[float]) -> float | None:
    return min(values, key=lambda value: _badness(threshold, value), default=None)
