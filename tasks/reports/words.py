"""The sentences of a report."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.core.receipt import Receipt, SinkValues
from tasks.core.window import Window
from tasks.reports.units import counted, human

STATUS = {"ok": "All well", "degraded": "Degraded", "failed": "Failed", "no_data": "No data"}
STATES = {
    "landed": "landed",
    "unchanged": "unchanged",
    "no_data": "no data",
    "kept_older": "kept older",
    "lost": "lost",
    "pending": "pending",
    "refused": "refused",
    "failed": "failed",
}
NO_DATA = "the source answered no data"
_SINKS = {"influxdb": "InfluxDB"}


def sink_name(name: str) -> str:
    """A sink's name as its makers write it."""
    return _SINKS.get(name, name)


def status_sentence(receipt: Receipt) -> str:
    """What the run did: how much landed, was held back, and reached the sinks."""
    values = receipt.values
    parts = [
        counted(len(receipt.measurements), "measurement"),
        f"{counted(values.landed, 'value')} landed",
        f"{values.quarantined:,} quarantined",
    ]
    extra = [(values.unchanged, "unchanged"), (values.dropped_by_rule, "dropped by rule")]
    parts += [f"{number:,} {what}" for number, what in extra if number]
    return "; ".join(
        part for part in (", ".join(parts), *_sinks(receipt), _states(receipt)) if part
    )


def _sinks(receipt: Receipt) -> list[str]:
    if not receipt.sinks:
        return ["no sink is configured, the lake has it all"]
    return [f"loaded to {sink_name(name)}: {_loaded(sums)}" for name, sums in receipt.sinks.items()]


def _loaded(sums: SinkValues) -> str:
    if not sums.owed:
        return "nothing was owed"
    if sums.loaded == sums.owed:
        return "all"
    left = [
        (sums.pending, "pending"),
        (sums.refused, "refused"),
        (sums.skipped_by_rule, "skipped by rule"),
    ]
    reasons = ", ".join(f"{number:,} {what}" for number, what in left if number)
    return f"{sums.loaded:,} of {sums.owed:,} ({reasons})"


def _states(receipt: Receipt) -> str:
    told = {"failed": "failed", "refused": "refused", "lost": "lost", "no_data": "without data"}
    counts = Counter(str(line.state) for line in receipt.measurements)
    return ", ".join(f"{counts[state]} {words}" for state, words in told.items() if counts[state])


def checks_sentence(verdict: dict[str, Any]) -> str:
    """How many checks a verdict of the twin holds."""
    return (
        f"{counted(verdict['declared'], 'check')} declared, {verdict['ran']} ran, "
        f"{verdict['failed']} failed"
    )


def field_sentence(name: str, field: dict[str, Any], series: int) -> str:
    """A chart of one field of the twin in words, for who cannot see it."""
    if not field["n"]:
        return f"{name}: no landed value."
    unit = field["unit"]
    low, mean, high, last = (human(field[key], unit) for key in ("min", "mean", "max", "last"))
    return (
        f"{name}: {counted(field['n'], 'value')} of {counted(series, 'series', 'series')}, "
        f"between {low} and {high}, mean {mean}, last {last}."
    )


def tags_text(tags: dict[str, str | None]) -> str:
    """Tags as one line: client=c01, gpu=0."""
    return ", ".join(f"{name}={value}" for name, value in tags.items() if value is not None)


def moment(at: datetime, seconds: bool = True) -> str:
    """A time in UTC, to the second or the minute."""
    at = at.astimezone(UTC)
    return f"{at.day} {at:%b %Y %H:%M:%S}" if seconds else f"{at.day} {at:%b %Y %H:%M}"


def window_text(window: Window) -> str:
    """A window in UTC with its length: 24 Nov 2026 06:00 – 08:00 UTC (2 h)."""
    start, stop = window.start.astimezone(UTC), window.stop.astimezone(UTC)
    exact = bool(start.second or stop.second)
    end = f"{stop:%H:%M:%S}" if exact else f"{stop:%H:%M}"
    if start.date() != stop.date():
        end = moment(stop, exact)
    return f"{moment(start, exact)} – {end} UTC ({length_text(window.length)})"


def length_text(length: timedelta) -> str:
    """A length in its two largest units, e.g. 1 h 58 min."""
    left = int(length.total_seconds())
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2]) or "less than 1 s"
