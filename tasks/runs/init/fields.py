"""Fields of a metric family: query, name, unit and limit of each."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tasks.core.measurement import RESERVED
from tasks.runs.init.families import Family
from tasks.runs.init.names import Names, selector, spelled, tag_for
from tasks.sources.inventory import Labels, quoted

BASE_UNITS = frozenset({
    "seconds", "bytes", "bits", "ratio", "celsius", "kelvin", "hertz", "volts", "amperes", "watts",
    "joules", "coulombs", "grams", "meters", "metres", "pascals", "newtons",
})  # fmt: skip
# names and divisors of base units
SCALED = {
    "percent": ("ratio", 100),
    "milliseconds": ("seconds", 1000),
    "ms": ("seconds", 1000),
    "microseconds": ("seconds", 1_000_000),
    "nanoseconds": ("seconds", 1_000_000_000),
}
# ratios that are not shares of a whole
NO_SHARES = frozenset({"adjustment", "amplification", "compression", "factor"})
SIZES = ("seconds", "bytes", "bits")
QUANTILES = ("0.5", "0.95", "0.99")
MOST_SERIES = 500
# identify the target of a value, so they are kept
KEPT_LABELS = ("job", "instance")
WINDOW = "5m"
MOST_HELP = 160


@dataclass(frozen=True)
class Unit:
    """A metric's name without unit, the base unit (or none), and the divisor to it."""

    stem: str
    base: str = ""
    divisor: int = 1


@dataclass(frozen=True)
class Draft:
    """A field before it is named: `stem` and `ending` make its name.

    low and high are its physical limits, gauge the selector whose past can contradict them.
    """

    stem: str
    ending: str
    query: str
    unit: str
    description: str
    low: int | None = None
    high: float | None = None
    gauge: str = ""
    divisor: int = 1
    # a limit guessed from a name must not quarantine values
    certain: bool = True


