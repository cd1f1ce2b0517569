"""A run as a flow run of Prefect: steps as tasks, result as state."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prefect.client.schemas.objects import State
from prefect.logging.handlers import APILogHandler
from prefect.states import Completed, Failed

from tasks.core.errors import FedvitalsError
from tasks.core.receipt import FailOn, Receipt
from tasks.core.settings import load_settings
from tasks.runs.base.run import Run, logger
from tasks.runs.base.step import Step
from tasks.stages.artifacts import publish
from tasks.stages.progress import ProgressArtifact
from tasks.stages.step import as_task


def record(
    flow: str,
    do: Callable[[Run, Step], Receipt],
    environment: str | None = None,
    fail_on: FailOn = "high",
) -> State[Receipt]:
    """Run the steps as tasks of the current flow run; return its state.

    An expected error is a Failed state with its one sentence.
    """
    with _logged():
        try:
            with Run(
                flow,
                load_settings(),
                environment,
                fail_on=fail_on,
                progress=ProgressArtifact(),
                publish=publish,
            ) as run:
                return final_state(do(run, as_task))
        except FedvitalsError as error:
            logger.error("%s", error)
            return Failed(message=str(error), data=error)


@contextmanager
def _logged() -> Iterator[None]:
    """Send the run's log to its flow run, even from a worker that Prefect started."""
    handler = APILogHandler()
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def final_state(receipt: Receipt) -> State[Receipt]:
    """Return the flow run's state: Failed if nothing landed by error, else Completed.

    A Completed is named Degraded when a part failed or is pending, and Findings when the work was
    done and the data are at least as bad as `fail_on`.
    """
    message = receipt.sentence
    if receipt.status == "failed":
        return Failed(message=message, data=receipt)
    if receipt.status == "degraded":
        return Completed(name="Degraded", message=message, data=receipt)
    if receipt.is_found_bad:
        return Completed(name="Findings", message=message, data=receipt)
    return Completed(message=message, data=receipt)
