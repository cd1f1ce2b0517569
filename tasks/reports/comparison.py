"""A mean compared with earlier windows, and whether the change is usual."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np

from tasks.core.measurement import Better

Against = Literal["previous", "day", "week"]
Judgement = Literal["worse", "better", "unusual", "usual", "unknown"]

DAY, WEEK = timedelta(days=1), timedelta(weeks=1)
PAST = 7  # earlier changes that define the usual range
FEWEST = 5  # with fewer of them there is no usual range
HORIZON = 8 * WEEK  # oldest change used
USUAL = 3.0  # robust standard deviations
MAD_TO_SIGMA = 1.4826
_FLOOR = 1e-9  # of the value: a smaller change is none


@dataclass(frozen=True)
class Comparison:
    """A field's mean now and before; usual is None with too few past changes."""

    against: Against
    before: float
    change: float
    usual: tuple[float, float] | None
    past: int
    judgement: Judgement


def bases_of(length: timedelta) -> dict[Against, timedelta]:
    """Return the distance to each compared window, which must not overlap this one."""
    bases: dict[Against, timedelta] = {"previous": length}
    if length < DAY:
        bases["day"] = DAY
    if length < WEEK:
        bases["week"] = WEEK
    return bases


def shifts_of(length: timedelta) -> tuple[timedelta, ...]:
    """Return the shifts of the window with all means that comparisons need."""
    shifts = {
        base * times
        for base in bases_of(length).values()
        for times in range(1, PAST + 2)
        if times == 1 or base * times <= HORIZON
    }
    return tuple(sorted(shifts))


def comparisons_of(
    now: float, earlier: Mapping[timedelta, float], length: timedelta, better: Better
) -> tuple[Comparison, ...]:
    """Compare with each earlier window that has a mean.

    Usual is the median of the same changes before, plus and minus three times their MAD times
    1.4826 (Leys et al. 2013, Journal of Experimental Social Psychology 49).
    """
    return tuple(
        _comparison(against, base, now, earlier, better)
        for against, base in bases_of(length).items()
        if base in earlier
    )


def _comparison(
    against: Against,
    base: timedelta,
    now: float,
    earlier: Mapping[timedelta, float],
    better: Better,
) -> Comparison:
    before = earlier[base]
    pairs = [(earlier.get(base * n), earlier.get(base * (n + 1))) for n in range(1, PAST + 1)]
    past = [new - old for new, old in pairs if new is not None and old is not None]
    usual = _usual(past, _FLOOR * max(abs(now), abs(before))) if len(past) >= FEWEST else None
    change = now - before
    return Comparison(against, before, change, usual, len(past), _judge(change, usual, better))


def _usual(changes: list[float], floor: float) -> tuple[float, float]:
    centre = float(np.median(changes))
    deviation = float(np.median(np.abs(np.array(changes) - centre)))
    room = USUAL * MAD_TO_SIGMA * deviation + floor
    return centre - room, centre + room


def _judge(change: float, usual: tuple[float, float] | None, better: Better) -> Judgement:
    if usual is None:
        return "unknown"
    if usual[0] <= change <= usual[1]:
        return "usual"
    if better == "none":
        return "unusual"
    rose = change > usual[1]
    return "better" if rose == (better == "higher") else "worse"