@dataclass(frozen=True)
class Drafted:
    """A family's fields, with the labels that distinguish their rows."""

    family: Family
    labels: tuple[str, ...]
    keys: frozenset[tuple[str, ...]]
    drafts: tuple[Draft, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def tags(self) -> tuple[str, ...]:
        """Return the labels as tags of the catalogue."""
        return tuple(tags_of(self.labels).values())


def tags_of(labels: tuple[str, ...]) -> dict[str, str]:
    """Return the tag of each label; labels usable as they are go first."""
    names = Names(*RESERVED)
    order = sorted(labels, key=lambda label: (tag_for(label) != label, label))
    tags = {label: names.take(tag_for(label)) for label in order}
    return {label: tags[label] for label in labels}


def unit_of(name: str, unit: str) -> Unit:
    """Return the unit by the name's ending, else by the target's metadata."""
    stem = name.removesuffix("_total")
    rest, _, last = stem.rpartition("_")
    if last in BASE_UNITS:
        return Unit(rest or stem, last)
    if last in SCALED:
        return Unit(rest or stem, *SCALED[last])
    if unit in BASE_UNITS:
        return Unit(stem, unit)
    return Unit(stem, *SCALED.get(unit, ("", 1)))


def drafted(family: Family) -> Drafted | None:
    """Draft a family's fields; None if too many series differ by target alone."""
    narrowed = _narrowed(family.series)
    if narrowed is None:
        return None
    labels, keys, left_out = narrowed
    makers = {"counter": _of_counter, "gauge": _of_gauge}
    makers |= {"histogram": _of_histogram, "summary": _of_summary}
    drafts = tuple(makers[family.kind](family, labels))
    return Drafted(family, labels, keys, drafts, left_out)


def _narrowed(
    series: tuple[Labels, ...],
) -> tuple[tuple[str, ...], frozenset[tuple[str, ...]], tuple[str, ...]] | None:
    """Return kept labels, the number of rows, and labels left out."""
    labels = sorted({name for one in series for name in one})
    left_out: list[str] = []
    while True:
        keys = frozenset(tuple(one.get(name, "") for name in labels) for one in series)
        if len(keys) <= MOST_SERIES:
            return tuple(labels), keys, tuple(left_out)
        loose = [name for name in labels if name not in KEPT_LABELS]
        if not loose:
            return None
        worst = max(loose, key=lambda name: len({one.get(name, "") for one in series}))
        labels.remove(worst)
        left_out.append(worst)


def _aggregated(how: str, labels: tuple[str, ...], inner: str, *more: str) -> str:
    """Write PromQL: `inner` by exactly the tags, with unusable labels renamed."""
    tags = tags_of(labels)
    for label, tag in tags.items():
        if tag != label:
            inner = f'label_replace({inner}, "{tag}", "$1", {quoted(label)}, "(.*)")'
    return f"{how} by ({', '.join([*tags.values(), *more])}) ({inner})"


def _divided(query: str, unit: Unit) -> str:
    return query if unit.divisor == 1 else f"{query} / {unit.divisor}"


def _draft(unit: Unit, ending: str, query: str, description: str, **limits: Any) -> Draft:
    query = _divided(query, unit)
    return Draft(spelled(unit.stem), ending, query, unit.base, description, **limits)


def _ending(*parts: str) -> str:
    return "".join(f"_{part}" for part in parts if part)


def _of_gauge(family: Family, labels: tuple[str, ...]) -> Iterator[Draft]:
    unit = unit_of(family.name, family.unit)
    if family.name.endswith("_total"):
        # there may be a gauge without it
        unit = replace(unit, stem=f"{unit.stem}_total")
    source = selector(family.name, family.condition)
    is_share = unit.base == "ratio" and NO_SHARES.isdisjoint(unit.stem.split("_"))
    limited = unit.base in SIZES or is_share
    yield _draft(
        unit,
        _ending(unit.base),
        _aggregated("max", labels, source),
        _help(family),
        low=0 if limited else None,
        high=1.000001 if is_share else None,
        gauge=source if limited else "",
        divisor=unit.divisor,
        # seconds may be an offset, and a size may be -1 for unknown
        certain=False,
    )


def _of_counter(family: Family, labels: tuple[str, ...]) -> Iterator[Draft]:
    unit = unit_of(family.name, family.unit)
    yield Draft(
        spelled(unit.stem),
        _ending(unit.base, "per_second"),
        _divided(_rate(family, labels), unit),
        f"{unit.base or spelled(unit.stem).rpartition('_')[2]}_per_second",
        _reported(family, f"growth a second, mean of {WINDOW}"),
        low=0,
    )


def _of_histogram(family: Family, labels: tuple[str, ...]) -> Iterator[Draft]:
    unit = unit_of(family.name, family.unit)
    rate = f"rate({selector(family.name + '_bucket', family.condition)}[{WINDOW}])"
    for quantile in QUANTILES:
        buckets = _aggregated("sum", labels, rate, "le")
        query = f"histogram_quantile({quantile}, {buckets})"
        help_ = _reported(family, f"quantile {quantile} of {WINDOW}, from the histogram's buckets")
        low = 0 if unit.base in SIZES and not family.below_zero else None
        yield _draft(unit, _ending(_percentile(quantile), unit.base), query, help_, low=low)
    yield _observations(family, labels, unit)


def _of_summary(family: Family, labels: tuple[str, ...]) -> Iterator[Draft]:
    unit = unit_of(family.name, family.unit)
    for quantile in family.quantiles:
        source = selector(family.name, f"quantile={quoted(quantile)}", family.condition)
        query = _aggregated("max", labels, source)
        help_ = _reported(family, f"quantile {quantile}, as computed by the target")
        limit: dict[str, Any] = {"low": 0 if unit.base in SIZES else None, "gauge": source}
        yield _draft(unit, _ending(_percentile(quantile), unit.base), query, help_, **limit)
    yield _observations(family, labels, unit)


def _observations(family: Family, labels: tuple[str, ...], unit: Unit) -> Draft:
    name, query = "observations_per_second", _rate(family, labels, "_count")
    description = _reported(family, f"observations a second, mean of {WINDOW}")
    return Draft(spelled(unit.stem), f"_{name}", query, name, description, low=0)


def _rate(family: Family, labels: tuple[str, ...], ending: str = "") -> str:
    source = selector(family.name + ending, family.condition)
    return _aggregated("sum", labels, f"rate({source}[{WINDOW}])")


def _percentile(quantile: str) -> str:
    """Name a quantile: 0.5 as p50, 0.999 as p99_9."""
    return "p" + f"{float(quantile) * 100:.10g}".replace(".", "_")


def _reported(family: Family, what: str) -> str:
    return f"{said}: {what}" if (said := _help(family).rstrip(". ")) else what


def _help(family: Family) -> str:
    """Return the target's help on one line, cut."""
    words = " ".join(family.help.split())
    return words if len(words) <= MOST_HELP else f"{words[:MOST_HELP]}…"
