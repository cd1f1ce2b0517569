"""Time: half-open windows on a fixed UTC grid of cells."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self, TypeVar

from tasks.core.errors import UsageInvalid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# range of 64 bits of nanoseconds, which the lake's engine and InfluxDB use
LATEST = datetime(2262, 1, 1, tzinfo=UTC)
_FINEST = timedelta(milliseconds=1)
# beyond it is a typing error, and arithmetic would overflow
_LONGEST = timedelta(days=36_525)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
T = TypeVar("T")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")


@dataclass(frozen=True, order=True)
class Window:
    """A half-open range of time in UTC: start belongs to it, stop does not."""

    start: datetime
    stop: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.stop.tzinfo is None:
            raise UsageInvalid(
                argument="window", problem="a time has no time zone", fix="Give UTC times"
            )
        if self.stop <= self.start:
            raise UsageInvalid(
                argument="--start/--stop",
                problem=f"the window [{iso(self.start)}, {iso(self.stop)}) is empty or runs backwards",
                fix="Give a start before the stop",
            )

    @property
    def length(self) -> timedelta:
        """Return stop - start."""
        return self.stop - self.start

    def widened(self, grid: timedelta) -> Self:
        """Return the smallest window of whole grid steps that contains this one."""
        return type(self)(floor(self.start, grid), ceil(self.stop, grid))

    def clipped(self, stop: datetime) -> Self | None:
        """Return this window up to stop at most; None when nothing is left."""
        return type(self)(self.start, min(self.stop, stop)) if stop > self.start else None

    def cells(self, length: timedelta) -> Iterator["Cell"]:
        """Yield the cells of the grid that touch this window, oldest first."""
        start = floor(self.start, length)
        while start < self.stop:
            yield Cell(start, start + length)
            start += length


@dataclass(frozen=True, order=True)
class Cell(Window):
    """One step of the grid: the unit of state."""


def groups_of(
    items: Iterable[T],
    most: int,
    size: Callable[[T], int] = lambda _: 1,
    fits: Callable[[T, T], bool] = lambda *_: True,
    most_items: int = sys.maxsize,
) -> Iterator[list[T]]:
    """Group adjacent items, in order, while each fits the one before.

    A group has at most the size `most` in all; a larger item is alone in its group.
    """
    group: list[T] = []
    total = 0
    for item in items:
        is_full = total + size(item) > most or len(group) == most_items
        if group and (is_full or not fits(group[-1], item)):
            yield group
            group, total = [], 0
        group.append(item)
        total += size(item)
    if group:
        yield group


def follows(one: Window, other: Window) -> bool:
    """Return whether the other begins where the one ends."""
    return one.stop == other.start


def floor(moment: datetime, grid: timedelta) -> datetime:
    """Return the last grid point not after the moment; the grid starts at the epoch."""
    return EPOCH + (moment - EPOCH) // grid * grid


def ceil(moment: datetime, grid: timedelta) -> datetime:
    """Return the first grid point not before the moment."""
    return EPOCH + -((EPOCH - moment) // grid) * grid


def iso(moment: datetime, zone: tzinfo = UTC) -> str:
    """Format as ISO 8601, in UTC with a Z, as Prometheus and InfluxDB read it."""
    return moment.astimezone(zone).isoformat().replace("+00:00", "Z")


def micros(moment: datetime) -> int:
    """Return microseconds since the epoch, exactly."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def parse_duration(text: str) -> timedelta:
    """Parse whole milliseconds, at most a century, such as 1h30m; raise ValueError."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration such as 15s, 5m, 1h or 2d")
    try:
        length = timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
    except OverflowError as error:
        raise ValueError(f"{text!r} is too long") from error
    if length > _LONGEST:
        raise ValueError(f"{text!r} is too long: more than a century")
    if length % _FINEST:
        raise ValueError(f"{text!r} is finer than a millisecond")
    if not length:
        raise ValueError(f"{text!r} is not positive")
    return length


def format_duration(length: timedelta) -> str:
    """Format a duration in the largest unit that divides it, as Prometheus reads it.

    Raises ValueError when it is not positive, or finer than a millisecond.
    """
    milliseconds, rest = divmod(length, _FINEST)
    if rest or milliseconds <= 0:
        raise ValueError(f"{length} is not a positive number of milliseconds")
    sizes = {unit: int(size * 1000) for unit, size in _UNITS.items()}
    unit = max((u for u in sizes if milliseconds % sizes[u] == 0), key=lambda u: sizes[u])
    return f"{milliseconds // sizes[unit]}{unit}"


def parse_time(text: str, now: datetime, argument: str = "time") -> datetime:
    """Parse ISO 8601 (by default UTC), `now`, or a time relative to now such as -24h.

    Raises UsageInvalid when the text is none of these, or a time that no store can hold.
    """
    try:
        moment = _moment(text, now)
    except (ValueError, OverflowError) as error:
        raise UsageInvalid(
            argument=argument,
            problem=f"{text!r} is not a time",
            fix="Use ISO 8601 such as 2026-01-31T12:00:00Z, a relative time such as -24h, or now",
        ) from error
    if not EPOCH <= moment <= LATEST:
        raise UsageInvalid(
            argument=argument,
            problem=f"{text!r} is {iso(moment)}, which no store can hold",
            fix=f"Give one from {EPOCH:%Y} to {LATEST:%Y}",
        )
    return moment


def asked_window(start: str | None, stop: str | None, now: datetime) -> Window:
    """Return the window from --start (empty: ever) to --stop (empty: now)."""
    since = parse_time(start, now, "--start") if start else EPOCH
    return Window(since, parse_time(stop or "now", now, "--stop"))


def _moment(text: str, now: datetime) -> datetime:
    if text == "now":
        return now
    if text[:1] in ("-", "+"):
        length = parse_duration(text[1:])
        return now - length if text[0] == "-" else now + length
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
