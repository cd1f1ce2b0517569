"""`fedvitals maintain`: an ad-hoc run of the flow maintain."""

from flows.commands.options import AsJson
from flows.commands.running import run_command
from flows.commands.summary import finish


def maintain(json: AsJson = False) -> None:
    """Maintain lake, ledger and reports: compact, apply retention, clean up, back up.

    - the files of each day become one
    - rows older than `retention` of their measurement go, and with them the records of their hours
    - quarantine, replaced files, receipts, reports and backups go by `maintenance` in
      environments.yaml
    - a SQLite ledger is backed up; back up PostgreSQL with pg_dump

    It covers all environments, and may run at any time and be killed at any time; `fedvitals serve`
    runs it daily. A table that another run works on is skipped (exit code 3), a damaged one is
    reported (exit code 1).

    Example:

        fedvitals maintain
    """
    from tasks.runs.maintain import MaintainRequest

    finish(run_command("maintain", MaintainRequest()), json)
