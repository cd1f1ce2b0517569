"""A round that waited for the ledger is judged by the maintenance of its own time."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.core.health import Health, Key, Sample
from tasks.core.maintenance_windows import Maintenance
from tasks.ledger.health import start_maintenance, tracks
from tasks.ledger.ledger import Ledger
from tasks.runs.health.round import record_samples

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(("minutes_ago", "is_planned"), [(45, True), (10, False)])
def test_a_late_round_is_judged_by_the_maintenance_of_its_time(
    tmp_path: Path, minutes_ago: int, is_planned: bool
) -> None:
    now, key = datetime.now(UTC), Key("production", "/health")
    sample = Sample(*key, now - minutes_ago * MINUTE, "error", error="refused", answered=False)
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        hour_ago = now - 60 * MINUTE
        start_maintenance(ledger, Maintenance(hour_ago, hour_ago + 30 * MINUTE, "production"))
        record_samples(ledger, Health(endpoints={}), [sample], ["production"])

        assert tracks(ledger)[key].interval.maintenance is is_planned
