"""The command `fedvitals`."""

import gc
import logging
import os
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from flows.commands import stopping
from tasks.core.whole_file import PRIVATE

COMMANDS = (
    "demo",
    "init",
    "doctor",
    "catalogue",
    "suites",
    "collect",
    "health",
    "federated",
    "convergence",
    "backfill",
    "replay",
    "reconcile",
    "report",
    "quarantine",
    "rules",
    "slo",
    "alerts",
    "digest",
    "maintain",
    "maintenance",
    "lake",
    "ledger",
    "serve",
)

# at the default of 700, imports spend a tenth of their time in collections that free nothing
COLLECTOR_THRESHOLD = 10_000

HELP = """Keep the vital signs of a federated-learning service.

Exit codes:

- 0: good, or nothing to do
- 1: work failed, or the data are as bad as --fail-on says, or a check found something to fix
- 2: the settings, a suite, an argument or a query is wrong; nothing was done
- 3: something is pending, for a sink or for later runs; nothing else is wrong
- 130, 143: stopped by Ctrl-C or SIGTERM; landed data stay, and the next run continues

With PREFECT_API_URL set, the commands collect, health, federated, backfill, replay, reconcile,
maintain and slo evaluate are flow runs of that server; without it they run the same steps without
Prefect.
"""

app = typer.Typer(
    name="fedvitals",
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
for _name in COMMANDS:
    _module = import_module(f"flows.commands.{_name}")
    if hasattr(_module, "group"):
        app.add_typer(_module.group, name=_name)
    else:
        app.command(_name)(getattr(_module, _name))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fedvitals {version('fedvitals')}")
        raise typer.Exit


# they write the user's own configuration, which others may have to read
OPEN = ("init", "suites")


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    if context.invoked_subcommand not in OPEN:
        os.umask(PRIVATE)


def command() -> Any:
    """Return the command line, without the type `bool` beside each flag of its help."""
    top = get_command(app)
    _hide_flag_types(top, typer.Context(top, **top.context_settings))
    return top


def _hide_flag_types(command: Any, context: typer.Context) -> None:
    for option in command.get_params(context):
        if getattr(option, "is_flag", False):
            option.metavar = ""
    for inner in getattr(command, "commands", {}).values():
        _hide_flag_types(inner, typer.Context(inner, parent=context))


def main() -> None:
    """Run the command line; a fedvitals error prints one line and sets the exit code.

    SIGINT and SIGTERM end it as an exit, so that everything it started is stopped too.
    """
    prepare_process()
    stopping.install()
    from tasks.core.errors import FedvitalsError

    try:
        command()()
    except FedvitalsError as error:
        print(f"fedvitals: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code in stopping.STOPPED:
            stopping.say()
        raise


def prepare_process() -> None:
    """Set the variables that libraries read on import; the user's own win."""
    gc.set_threshold(COLLECTOR_THRESHOLD)
    runs = logging.getLogger("fedvitals")
    runs.setLevel(logging.INFO)
    # without any handler, warnings would be printed among our own lines
    runs.addHandler(logging.NullHandler())
    home = Path(os.environ.get("FEDVITALS_HOME") or ".fedvitals").resolve()
    defaults = {
        "PREFECT_HOME": str(home / "prefect"),
        # no command starts a Prefect server
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        # a command prints one line at its end; a run's log is in the flow run
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        # chunks run in threads, which belong to no flow run
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "GX_ANALYTICS_ENABLED": "false",
        # an analysis has many small matrices, for which threads cost more than they save
        "OPENBLAS_NUM_THREADS": "1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
