"""`fedvitals maintain`: an ad-hoc run of the flow maintain."""

from flows.commands.options import AsJson
from flows.commands.running import run_command
from flows.commands.summary import finish


def maintain(json: AsJson = False) -> None:
    """Keep lake and ledger up: compact, expire what is old, clean up, back the ledger up.

    No row changes but those that expire: rows by `retention` of their measurement in metrics.yaml,
    quarantine by `maintenance.quarantine` in environments.yaml. Reports go by
    `maintenance.reports`. It is about all environments, which
    share the tables. A measurement that another run works on is left alone (exit code 3), a damaged
    table is reported (exit code 1), and the others go on. `fedvitals serve` runs it daily. Examples:

    fedvitals maintain

    fedvitals maintain --json
    """
    from tasks.runs.maintain import MaintainRequest

    finish(run_command("maintain", MaintainRequest()), json)
