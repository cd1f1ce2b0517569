"""The keeper: acknowledgements that were made in a channel."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tasks.core.incidents import Notice
from tasks.core.settings import load_settings
from tasks.core.severity import Severity
from tasks.ledger.incidents import open_incidents
from tasks.ledger.ledger import Ledger
from tasks.runs.alerts.keeper import Keeper
from tasks.runs.base.alerts import opened_desk
from tests.support.fakes.pagerduty import TOKEN, FakePagerDuty


@pytest.mark.parametrize(("hours", "until"), [(1, 7), (9, None)])
def test_an_acknowledgement_of_a_channel_holds_as_long_as_any(
    tmp_path: Path, httpserver: HTTPServer, hours: int, until: int | None
) -> None:
    """One that is over already is not taken again, though it is still shown there."""
    now = datetime.now(UTC).replace(microsecond=0)
    fake = FakePagerDuty(httpserver, acknowledged_at=f"{now - timedelta(hours=hours):%FT%TZ}")
    settings = load_settings(
        {
            "FEDVITALS_HOME": str(tmp_path),
            **fake.variables,
            "PAGERDUTY_API_TOKEN": TOKEN,
            "PAGERDUTY_API_URL": fake.url,
        }
    )
    notice = Notice(
        fingerprint="a" * 16, environment="production", name="Down", kind="alert",
        severity=Severity.CRITICAL, origin="alertmanager", starts_at=now, received_at=now,
        sentence="it is down",
    )  # fmt: skip
    with closing(Ledger(settings.ledger_url)) as ledger, opened_desk(settings, ledger) as desk:
        desk.take([notice])
        assert desk.sender.drain("pagerduty") == 1
        fake.acknowledge(fake.incidents[0].key, "Ann")
        Keeper(desk, lambda *_: None, print).acknowledge()
        (incident,) = open_incidents(ledger)
    given = incident.acknowledged
    expected = ("Ann", now + timedelta(hours=until)) if until else None
    assert (given and (given.by, given.until)) == expected
