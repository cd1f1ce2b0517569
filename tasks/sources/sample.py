"""Samples of sources without history: one a run, shared by all measurements."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from tasks.core.batch import Batch, empty_frame
from tasks.core.measurement import Measurement
from tasks.core.window import Window, floor, iso

Seen = TypeVar("Seen")
LATE = timedelta(minutes=1)


@dataclass(frozen=True)
class Look(Generic[Seen]):
    """A sample, its date, and how much later it was taken."""

    time: datetime
    delay: timedelta
    seen: Seen

    def warnings(self, every: timedelta) -> tuple[str, ...]:
        """Warn when the date is off by more than a slot, and by more than a minute."""
        if self.delay <= max(every, LATE):
            return ()
        seconds = self.delay.total_seconds()
        return (f"the sample was taken {seconds:.0f} s after the time it is dated with",)


class Shared(Generic[Seen]):
    """Takes a sample on first use, and shares it once it succeeded; thread-safe."""

    def __init__(self, sample: Callable[[], Seen], now: datetime | None = None) -> None:
        """`now` dates the sample: the run's time, by default the sample's own."""
        self._look = sample
        self._now = now
        self._guard = threading.Lock()
        self._last: Look[Seen] | None = None

    def within(self, window: Window, every: timedelta) -> Look[Seen] | None:
        """Return a sample whose time, floored to `every`, is in the window.

        None when now is not in it: then nothing is queried. A sample dated outside the window is taken
        anew.
        """
        with self._guard:
            if self._last is None or not _is_in(self._last.time, window, every):
                asked = datetime.now(UTC)
                now = self._now or asked
                if not _is_in(now, window, every):
                    return None
                self._last = Look(now, asked - now, self._look())
            return self._last


def _is_in(time: datetime, window: Window, every: timedelta) -> bool:
    return window.start <= floor(time, every) < window.stop


def nothing(measurement: Measurement, environment: str, window: Window, warning: str) -> Batch:
    """Return a batch without rows, and the reason."""
    return Batch(
        measurement=measurement,
        environment=environment,
        window=window,
        frame=empty_frame(measurement),
        warnings=(warning,),
    )


def too_late(measurement: Measurement, environment: str, window: Window) -> Batch:
    """Return a batch without rows, for a window that does not include now."""
    span = f"[{iso(window.start)}, {iso(window.stop)})"
    warning = f"no sample: it is not {span} now, and the source has no history"
    return nothing(measurement, environment, window, warning)
