"""A run's id: sortable by time, unique by its token."""

import uuid
from datetime import UTC, datetime


def run_id_of(moment: datetime, token: str) -> str:
    """Build a run's id."""
    return f"{moment:%Y%m%dT%H%M%S}-{token}"


def new_run_id(moment: datetime) -> str:
    """Build the id of a run that starts now.

    Half of its token is the 4096th of the second, so that ids sort by time within a second too: the
    newest run of the lake shows whether the ledger is behind.
    """
    fraction = moment.microsecond * 4096 // 1_000_000
    return run_id_of(moment, f"{fraction:03x}{uuid.uuid4().hex[:3]}")


def moment_of(run_id: str) -> datetime | None:
    """Return the start of the run, to the second; None for an id of another kind."""
    try:
        return datetime.strptime(run_id.partition("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
