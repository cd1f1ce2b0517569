"""Runs a flow here and now, as the commands do."""

import gc
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from flows.commands.prefect_server import require_server

if TYPE_CHECKING:
    from tasks.run.plan import Plan
    from tasks.upkeep.maintaining import UpkeepPlan


def announce(plan: "Plan | UpkeepPlan") -> None:
    """Print on standard error which config and home the run uses, and its plan's warnings."""
    from tasks.run.home import places_line

    for line in (places_line(plan.settings), *plan.warnings):
        print(f"fedvitals: {line}", file=sys.stderr)


def run_flow(name: str, **parameters: object) -> Any:
    """What the flow of this name answered: its receipt, or what stands for one.

    Prefect is imported no earlier, so that a user's mistake is told without the wait.

    Raises:
        ConfigurationInvalid: when PREFECT_API_URL names a server that does not answer.
        FedvitalsError: what ended the flow before it had an answer.
    """
    flow = getattr(import_module(f"flows.{name}"), name)
    require_server()
    state = flow(**parameters, return_state=True)
    # the interpreter's walk through all objects at its end takes over a second, to no end
    gc.freeze()
    result = state.result(raise_on_failure=False)
    if result is None:
        raise RuntimeError(str(state.message))
    if isinstance(result, BrokenPipeError):
        # the command line would take it for one of its own output, and end with 1 without a word
        raise RuntimeError(f"a connection of the run broke off: {result}") from result
    if isinstance(result, Exception):
        raise result
    return result
