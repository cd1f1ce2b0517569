"""Messages for people about the end of a run."""

from dataclasses import dataclass
from datetime import datetime

from tasks.core.receipt import Receipt


@dataclass(frozen=True)
class Message:
    """A message about the end of a run, at one moment."""

    run_id: str
    time: datetime
    text: str


def message_of(receipt: Receipt, time: datetime) -> Message:
    """Summarise the receipt of a run in a message."""
    values = receipt.values
    failed = [line.name for line in receipt.measurements if line.state == "failed"]
    parts = [f"{values.landed} values landed", f"{values.quarantined} quarantined"]
    parts += [f"failed: {', '.join(failed)}"] if failed else []
    how = f"{receipt.flow} in {receipt.environment}: {receipt.status}; {', '.join(parts)}"
    return Message(run_id=receipt.run_id, time=time, text=f"fedvitals {how}")
