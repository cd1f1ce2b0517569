"""Running of commands: as a flow run if a Prefect API is set, else plainly."""

import gc
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any

from flows.commands.prefect_server import NOT_RECORDED, VARIABLE, require_server

if TYPE_CHECKING:
    from tasks.core.receipt import FailOn, Receipt
    from tasks.runs.base.run import Run

# modules of the runs' steps
RUNS = {
    "collect": "tasks.runs.collect",
    "health": "tasks.runs.health.run",
    "federated": "tasks.runs.federated",
    "backfill": "tasks.runs.backfill.run",
    "replay": "tasks.runs.replay.run",
    "reconcile": "tasks.runs.reconcile.run",
    "maintain": "tasks.runs.maintain",
    "slo": "tasks.runs.slo.run",
    "alerts": "tasks.runs.alerts.run",
}


def run_command(
    name: str,
    request: Any,
    environment: str | None = None,
    fail_on: "FailOn" = "high",
    **options: object,
) -> "Receipt":
    """Run the steps of this name; the fields of `request` are its parameters."""
    from tasks.core.disk import require_space
    from tasks.core.settings import load_settings

    show_warnings()
    # before Prefect, which fails on a full disk with a traceback
    require_space(load_settings().home)
    if os.environ.get(VARIABLE):
        of_run = {"environment": environment, "fail_on": fail_on}
        return _run_flow(name, {**asdict(request), **of_run})
    print(f"fedvitals: {NOT_RECORDED}", file=sys.stderr)
    steps = getattr(import_module(RUNS[name]), name)
    return run_plain(name, lambda run: steps(run, request, **options), environment, fail_on)


def run_plain(
    name: str,
    do: "Callable[[Run], Receipt]",
    environment: str | None = None,
    fail_on: "FailOn" = "high",
) -> "Receipt":
    """Run steps in this process, with their progress on the terminal."""
    from flows.commands.progress import shown_progress
    from tasks.core.settings import load_settings
    from tasks.runs.base.run import Run

    show_warnings()
    with (
        shown_progress() as progress,
        Run(name, load_settings(), environment, fail_on=fail_on, progress=progress) as run,
    ):
        receipt = do(run)
    # skips the interpreter's final walk through all objects, which takes over a second
    gc.freeze()
    return receipt


def show_warnings() -> None:
    """Show warnings of the plan on standard error, or with PREFECT_LOGGING_LEVEL=INFO all lines."""
    is_wordy = os.environ.get("PREFECT_LOGGING_LEVEL", "").upper() in ("INFO", "DEBUG")
    logger = logging.getLogger("fedvitals" if is_wordy else "fedvitals.plan")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(logging.Formatter("fedvitals: %(message)s"))
    logger.addHandler(shown)


def _run_flow(name: str, parameters: dict[str, object]) -> "Receipt":
    require_server()
    flow: Any = getattr(import_module(f"flows.{name}"), name)
    known = flow.parameters.properties
    taken = {key: value for key, value in parameters.items() if key in known}
    state = flow(**taken, return_state=True)
    gc.freeze()
    result = state.result(raise_on_failure=False)
    if result is None:
        raise RuntimeError(str(state.message))
    if isinstance(result, BrokenPipeError):
        # the command line would silently end with 1 on it
        raise RuntimeError(f"a connection of the run broke off: {result}") from result
    if isinstance(result, Exception):
        raise result
    receipt: Receipt = result
    return receipt
