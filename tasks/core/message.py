"""Describe for people how a run ended."""

from dataclasses import dataclass
from datetime import datetime

from tasks.core.receipt import Receipt


@dataclass(frozen=True)
class Message:
    """How one run ended, for people: one moment and a text."""

    run_id: str
    time: datetime
    text: str


def message_of(receipt: Receipt, time: datetime) -> Message:
    """Describe how the run of the receipt ended."""
    values = receipt.values
    failed = [line.name for line in receipt.measurements if line.state == "failed"]
    parts = [f"{values.landed} values landed", f"{values.quarantined} quarantined"]
    parts += [f"failed: {', '.join(failed)}"] if failed else []
    how = f"{receipt.flow} in {receipt.environment}: {receipt.status}; {', '.join(parts)}"
    return Message(run_id=receipt.run_id, time=time, text=f"fedvitals {how}")
