"""`fedvitals serve`: serve the flows on their schedules, for the Prefect UI."""

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.commands.definitions import Deployment
    from tasks.core.settings import Settings


def serve() -> None:
    """Serve the flows: scheduled, and ready to start by hand in the Prefect UI.

    It needs a Prefect server (`prefect server start`) and PREFECT_API_URL, and runs until it is
    stopped, which cancels its runs. Schedules come from `prefect.yaml`; its start undoes pauses
    made in the UI, and sets runs that a crash left running to Crashed. A run that is due while
    another of the same deployment works is cancelled. A schedule without work is inactive, and a
    line says why. `fedvitals health watch` runs beside it.

    Example:

        fedvitals serve
    """
    from flows.commands.prefect_server import require_server
    from tasks.core.errors import ConfigurationInvalid
    from tasks.core.settings import PLACES, load_settings
    from tasks.core.whole_file import make_private

    settings = load_settings()
    if not os.environ.get("PREFECT_API_URL"):
        problem = "is not set, so there is no server to serve the flows for"
        fix = "Start a server (prefect server start) and set it, e.g. http://127.0.0.1:4200/api"
        raise ConfigurationInvalid(where="PREFECT_API_URL", problem=problem, fix=fix)
    require_server()
    # Prefect's runner shares one folder in the temporary one, which another user may own;
    # and its import warns of a home whose parent is missing
    tempfile.tempdir = str(settings.home / "tmp")
    make_private(Path(tempfile.tempdir))
    # a deployment's run takes nothing from the folder in which it happens to start
    os.environ |= dict(zip(PLACES, map(str, (settings.home, settings.config)), strict=True))
    from flows.commands.definitions import read_deployments, to_prefect
    from flows.commands.runner import ServeRunner
    from flows.commands.schedules import watch_schedules
    from flows.commands.served_runs import ServedRuns
    from tasks.servers.beside import beside

    deployments = read_deployments(settings)
    idle = _report_idle(deployments, settings)
    served = [to_prefect(each, is_active=each.name not in idle) for each in deployments]
    runs = ServedRuns(settings.home)
    runs.end_left()
    watch_schedules([each.name for each in deployments], runs.end_left)
    runner = ServeRunner(runs)
    for each in served:
        runner.add(each)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, runner.handle_sigterm)
    with beside(settings):
        asyncio.run(runner.start())
    raise SystemExit(runner.code)


def _report_idle(deployments: "list[Deployment]", settings: "Settings") -> set[str]:
    """Print why scheduled deployments lack work; return their names."""
    from flows.commands.definitions import why_idle

    idle = {}
    for each in deployments:
        if each.is_scheduled and (why := why_idle(each, settings)):
            idle[each.name] = why
            print(f"fedvitals: {each.name} is inactive: {why}", file=sys.stderr)
    if idle:
        print("fedvitals: start serve again once there is work for them", file=sys.stderr)
    return set(idle)
