"""What is wrong in a run: rows of the report's first table."""

from datetime import tzinfo
from typing import Any

from tasks.core.receipt import Receipt
from tasks.core.sentence import failures_of, worst_first
from tasks.reports.words import clock, names_text


def wrong_of(receipt: Receipt, zone: tzinfo) -> list[dict[str, Any]]:
    """Return failed work, equal reasons together, then findings, the worst first."""
    rows: list[dict[str, Any]] = [
        {"names": names, "severity": state, "sentence": f"{names_text(names)}: {reason}"}
        for (state, reason), names in failures_of(receipt).items()
    ]
    for finding in worst_first(receipt):
        said = {key: finding.evidence.get(key) for key in _KEYS}
        name = said.pop("measurement")
        times = {key: _short(said[key], zone) for key in ("first", "last")}
        rows.append(
            {
                **said,
                **times,
                "names": [name] if name else [],
                "severity": finding.severity.value,
                "sentence": finding.sentence,
            }
        )
    return rows


_KEYS = (
    "measurement", "check", "field", "series", "observed", "limit", "first", "last", "holds",
)  # fmt: skip


def _short(text: str | None, zone: tzinfo) -> str:
    """Format a time to the minute: 11-24 06:00."""
    return clock(text, zone)[5:16] if text else ""
