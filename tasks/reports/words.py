"""The sentences of a report."""

from collections import Counter
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, get_args

from tasks.core.receipt import MeasurementState, Receipt, RunStatus, SinkValues
from tasks.core.severity import Severity
from tasks.core.window import Window
from tasks.reports.records import Changes
from tasks.reports.units import counted, human, signed

STATUS = {"ok": "All well", "degraded": "Degraded", "failed": "Failed", "no_data": "No data"}
STATES = {state: state.replace("_", " ") for state in get_args(MeasurementState)}
NO_DATA = "the source answered no data"
# a receipt that was made from the lake: nothing was asked, nothing was sent
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
    """A sink's name as its makers write it."""
    return _SINKS.get(name, name)


def headline(receipt: Receipt) -> str:
    """The run's state in a few words; limits that are broken are named, though the run is good."""
    broken = _broken(receipt)
    outside = broken[Severity.CRITICAL] + broken[Severity.HIGH]
    parts = [] if receipt.status == "ok" else [STATUS[receipt.status]]
    if outside:
        parts.append(f"{counted(outside, 'measurement')} out of limits")
    elif receipt.worst is not None and receipt.worst.is_grave:
        parts.append(f"a finding of severity {receipt.worst.value}")
    elif not parts:
        warned = broken[Severity.WARNING]
        parts = [f"{STATUS['ok']}, {warned} with warnings" if warned else STATUS["ok"]]
    return ", ".join(parts)


def mood(receipt: Receipt) -> str:
    """What the headline's colour goes by: the status of a run, of a good one its worst finding."""
    if receipt.status != "ok":
        return receipt.status
    if receipt.worst is None or receipt.worst is Severity.INFO:
        return "ok"
    return "high" if receipt.worst.is_grave else "warning"


def run_text(status: RunStatus, worst: Severity | None) -> str:
    """How a run ended, in a few words: what it did, and what the data said."""
    found = worst is not None and worst != Severity.INFO
    said = f"with findings up to {worst}" if worst is not None and found else ""
    if not said:
        return STATUS[status].lower()
    return f"good, {said}" if status == "ok" else f"{STATUS[status].lower()}, {said}"


def _broken(receipt: Receipt) -> Counter[Severity]:
    found: Counter[Severity] = Counter()
    for line in receipt.measurements:
        worst = (line.verdict or {}).get("worst")
        if line.values.quarantined:
            found[Severity.CRITICAL] += 1
        elif worst is not None:
            found[Severity(worst)] += 1
    return found


def status_sentence(receipt: Receipt) -> str:
    """What the run did: how much landed, was quarantined, and reached the sinks."""
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
    if receipt.flow == REPORT:
        return []
    if not receipt.sinks:
        return ["no sink is in use, the lake has it all"]
    return [f"loaded to {sink_name(name)}: {_loaded(sums)}" for name, sums in receipt.sinks.items()]


def _loaded(sums: SinkValues) -> str:
    if not sums.owed:
        return "nothing was owed"
    if sums.loaded == sums.owed:
        return "all"
    left = {
        "pending": sums.pending,
        "refused": sums.refused,
        "skipped by rule": sums.skipped_by_rule,
    }
    reasons = ", ".join(f"{number:,} {what}" for what, number in left.items() if number)
    return f"{sums.loaded:,} of {sums.owed:,} ({reasons})"


def _states(receipt: Receipt) -> str:
    reported = {"failed": "failed", "refused": "refused", "lost": "lost", "no_data": "without data"}
    counts = Counter(str(line.state) for line in receipt.measurements)
    return ", ".join(
        f"{counts[state]} {words}" for state, words in reported.items() if counts[state]
    )


def checks_sentence(verdict: dict[str, Any]) -> str:
    """How many checks a verdict of the twin holds."""
    return (
        f"{counted(verdict['declared'], 'check')} declared, {verdict['ran']} ran, "
        f"{verdict['failed']} failed"
    )


def against(comparison: dict[str, Any], window: Window) -> str:
    """What a comparison of the twin is made with: the 1 h before, a day before, a week before."""
    if comparison["against"] == "previous":
        return f"the {length_text(window.length)} before"
    return f"a {comparison['against']} before"


