"""`fedvitals alerts`: incidents, what was sent about them, and the intake."""

import sys
from typing import TYPE_CHECKING

import typer

group = typer.Typer(no_args_is_help=True)

if TYPE_CHECKING:
    pass


@group.command()
def serve() -> None:
    """Take alerts and deliver messages about them, until Ctrl-C.

    `fedvitals serve` runs it; one on a ledger is enough. It listens at FEDVITALS_ALERTS_ADDRESS
    (127.0.0.1:4211): POST /alertmanager for Alertmanager's webhook, with the bearer token of
    FEDVITALS_INTAKE_TOKEN; POST /events for others, signed with it. routes.yaml says where messages
    go.

    Example:

        fedvitals alerts serve
    """
    import threading

    from tasks.core.settings import load_settings
    from tasks.servers.intake import intake
    from tasks.servers.supervisor import end_with_parent

    end_with_parent()

    def notify(text: str) -> None:
        print(f"fedvitals: {text}", file=sys.stderr, flush=True)

    with intake(load_settings(), notify) as address:
        notify(f"taking alerts at {address}/alertmanager and {address}/events")
        # until a signal
        threading.Event().wait()
