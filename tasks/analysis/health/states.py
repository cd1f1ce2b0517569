"""The state of a check, from its samples."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tasks.core.health import Interval, Key, Sample, State, Streak, Track
from tasks.core.maintenance_windows import Maintenance, covering

NOT_OBSERVED = "not observed"
_MOMENT = timedelta(microseconds=1)
# from better to worse; of one without data anything is worse than nothing known
_ORDER: Mapping[State, int] = {"no_data": -1, "up": 0, "degraded": 1, "down": 2}


@dataclass(frozen=True)
class Rules:
    """How many samples in a row change a state, and the time beyond which nothing was observed."""

    failures: int
    successes: int
    gap: timedelta

    def needed(self, current: State, seen: State) -> int:
        """Return how many samples in a row change the current state to the seen one."""
        if seen == "no_data" or (current, seen) == ("no_data", "up"):
            return 1
        return self.failures if _ORDER[seen] > _ORDER[current] else self.successes


def advance_all(
    tracks: Mapping[Key, Track],
    samples: Iterable[Sample],
    rules: Rules,
    maintenance: Iterable[Maintenance] = (),
) -> tuple[list[Interval], list[Track]]:
    """Return the intervals that samples change, and the tracks after them."""
    planned = list(maintenance)
    intervals: dict[tuple[Key, datetime], Interval] = {}
    after: dict[Key, Track] = {}
    for sample in samples:
        is_planned = covering(planned, *sample.key, sample.at) is not None
        before = after.get(sample.key) or tracks.get(sample.key)
        ended, track = advance(before, sample, rules, is_planned)
        for one in (*ended, track.interval):
            intervals[one.key, one.start] = one
        after[sample.key] = track
    return list(intervals.values()), list(after.values())


def advance(
    track: Track | None, sample: Sample, rules: Rules, is_planned: bool = False
) -> tuple[list[Interval], Track]:
    """Return the intervals that end with a sample, and the track after it.

    A state begins with the first sample of the streak that led to it, which may be taken back from
    the interval before.
    """
    ended: list[Interval] = []
    if track is not None and sample.at == track.interval.until:
        # recorded before: controls belong to the rounds of all environments
        return ended, track
    if track is None:
        track = Track(Interval(*sample.key, "no_data", sample.at, sample.at, NOT_OBSERVED))
    elif sample.at - track.interval.until > rules.gap:
        last = track.interval
        # one sample is a moment, but no two intervals begin at once
        last = replace(last, until=max(last.until, last.start + _MOMENT))
        ended.append(last)
        track = Track(Interval(*sample.key, "no_data", last.until, sample.at, NOT_OBSERVED))
    # another process may have seen a later one
    at = max(sample.at, track.interval.until)
    current = replace(track.interval, until=at)
    if current.maintenance is not is_planned:
        ended.append(current)
        current = replace(current, start=at, maintenance=is_planned)
    if sample.state == current.state:
        why = sample.error or current.why
        return ended, Track(replace(current, why=why))
    streak = _longer(track.streak, current.state, sample, at)
    if streak.count < rules.needed(current.state, streak.state):
        return ended, Track(current, streak)
    first = max(streak.first, current.start)
    if first > current.start:
        ended.append(replace(current, until=first))
    return ended, Track(Interval(*sample.key, streak.state, first, at, streak.why, is_planned))


def _longer(streak: Streak | None, current: State, sample: Sample, at: datetime) -> Streak:
    """Return the streak with a sample; it is as bad, or as good, as all of its samples are."""
    seen, level = sample.state, _ORDER[current]
    if streak is None or (_ORDER[seen] > level) is not (_ORDER[streak.state] > level):
        return Streak(seen, 1, at, sample.error)
    nearest = min(streak.state, seen, key=lambda state: abs(_ORDER[state] - level))
    return Streak(nearest, streak.count + 1, streak.first, sample.error)


def bad_since(intervals: Iterable[Interval], track: Track) -> datetime:
    """Return since when a check is in its bad state, across times without data.

    `intervals` are earlier ones of any checks, oldest first.
    """
    since = track.interval.start
    own = [one for one in intervals if one.key == track.interval.key and one.start < since]
    for one in reversed(own):
        if one.state == track.interval.state:
            since = one.start
        elif one.state != "no_data":
            break
    return since
