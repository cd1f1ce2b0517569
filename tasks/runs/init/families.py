"""Metric families, built from a Prometheus's series and its targets' metadata."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tasks.sources.inventory import Described, Inventory, Labels

Kind = Literal["counter", "gauge", "histogram", "summary"]
ALERTS = ("ALERTS", "ALERTS_FOR_STATE")
_QUANTILE = re.compile(r"[01]|0?\.\d+")
UNTYPED = ("", "unknown", "untyped")
NO_MEASURE = {
    "info": "its value is always 1: the information is in its labels",
    "gaugehistogram": "gauge histograms are not supported: write its query by hand",
    "native": "a native histogram: write its query by hand, with histogram_quantile",
    "created": "it only gives the start of another metric's count",
    "alerts": "Prometheus's own record of its alerts",
}


@dataclass(frozen=True)
class Skipped:
    """A metric without a proposal, and the reason."""

    metric: str
    reason: str


@dataclass(frozen=True)
class Family:
    """A metric as its target defines it, else by name and labels.

    series are without le and quantile, below_zero for a histogram with negative buckets, condition
    is the one on the job that its queries need.
    """

    name: str
    kind: Kind
    series: tuple[Labels, ...]
    unit: str = ""
    help: str = ""
    quantiles: tuple[str, ...] = ()
    guessed: bool = False
    below_zero: bool = False
    condition: str = ""

    @property
    def samples(self) -> tuple[str, ...]:
        """Return the names of its metrics."""
        if self.kind in ("histogram", "summary"):
            return tuple(self.name + end for end in ("", "_bucket", "_count", "_sum"))
        return (self.name,)


def families(inventory: Inventory) -> tuple[list[Family], list[Skipped]]:
    """Return all families by name, and the metrics outside of any."""
    gathering = _Gathering(inventory)
    found = [*gathering.histograms(), *gathering.summaries(), *gathering.singles()]
    too_many = inventory.too_many.items()
    unseen = [Skipped(name, f"{count} series are too many to read") for name, count in too_many]
    skipped = [*gathering.skipped, *unseen]
    return sorted(found, key=lambda one: one.name), sorted(skipped, key=lambda one: one.metric)


class _Gathering:
    """Takes metrics out of the remaining ones, the largest families first."""

    def __init__(self, inventory: Inventory) -> None:
        self._left = dict(inventory.series)
        self._described = inventory.described
        self._condition = inventory.condition
        self.skipped: list[Skipped] = []

    def histograms(self) -> Iterator[Family]:
        for name in [name for name in self._left if name.endswith("_bucket")]:
            base, series = name.removesuffix("_bucket"), self._left[name]
            if not all("le" in labels for labels in series):
                continue
            self._take(name, f"{base}_count", f"{base}_sum", f"{base}_created")
            if self._reported(base).type == "gaugehistogram":
                self._skip(base, "gaugehistogram")
            else:
                family = self._family(base, "histogram", _without(series, "le"))
                below_zero = any(labels["le"].startswith("-") for labels in series)
                yield replace(family, below_zero=below_zero)

    def summaries(self) -> Iterator[Family]:
        for name in [name for name in self._left if name.endswith("_count")]:
            base = name.removesuffix("_count")
            own = self._left.get(base, [])
            has_quantiles = bool(own) and all("quantile" in labels for labels in own)
            if not has_quantiles and self._reported(base).type != "summary":
                continue
            series = self._left[name]
            self._take(base, name, f"{base}_sum", f"{base}_created")
            texts = {labels.get("quantile", "") for labels in own}
            quantiles = sorted((text for text in texts if _QUANTILE.fullmatch(text)), key=float)
            yield self._family(base, "summary", series, tuple(quantiles))

    def singles(self) -> Iterator[Family]:
        for name, series in self._left.items():
            described = self._reported(name)
            reason = self._no_measure(name, described)
            if reason:
                self._skip(name, reason)
                continue
            is_counted = described.type in UNTYPED and name.endswith("_total")
            kind: Kind = "counter" if is_counted or described.type == "counter" else "gauge"
            yield self._family(name, kind, series)

    def _no_measure(self, name: str, described: Described) -> str:
        if name in ALERTS:
            return "alerts"
        if described.type == "info" or name.endswith("_info"):
            return "info"
        base = name.removesuffix("_created")
        if base != name and (base in self._described or f"{base}_total" in self._described):
            return "created"
        # families with buckets are taken already, so these samples are native histograms
        return "native" if described.type in ("histogram", "gaugehistogram") else ""

    def _family(
        self, name: str, kind: Kind, series: list[Labels], quantiles: tuple[str, ...] = ()
    ) -> Family:
        described = self._reported(name)
        guessed = described.type in UNTYPED
        facts = (described.unit, described.help, quantiles, guessed)
        return Family(name, kind, tuple(series), *facts, condition=self._condition)

    def _reported(self, name: str) -> Described:
        """Return the targets' common metadata; OpenMetrics drops a counter's _total."""
        described = (
            self._described.get(name) or self._described.get(name.removesuffix("_total")) or []
        )
        return described[0] if len({one.type for one in described}) == 1 else Described()

    def _take(self, *names: str) -> None:
        for name in names:
            self._left.pop(name, None)

    def _skip(self, name: str, reason: str) -> None:
        self.skipped.append(Skipped(name, NO_MEASURE[reason]))


def _without(series: list[Labels], label: str) -> list[Labels]:
    rest = [{name: text for name, text in labels.items() if name != label} for labels in series]
    return [dict(pairs) for pairs in dict.fromkeys(tuple(sorted(one.items())) for one in rest)]
