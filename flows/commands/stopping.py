"""How a command ends when it is stopped from outside: one line, 128 + the signal, nothing left behind."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
# after which a stopped process ends though a thread of it still waits for a service
seconds_to_end = 3.0
_said = threading.Event()


def install() -> None:
    """Take SIGINT and SIGTERM as an exit, so that what was started is stopped too."""
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)


def allow(seconds: float) -> None:
    """Allow a command more time to end: one that has servers of its own to stop."""
    global seconds_to_end
    seconds_to_end = seconds


def say() -> None:
    """Say once that the command was stopped."""
    if not _said.is_set():
        _said.set()
        print("fedvitals: stopped. What was landed stays; the next run goes on", file=sys.stderr)


def _stop(number: int, frame: FrameType | None) -> None:
    """Begin to end; a second signal ends at once."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda again, frame: _end_now(128 + again))
    patience = threading.Timer(seconds_to_end, _end_now, (128 + number,))
    patience.daemon = True
    patience.start()
    raise SystemExit(128 + number)


def _end_now(code: int) -> NoReturn:
    """End the process without its threads, which may wait for a service: a run survives a kill."""
    say()
    sys.stderr.flush()
    os._exit(code)
