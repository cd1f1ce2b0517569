"""The host's clock and time zone as a test wants them, for all of fedvitals in this process."""

import datetime as standard
import os
import sys
import time

REAL = standard.datetime


class _Meta(type):
    """Whatever is a datetime is one of ours, since other packages go on to make the real ones."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, REAL)


class ShiftedDatetime(REAL, metaclass=_Meta):
    """A datetime whose `now` is so far from the real one."""

    shift = standard.timedelta()

    @classmethod
    def now(cls, tz: standard.tzinfo | None = None) -> REAL:  # type: ignore[override]
        """The time that the host shows."""
        return REAL.now(tz) + cls.shift


def set_clock(now: str, zone: str) -> None:
    """From now on the host shows this time (ISO 8601), and lives in this time zone.

    Only modules of fedvitals that are imported already are reported; `time.monotonic` goes on as it was.
    """
    ShiftedDatetime.shift = REAL.fromisoformat(now) - REAL.now(standard.UTC)
    os.environ["TZ"] = zone
    time.tzset()
    for name, module in list(sys.modules.items()):
        is_ours = name.partition(".")[0] in ("tasks", "flows")
        if is_ours and getattr(module, "datetime", None) is REAL:
            module.datetime = ShiftedDatetime  # type: ignore[attr-defined]
