"""Changes of incidents, from the ledger, as a measurement of any window."""

from collections.abc import Callable
from typing import Any

from tasks.core.batch import Batch, build_frame, check_series, columns_of, empty_frame
from tasks.core.incidents import Incident, IncidentEvent
from tasks.core.measurement import Measurement
from tasks.core.ports import History
from tasks.core.window import Window

# the changes of an environment's incidents in a window
Changes = Callable[[str, Window], list[tuple[IncidentEvent, Incident]]]


class IncidentSource:
    """Reads the changes that the ledger keeps."""

    name = "incidents"
    history: History = "range"

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    def close(self) -> None:
        """Nothing is open."""

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """Return a row a change; raise SeriesExceeded for too many alerts."""
        rows = [_row(*each) for each in self._changes(environment, window)]
        frame = empty_frame(measurement)
        if rows:
            columns = {name: [row[name] for row in rows] for name in columns_of(measurement)}
            frame = build_frame(measurement, columns)
        check_series(frame, measurement, window)
        return Batch(measurement, environment, window, frame)


def _row(event: IncidentEvent, incident: Incident) -> dict[str, Any]:
    newest = incident.newest
    return {
        "time": event.at,
        "environment": newest.environment,
        "alert": newest.name,
        "severity": str(newest.severity),
        "fingerprint": newest.fingerprint,
        "change": event.change,
        "open_seconds": max(0.0, (event.at - incident.opened_at).total_seconds()),
        "incident": incident.id,
        "before": event.before,
        "after": event.after,
        "by": event.by,
        "why": event.why,
    }
