"""Steps of a run: called as they are, or wrapped to be visible."""

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Step(Protocol):
    """Makes a function a named step of a run."""

    def __call__(self, name: str, do: Callable[P, R]) -> Callable[P, R]:
        """Return the function that runs the step."""
        ...


def plain(name: str, do: Callable[P, R]) -> Callable[P, R]:
    """Return the function itself: the step is a call."""
    return do
