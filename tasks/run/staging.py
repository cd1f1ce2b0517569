"""Makes plain functions into Prefect tasks: nothing of them is cached, stored or run again."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task, get_run_logger
from prefect.cache_policies import NO_CACHE
from prefect.utilities.annotations import quote

from tasks.core.settings import Settings
from tasks.run.home import places_line

P = ParamSpec("P")
R = TypeVar("R")


class Stage(Task[P, R]):
    """A stage of a flow.

    What stages hand to each other holds no futures, so Prefect is kept from looking for them in
    every part of a plan or receipt, which costs more than the task itself.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns."""
        call: Any = super().__call__
        return call(*map(quote, args), **{key: quote(value) for key, value in kwargs.items()})


def stage(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Makes a function the stage of this name."""

    def as_stage(function: Callable[P, R]) -> Callable[P, R]:
        return Stage(function, name=name, cache_policy=NO_CACHE, persist_result=False)

    return as_stage


def log_setup(settings: Settings, warnings: tuple[str, ...]) -> None:
    """Log which config and home the run uses, and the warnings of its plan."""
    logger = get_run_logger()
    logger.info(places_line(settings))
    for warning in warnings:
        logger.warning(warning)
