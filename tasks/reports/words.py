"""Sentences of a report."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, get_args

from tasks.core.receipt import MeasurementState, Receipt
from tasks.core.severity import Severity
from tasks.core.units import counted, human, signed
from tasks.core.window import Window
from tasks.reports.records import Changes

STATES = {state: state.replace("_", " ") for state in get_args(MeasurementState)}
NO_DATA = "the source returned no data"
# for a receipt built from the lake: nothing was collected or sent
REPORT = "report"
JUDGEMENTS = {
    "worse": "worse than usual",
    "better": "better than usual",
    "unusual": "unusual",
    "usual": "usual",
    "unknown": "",
}
_SINKS = {"influxdb": "InfluxDB"}


def sink_name(name: str) -> str:
    """Return a sink's name in its makers' spelling."""
    return _SINKS.get(name, name)


def mood(receipt: Receipt) -> str:
    """Return the headline's colour: the run's status, or a good run's worst finding."""
    is_grave = receipt.worst is not None and receipt.worst.is_grave
    if receipt.status == "failed" or (receipt.status != "ok" and not is_grave):
        return receipt.status
    if is_grave:
        return "high"
    return "ok" if receipt.worst in (None, Severity.INFO) else "warning"


def checks_sentence(verdict: dict[str, Any]) -> str:
    """Describe the number of checks in an exported verdict."""
    return (
        f"{counted(verdict['declared'], 'check')} declared, {verdict['ran']} ran, "
        f"{verdict['failed']} failed"
    )


def against(comparison: dict[str, Any], window: Window) -> str:
    """Name the compared window: the 1 h before, a day before, a week before."""
    if comparison["against"] == "previous":
        return f"the {length_text(window.length)} before"
    return f"a {comparison['against']} before"


def usual_text(comparison: dict[str, Any], unit: str) -> str:
    """Describe the usual change, or why it is unknown."""
    if comparison["usual"] is None:
        return f"too little history: {counted(comparison['past'], 'earlier change')}"
    low, high = (signed(value, unit) for value in comparison["usual"])
    return f"usual {low} to {high}"


def comparisons_sentence(fields: list[dict[str, Any]]) -> str:
    """Summarise the comparisons of exported fields."""
    made = [one["judgement"] for field in fields for one in field["comparisons"]]
    if not made:
        return "The lake holds no earlier window to compare with."
    judged = [judgement for judgement in made if judgement != "unknown"]
    if not judged:
        return (
            f"{counted(len(made), 'comparison')} with earlier windows; "
            "there is too little history to know the usual change."
        )
    usual = judged.count("usual")
    text = f"{counted(len(made), 'comparison')} with earlier windows, {usual:,} as usual"
    unknown = len(made) - len(judged)
    return f"{text}, {unknown:,} with too little history." if unknown else f"{text}."


def changes_sentence(receipt: Receipt, changes: Changes | None, zone: tzinfo = UTC) -> str:
    """Name the compared run, and say whether anything changed."""
    if receipt.flow == REPORT:
        return "Built from the lake, so there is no last run to compare with."
    if changes is None:
        return "This is the first run of its kind here: there is no last run to compare with."
    last = f"the last run, whose window ended {moment(changes.stop, zone)}"
    is_same = (changes.status, changes.worst) == (receipt.status, receipt.worst)
    if changes.measurements or changes.new or not is_same:
        return f"Compared with {last}."
    return f"Nothing is different from {last}: the same states, and the same checks fail."


def change_parts(change: dict[str, Any]) -> list[str]:
    """Describe a measurement's changes in short sentences."""
    before, now = change["state_before"], change["state"]
    parts = [f"{STATES[before]} → {STATES[now]}"] if before != now else []
    if change["started"]:
        parts.append(f"fails now: {', '.join(change['started'])}")
    if change["ended"]:
        parts.append(f"no longer fails: {', '.join(change['ended'])}")
    if bool(change["quarantined_before"]) != bool(change["quarantined"]):
        parts.append(f"quarantined {change['quarantined_before']:,} → {change['quarantined']:,}")
    return parts


def names_text(names: Sequence[str]) -> str:
    """Name one measurement, or count several."""
    return names[0] if len(names) == 1 else counted(len(names), "measurement")


def event_text(event: dict[str, Any], zone: tzinfo = UTC) -> str:
    """Format an exported event with its time: 06:00 – 07:00 12 values quarantined."""
    start, stop = (datetime.fromisoformat(event[key]).astimezone(zone) for key in ("start", "stop"))
    end = f"{stop:%H:%M}" if start.date() == stop.date() else _clock(stop, seconds=False)
    begin = _clock(start, seconds=False)
    span = begin if event["kind"] == "catalogue" else f"{begin} – {end}"
    return f"{span}: {event['text']}"


def field_sentence(name: str, field: dict[str, Any], series: int) -> str:
    """Describe the chart of an exported field in words, for readers who cannot see it."""
    if not field["n"]:
        return f"{name}: no landed value."
    unit = field["unit"]
    low, mean, high, last = (human(field[key], unit) for key in ("min", "mean", "max", "last"))
    return (
        f"{name}: {counted(field['n'], 'value')} of {counted(series, 'series', 'series')}, "
        f"between {low} and {high}, mean {mean}, last {last}."
    )


def tags_text(tags: dict[str, str | None]) -> str:
    """Format tags as one line: client=c01, gpu=0."""
    return ", ".join(f"{name}={value}" for name, value in tags.items() if value is not None)


def moment(at: datetime, zone: tzinfo = UTC) -> str:
    """Format a time to the second, with its zone: 24 Nov 2026 06:00:00 UTC."""
    at = at.astimezone(zone)
    return f"{_clock(at)} {at:%Z}"


def clock(text: str, zone: tzinfo = UTC) -> str:
    """Format a sample's ISO 8601 time in the zone for a table: 2026-11-24 06:00:00.5."""
    at = datetime.fromisoformat(text).astimezone(zone).replace(tzinfo=None)
    return at.isoformat(sep=" ")


def _clock(at: datetime, seconds: bool = True) -> str:
    return f"{at.day} {at:%b %Y %H:%M:%S}" if seconds else f"{at.day} {at:%b %Y %H:%M}"


def window_text(window: Window, zone: tzinfo = UTC) -> str:
    """Format a window with zone and length: 24 Nov 2026 06:00 – 08:00 UTC (2 h)."""
    start, stop = window.start.astimezone(zone), window.stop.astimezone(zone)
    exact = bool(start.second or stop.second)
    end = f"{stop:%H:%M:%S}" if exact else f"{stop:%H:%M}"
    if start.date() != stop.date():
        end = _clock(stop, exact)
    return f"{_clock(start, exact)} – {end} {stop:%Z} ({length_text(window.length)})"


def length_text(length: timedelta) -> str:
    """Format a length in its two largest units, e.g. 1 h 58 min."""
    left = int(length.total_seconds())
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2]) or "less than 1 s"