def usual_text(comparison: dict[str, Any], unit: str) -> str:
    """What change is usual, or why nothing is said of it."""
    if comparison["usual"] is None:
        return f"too little history: {counted(comparison['past'], 'earlier change')}"
    low, high = (signed(value, unit) for value in comparison["usual"])
    return f"usual {low} to {high}"


def comparisons_sentence(fields: list[dict[str, Any]]) -> str:
    """How many comparisons there are of these fields of the twin, and what came of them."""
    made = [one["judgement"] for field in fields for one in field["comparisons"]]
    if not made:
        return "The lake holds no earlier window to compare with."
    judged = [judgement for judgement in made if judgement != "unknown"]
    if not judged:
        return (
            f"{counted(len(made), 'comparison')} with earlier windows; "
            "there is too little history to say what is usual."
        )
    usual = judged.count("usual")
    reported = f"{counted(len(made), 'comparison')} with earlier windows, {usual:,} as usual"
    unknown = len(made) - len(judged)
    return f"{reported}, {unknown:,} with too little history." if unknown else f"{reported}."


def changes_sentence(receipt: Receipt, changes: Changes | None, zone: tzinfo = UTC) -> str:
    """Which run this one is compared with, and whether anything is different."""
    if receipt.flow == REPORT:
        return "Made again from the lake, so there is no last run to compare with."
    if changes is None:
        return "This is the first run of its kind here: there is no last run to compare with."
    last = f"the last run, whose window ended {moment(changes.stop, zone)}"
    is_same = (changes.status, changes.worst) == (receipt.status, receipt.worst)
    if changes.measurements or changes.new or not is_same:
        return f"Compared with {last}."
    return f"Nothing is different from {last}: the same states, and the same checks fail."


def change_parts(change: dict[str, Any]) -> list[str]:
    """What is different about a measurement, as short sentences."""
    before, now = change["state_before"], change["state"]
    parts = [f"{STATES[before]} → {STATES[now]}"] if before != now else []
    if change["started"]:
        parts.append(f"fails now: {', '.join(change['started'])}")
    if change["ended"]:
        parts.append(f"no longer fails: {', '.join(change['ended'])}")
    if bool(change["quarantined_before"]) != bool(change["quarantined"]):
        parts.append(f"quarantined {change['quarantined_before']:,} → {change['quarantined']:,}")
    return parts


def event_text(event: dict[str, Any], zone: tzinfo = UTC) -> str:
    """An event of the twin with its time: 06:00 – 07:00 12 values quarantined."""
    start, stop = (datetime.fromisoformat(event[key]).astimezone(zone) for key in ("start", "stop"))
    end = f"{stop:%H:%M}" if start.date() == stop.date() else _clock(stop, seconds=False)
    begin = _clock(start, seconds=False)
    span = begin if event["kind"] == "catalogue" else f"{begin} – {end}"
    return f"{span}: {event['text']}"


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


def moment(at: datetime, zone: tzinfo = UTC) -> str:
    """A time to the second, with its zone: 24 Nov 2026 06:00:00 UTC."""
    at = at.astimezone(zone)
    return f"{_clock(at)} {at:%Z}"


def clock(text: str, zone: tzinfo = UTC) -> str:
    """A sample's ISO 8601 time in the zone, as a table shows it: 2026-11-24 06:00:00.5."""
    at = datetime.fromisoformat(text).astimezone(zone).replace(tzinfo=None)
    return at.isoformat(sep=" ")


def _clock(at: datetime, seconds: bool = True) -> str:
    return f"{at.day} {at:%b %Y %H:%M:%S}" if seconds else f"{at.day} {at:%b %Y %H:%M}"


def window_text(window: Window, zone: tzinfo = UTC) -> str:
    """A window with its zone and length: 24 Nov 2026 06:00 – 08:00 UTC (2 h)."""
    start, stop = window.start.astimezone(zone), window.stop.astimezone(zone)
    exact = bool(start.second or stop.second)
    end = f"{stop:%H:%M:%S}" if exact else f"{stop:%H:%M}"
    if start.date() != stop.date():
        end = _clock(stop, exact)
    return f"{_clock(start, exact)} – {end} {stop:%Z} ({length_text(window.length)})"


def length_text(length: timedelta) -> str:
    """A length in its two largest units, e.g. 1 h 58 min."""
    left = int(length.total_seconds())
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2]) or "less than 1 s"
