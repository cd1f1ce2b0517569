"""Planned maintenance: recurring windows of the configuration, and those started by hand."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator

from tasks.core.documents import Duration, Strict
from tasks.core.errors import UsageInvalid
from tasks.core.window import parse_duration

SCHEDULE = "health.yaml"
_LONGEST = timedelta(days=31)


@dataclass(frozen=True, order=True)
class Maintenance:
    """Planned work in a half-open time; an empty environment or check means all of them."""

    start: datetime
    until: datetime
    environment: str = ""
    check: str = ""
    reason: str = ""
    by: str = SCHEDULE

    def concerns(self, environment: str, check: str) -> bool:
        """Return whether it is of a check."""
        return self.environment in ("", environment) and self.check in ("", check)

    def covers(self, environment: str, check: str, at: datetime) -> bool:
        """Return whether a check is in maintenance at a moment."""
        return self.concerns(environment, check) and self.start <= at < self.until


class MaintenanceWindow(Strict):
    """A recurring window: it opens when the cron expression fires in `zone`.

    `duration` is elapsed time, also over a change of the clocks. As in Debian's cron, a time that a
    change skips opens right after it, and one that comes twice opens once.
    """

    cron: str
    duration: Duration = Field(le=_LONGEST)
    zone: str = "UTC"
    environment: str = Field(default="", description="all of them when empty")
    check: str = Field(default="", description="all of them when empty")
    reason: str = Field(min_length=1)

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        # of a folder, of a path, or of nothing
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{zone!r} is no time zone such as Europe/Berlin") from error
        return zone

    @field_validator("cron")
    @classmethod
    def _fires(cls, cron: str) -> str:
        try:
            next(CronSim(cron, datetime.now(UTC)))
        except CronSimError as error:
            raise ValueError(f"{cron!r} is no cron expression that fires: {error}") from error
        except StopIteration:
            raise ValueError(f"{cron!r} never fires") from None
        return cron

    def occurrences(self, start: datetime, stop: datetime) -> Iterator[Maintenance]:
        """Yield the windows that overlap [start, stop), oldest first."""
        for opens in CronSim(self.cron, (start - self.duration).astimezone(ZoneInfo(self.zone))):
            # of one zone, datetimes compare and add up by the clock on the wall
            moment = opens.astimezone(UTC)
            until = moment + self.duration
            if moment >= stop:
                return
            # an hour that comes twice may begin again
            if until > start:
                yield Maintenance(moment, until, self.environment, self.check, self.reason)


def checked_duration(text: str) -> timedelta:
    """Return how long maintenance started by hand lasts; raise UsageInvalid."""
    try:
        duration = parse_duration(text)
    except ValueError as error:
        raise UsageInvalid(argument="--for", problem=error, fix="Give 15m, 2h or 1d") from error
    if duration > _LONGEST:
        problem = f"{text} is longer than {_LONGEST.days} days"
        raise UsageInvalid(argument="--for", problem=problem, fix="Give a shorter time")
    return duration


def maintenance_at(
    windows: Iterable[MaintenanceWindow], started: Iterable[Maintenance], at: datetime
) -> list[Maintenance]:
    """Return all maintenance of a moment: of recurring windows, and of that started by hand."""
    second = timedelta(seconds=1)
    recurring = (one for window in windows for one in window.occurrences(at, at + second))
    return [one for one in (*recurring, *started) if one.start <= at < one.until]


def length_of(maintenance: Iterable[Maintenance], start: datetime, stop: datetime) -> float:
    """Return the seconds of [start, stop) in maintenance; times that overlap count once."""
    seconds, until = 0.0, start
    for one in sorted(maintenance):
        seconds += max(0.0, (min(one.until, stop) - max(one.start, until)).total_seconds())
        until = max(until, one.until)
    return seconds


def covering(
    maintenance: Iterable[Maintenance], environment: str, check: str, at: datetime
) -> Maintenance | None:
    """Return the maintenance of a check at a moment that ends last; None when there is none."""
    found = (one for one in maintenance if one.covers(environment, check, at))
    return max(found, key=lambda one: one.until, default=None)
