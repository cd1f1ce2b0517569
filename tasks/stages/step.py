"""Steps of a run as Prefect tasks, without caching, storage or retries."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed
from prefect.utilities.annotations import quote

from tasks.core.errors import FedvitalsError

P = ParamSpec("P")
R = TypeVar("R")


class Stage(Task[P, R]):
    """A step of a flow.

    Steps exchange no futures, so Prefect is kept from searching every part of a plan or receipt for
    them, which costs more than the task itself.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the function's result, and raise the expected error that it ended with."""
        call: Any = super().__call__
        answer = call(*map(quote, args), **{key: quote(value) for key, value in kwargs.items()})
        return answer.result() if isinstance(answer, State) else answer


def as_task(name: str, do: Callable[P, R]) -> Callable[P, R]:
    """Return the step as a Prefect task of this name."""

    # an expected error is a state with its one sentence: raised, Prefect would log a traceback
    @wraps(do)
    def in_one_sentence(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            return do(*args, **kwargs)
        except FedvitalsError as error:
            return Failed(message=str(error), data=error)

    # names the task in the graph; by default Prefect appends letters
    return Stage(
        in_one_sentence, name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False
    )
