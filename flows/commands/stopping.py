"""Stopping by a signal: one line, exit code 128 + the signal, nothing left."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
# time for a stopped process to end although a thread still waits for a service
seconds_to_end = 3.0
_said = threading.Event()


def install() -> None:
    """Handle SIGINT and SIGTERM as an exit, so that everything started is stopped too."""
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)


def allow(seconds: float) -> None:
    """Allow a command more time to end, to stop servers of its own."""
    global seconds_to_end
    seconds_to_end = seconds


def say() -> None:
    """Report once that the command was stopped."""
    if not _said.is_set():
        _said.set()
        print("fedvitals: stopped. Landed data stays; the next run continues", file=sys.stderr)


def _stop(number: int, frame: FrameType | None) -> None:
    """Begin to end; a second signal ends at once."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda again, frame: end_now(128 + again))
    patience = threading.Timer(seconds_to_end, end_now, (128 + number,))
    patience.daemon = True
    patience.start()
    raise SystemExit(128 + number)


def end_now(code: int) -> NoReturn:
    """End the process without waiting threads: a run survives a kill."""
    say()
    sys.stderr.flush()
    os._exit(code)
