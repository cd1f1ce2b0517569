"""Deliver a finished run's artifacts, and its message to channels."""

from contextlib import closing, suppress
from datetime import UTC, datetime

from tasks.core.errors import LedgerAway
from tasks.core.message import message_of
from tasks.core.receipt import Receipt
from tasks.core.severity import Severity
from tasks.ledger.held_findings import held
from tasks.runs.base.registry import channels_in
from tasks.runs.base.run import Run


def deliver(run: Run, receipt: Receipt) -> Receipt:
    """Send the run's message and artifacts, and complete its receipt."""
    message = message_of(receipt, datetime.now(UTC))
    for kind, opening in channels_in(run.settings, run.environment):
        if kind.wants(receipt):
            with run.delivery(kind.name), closing(kind.open(opening)) as channel:
                channel.send(message)
    if _has_alerts(run, receipt):
        from tasks.runs.base.alerts import report_findings

        with run.delivery("alerts"):
            report_findings(run, receipt)
    if run.publish is not None and run.artifacts:
        with run.delivery("artifacts"):
            run.publish(run.artifacts)
    return run.complete(receipt)


def _has_alerts(run: Run, receipt: Receipt) -> bool:
    """Return whether something was found, or is found no more."""
    if any(one.severity is not Severity.INFO for one in receipt.findings):
        return True
    with suppress(LedgerAway):
        return bool(held(run.ledger, run.flow, run.environment.name))
    return False
