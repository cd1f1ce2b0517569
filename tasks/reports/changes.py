"""Changes since the last run: states, sums, and newly or no longer failing checks."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from tasks.core.receipt import MeasurementReceipt, MeasurementState, Receipt
from tasks.core.sentence import reason_of
from tasks.reports import words
from tasks.reports.records import Changes, MeasurementChange


def changes_of(receipt: Receipt, earlier: Sequence[Receipt]) -> Changes | None:
    """Compare the receipt with those of earlier runs, newest first; None without any.

    A check is compared with the newest run that ran it, since one without new data did not.
    """
    if not earlier:
        return None
    known = {line.name for one in earlier for line in one.measurements}
    found = [_change(line, earlier) for line in receipt.measurements if line.name in known]
    last = earlier[0]
    return Changes(
        run_id=last.run_id,
        stop=datetime.fromisoformat((last.window or {})["stop"]),
        status=last.status,
        worst=last.worst,
        sentence=last.sentence,
        values=last.values,
        measurements=tuple(change for change in found if _differs(change)),
        new=tuple(line.name for line in receipt.measurements if line.name not in known),
    )


def alike(changes: Changes, receipt: Receipt) -> list[tuple[list[str], str]]:
    """Group the names of measurements that changed in the same way, for the same reason."""
    lines = {line.name: line for line in receipt.measurements}
    found: dict[str, list[str]] = {}
    for one in changes.measurements:
        is_moved = one.state != one.state_before and one.name in lines
        why = (
            [reason_of(each, one.name) for each in lines[one.name].problems[:1]] if is_moved else []
        )
        text = ": ".join(["; ".join(words.change_parts(asdict(one))), *why])
        found.setdefault(text, []).append(one.name)
    if changes.new:
        found["read for the first time"] = [*changes.new]
    return [(names, text) for text, names in found.items()]


def _change(line: MeasurementReceipt, earlier: Sequence[Receipt]) -> MeasurementChange:
    lines = [each for one in earlier for each in one.measurements if each.name == line.name]
    checked = next((each for each in lines if each.verdict is not None), None)
    compared = line.verdict is not None and checked is not None
    before = checked.failing if compared and checked is not None else ()
    now = line.failing if compared else ()
    return MeasurementChange(
        name=line.name,
        state_before=lines[0].state,
        state=line.state,
        started=tuple(check for check in now if check not in before),
        ended=tuple(check for check in before if check not in now),
        quarantined_before=checked.values.quarantined if compared and checked else None,
        quarantined=line.values.quarantined if compared else None,
    )


def _differs(change: MeasurementChange) -> bool:
    return bool(
        _plain(change.state_before) != _plain(change.state)
        or change.started
        or change.ended
        or bool(change.quarantined_before) != bool(change.quarantined)
    )


def _plain(state: MeasurementState) -> MeasurementState:
    """Return the state without the difference between landed and unchanged."""
    return "landed" if state == "unchanged" else state
