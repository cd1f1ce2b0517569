"""The command `fedvitals`."""

import gc
import os
import signal
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

COMMANDS = (
    "demo",
    "init",
    "doctor",
    "catalogue",
    "suites",
    "collect",
    "federated",
    "convergence",
    "backfill",
    "replay",
    "reconcile",
    "report",
    "quarantine",
    "maintain",
    "lake",
    "ledger",
    "serve",
)

# at the default of 700, imports spend a tenth of their time on walks through what stays anyway
COLLECTOR_THRESHOLD = 10_000

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM

app = typer.Typer(
    name="fedvitals",
    help="Keeps the vital signs of a federated-learning service.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _name in COMMANDS:
    import_module(f"flows.commands.{_name}").register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fedvitals {version('fedvitals')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line; a fedvitals error ends it with one line and the error's exit code.

    A stop from outside (SIGINT, SIGTERM) ends it as an exit, so that what it started is stopped too.
    """
    prepare_process()
    signal.signal(signal.SIGTERM, _terminate)
    from tasks.core.errors import FedvitalsError

    try:
        app()
    except FedvitalsError as error:
        print(f"fedvitals: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code in (INTERRUPTED, TERMINATED):
            print(
                "fedvitals: stopped. What was landed stays; the next run goes on", file=sys.stderr
            )
        raise


def _terminate(number: int, frame: FrameType | None) -> None:
    # by default the process ends at once, and leaves behind the Prefect server that a run started
    raise SystemExit(TERMINATED)


def prepare_process() -> None:
    """Sets what libraries read when they are imported; the user's own wins."""
    gc.set_threshold(COLLECTOR_THRESHOLD)
    home = Path(os.environ.get("FEDVITALS_HOME") or ".fedvitals").resolve()
    defaults = {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        # a failed run is told by our own one line; the full trace stays in the flow run's logs
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "GX_ANALYTICS_ENABLED": "false",
        # an analysis has many small matrices, for which threads cost more than they compute
        "OPENBLAS_NUM_THREADS": "1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
