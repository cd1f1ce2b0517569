"""`fedvitals demo`: run a small training and monitor it."""

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands import stopping
from flows.commands.options import AsJson, Output

if TYPE_CHECKING:
    from tasks.core.receipt import Receipt

# of the extra `demo`, by the names that are imported
EXTRA = ("dp_accounting", "sklearn", "trustme")


def demo(
    output: Output = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the servers running until Ctrl-C.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Run a small federated training, collect and report it while it trains.

    It takes about three minutes. Prometheus and InfluxDB are used when they are on the PATH or
    configured; without them the training's `/metrics` is read directly and the lake keeps
    everything. All data go to the folder `demo` of FEDVITALS_HOME, which is emptied first. Exit
    code 1 when the last run failed or found no data.

    One alarm is planted: a client's network loses a fifth of its packets. With --keep it prints
    what to open (report, Prefect, InfluxDB with a token and a Flux query) and leaves the servers
    running until Ctrl-C.

    Examples:

        fedvitals demo

        fedvitals demo --keep

        fedvitals demo --output demo-report --json
    """
    _require_extra()
    from deployments.services.processes import STOP_SECONDS, NotStarted
    from flows.commands.summary import summary
    from flows.demo import demo as run
    from tasks.core.settings import load_settings

    # its servers are stopped in turn
    stopping.allow(4 * STOP_SECONDS)
    settings = load_settings()

    def notify(text: str) -> None:
        print(f"demo: {text}", file=sys.stderr)

    def show(receipt: "Receipt") -> None:
        print(receipt.model_dump_json(indent=2) if json else summary(receipt), flush=True)

    try:
        receipt = run(settings, output, notify, show, keep)
    except NotStarted as error:
        print(f"fedvitals: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    # findings in the demo's training do not fail the run
    raise typer.Exit(1 if receipt.status in ("failed", "no_data") else 0)


def _require_extra() -> None:
    from tasks.core.errors import ConfigurationInvalid

    missing = ", ".join(name for name in EXTRA if find_spec(name) is None)
    if missing:
        fix = "Install them: pip install 'fedvitals[demo]'"
        raise ConfigurationInvalid(where="demo", problem=f"lacks the packages {missing}", fix=fix)
