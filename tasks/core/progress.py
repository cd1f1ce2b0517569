"""Progress of long work: cells done, and in all, of a measurement."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]


def no_progress(measurement: str, done: int, total: int) -> None:
    """Ignore progress."""
