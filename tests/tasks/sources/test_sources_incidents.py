"""Changes of incidents, as rows of a measurement."""

from datetime import timedelta
from pathlib import Path

import pytest

from tasks.alerts.incidents import resolve_by_hand, take
from tasks.core.errors import SeriesExceeded
from tasks.core.incident_measurement import incident_measurement
from tasks.core.incidents import Timing
from tasks.core.window import Window
from tasks.ledger.incidents import changes_in, open_incidents
from tasks.ledger.ledger import Ledger
from tasks.sources.incidents import IncidentSource
from tests.support.incident_samples import NOW, firing

HOUR = Window(NOW, NOW + timedelta(hours=1))


@pytest.fixture
def source(tmp_path: Path) -> IncidentSource:
    """The changes of an incident of production and of one of staging."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    other = firing(1, fingerprint="e" * 16, environment="staging")
    take(ledger, [firing(0), other], Timing())
    (one, _) = open_incidents(ledger)
    resolve_by_hand(ledger, one.id, NOW + timedelta(minutes=5), "ann", "gone")
    return IncidentSource(lambda name, window: changes_in(ledger, name, window))


def test_each_change_is_a_row_of_its_environment(source: IncidentSource) -> None:
    entry = incident_measurement()
    frame = source.extract(entry, "production", HOUR).frame
    assert list(frame["change"]) == ["opened", "resolved"]
    assert list(frame["open_seconds"]) == [0.0, 300.0]
    assert (frame["by"].iloc[1], frame["why"].iloc[1]) == ("ann", "gone")
    assert frame["incident"].nunique() == 1
    other = source.extract(entry, "staging", HOUR).frame
    assert list(other["fingerprint"]) == ["e" * 16]
    source.close()


def test_a_window_without_changes_has_no_rows(source: IncidentSource) -> None:
    later = Window(HOUR.stop, HOUR.stop + timedelta(hours=1))
    assert source.extract(incident_measurement(), "production", later).frame.empty


def test_too_many_alerts_are_refused(source: IncidentSource) -> None:
    entry = incident_measurement().model_copy(update={"max_series": 1})
    with pytest.raises(SeriesExceeded):
        source.extract(entry, "production", HOUR)
