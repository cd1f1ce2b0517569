"""`fedvitals maintain`: an ad-hoc run of the flow maintain."""

from flows.commands.options import AsJson
from flows.commands.running import run_command
from flows.commands.summary import finish


def maintain(json: AsJson = False) -> None:
    """Maintain lake and ledger: compact, apply retention, vacuum, back up.

    Expired rows go by `retention` of their measurement in metrics.yaml, quarantine by
    `maintenance.quarantine` and reports by `maintenance.reports` in environments.yaml; other rows do
    not change. All environments share the tables and are maintained together. A measurement locked
    by another run is skipped (exit code 3), a damaged table is reported (exit code 1), and the
    others are maintained. `fedvitals serve` runs it daily. Examples:

    fedvitals maintain

    fedvitals maintain --json
    """
    from tasks.runs.maintain import MaintainRequest

    finish(run_command("maintain", MaintainRequest()), json)
