"""Messages for people about the end of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from tasks.core.finding import Finding
from tasks.core.receipt import Receipt
from tasks.core.severity import Severity


@dataclass(frozen=True)
class Message:
    """A message about the end of a run, at one moment, with its findings."""

    run_id: str
    time: datetime
    text: str
    findings: tuple[Finding, ...] = ()


def at_least(severity: Severity) -> Callable[[Receipt], bool]:
    """Return the rule that a channel is sent what failed, or is at least so severe."""

    def wants(receipt: Receipt) -> bool:
        is_bad = receipt.worst is not None and receipt.worst.rank <= severity.rank
        return is_bad or not receipt.did_its_work

    return wants


def message_of(receipt: Receipt, time: datetime) -> Message:
    """Return the run's sentence as a message."""
    text = f"fedvitals {receipt.flow} in {receipt.environment}: {receipt.sentence}"
    return Message(run_id=receipt.run_id, time=time, text=text, findings=receipt.findings)
