"""A run as a flow run of Prefect: steps as tasks, result as state."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect import runtime
from prefect.client.schemas.objects import State
from prefect.logging.handlers import APILogHandler
from prefect.states import Completed, Failed

from tasks.core.errors import ConfigurationInvalid, FedvitalsError
from tasks.core.receipt import FailOn, Receipt
from tasks.core.settings import PLACES, load_settings
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
            _require_places()
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


def _require_places() -> None:
    """Raise ConfigurationInvalid unless a deployment's run knows where home and config are.

    A worker of a work pool changes to the folder of the code, which has neither.
    """
    unset = [name for name in PLACES if not Path(os.environ.get(name) or "").is_absolute()]
    if unset and runtime.deployment.id:
        problem = "no absolute path is set, so the run would use the folder of its code"
        fix = "Set it for the worker, or in job_variables.env of the work pool in prefect.yaml"
        raise ConfigurationInvalid(where=" and ".join(unset), problem=problem, fix=fix)


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
