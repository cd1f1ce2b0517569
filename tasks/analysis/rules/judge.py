"""Judge a threshold by what its source showed: the state of each of its series now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

from tasks.analysis.rules.firing import Alert, replay
from tasks.core.evaluations import Labels
from tasks.core.finding import Finding
from tasks.core.outside import shown
from tasks.core.thresholds import NO_DATA, RULE, Threshold
from tasks.core.window import iso

State = Literal["firing", "pending", "no_data", "failed", "not_applicable", "ok"]


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
        is_missing = self.state == "no_data" and self.threshold.no_data_after is not None
        return self.state == "firing" or is_missing

    @property
    def is_bad(self) -> bool:
        """Return whether it fires in mode alert, or could not be judged."""
        return self.state == "failed" or (self.is_finding and self.threshold.mode == "alert")

    @property
    def alert(self) -> str:
        """Return the alertname that Prometheus gives it."""
        return self.threshold.id + NO_DATA * (self.state == "no_data")

    def finding(self) -> Finding:
        """Return it as a finding."""
        one, evidence = self.threshold, self.document()
        del evidence["fingerprint"]
        tags = ", ".join(f"{name} {shown(text)}" for name, text in self.labels.items())
        what = f"{'no data: ' * (self.state == 'no_data')}{one.summary}"
        value = "" if self.value is None else f", {self.value:g}"
        value += f" (limit {one.limit})" if value and one.limit else ""
        since = f", since {iso(self.since)}" if self.since else ""
        return Finding(
            RULE,
            one.severity,
            f"{one.id}{f' ({tags})' if tags else ''}: {what}{value}{since}",
            evidence,
            estimate=self.value,
            subject=one.subject(self.environment, self.labels, self.alert),
            hint=f"See {one.runbook_page}",
        )

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
            "fingerprint": one.fingerprint(self.environment, self.labels, self.alert),
        }


def judge(threshold: Threshold, environment: str, observed: Observed) -> list[Judgement]:
    """Return a judgement of each group of tags that is pending or fires, else one of all."""
    at = observed.at
    if not observed.applies:
        return [Judgement(threshold, environment, "not_applicable", at)]
    if found := _groups(threshold, environment, observed):
        return found
    # an expr with its own comparison returns breaches only
    if observed.is_absent or (threshold.comparison and not observed.values):
        return [Judgement(threshold, environment, "no_data", at)]
    value = min(observed.values.values(), key=partial(_badness, threshold), default=None)
    return [Judgement(threshold, environment, "ok", at, value=value)]


def _groups(threshold: Threshold, environment: str, observed: Observed) -> list[Judgement]:
    """Judge each series by itself, and keep the worst one of each group of tags."""
    found: dict[Labels, Judgement] = {}
    for labels, breaches in observed.breaches.items():
        alert = Alert(threshold.for_, threshold.keep_firing_for, observed.interval)
        replay(alert, breaches, observed.at + timedelta.resolution)
        if alert.since is None:
            continue
        tags = tuple((name, text) for name, text in labels if name in threshold.tags and text)
        one = Judgement(
            threshold,
            environment,
            alert.state,
            observed.at,
            dict(tags),
            value=observed.values.get(labels),
            since=alert.since,
            is_older=alert.since - observed.start < observed.interval,
        )
        found[tags] = min(found.get(tags, one), one, key=_rank)
    return sorted(found.values(), key=_rank)


def _rank(each: Judgement) -> tuple[bool, float]:
    return each.state != "firing", _badness(each.threshold, each.value)


def _badness(threshold: Threshold, value: float | None) -> float:
    """Return a number that is lower for a value further beyond the limit."""
    is_upper = (threshold.comparison or ">").startswith(">")
    return 0.0 if value is None else -value if is_upper else value
