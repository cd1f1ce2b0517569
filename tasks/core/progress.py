"""How far long work is: how many cells of a measurement are done, and of how many."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]


def no_progress(measurement: str, done: int, total: int) -> None:
    """Ignore how far the work is."""
