"""`fedvitals maintenance`: planned work is started, listed and ended, by environment and check."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.maintenance_windows import Maintenance, covering
from tasks.ledger.health import started_maintenance
from tasks.ledger.ledger import Ledger
from tests.support.installation import Installation, entry

NIGHTLY = {"cron": "0 23 * * *", "duration": "2h", "zone": "Europe/Berlin", "reason": "backup"}


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    made = Installation(tmp_path).configure({"a": entry("a")})
    with made.changed("environments.yaml") as content:
        content["environments"] = {"production": {}, "staging": {}}
    endpoints: dict[str, Any] = {"/health": None, "/metrics": None}
    made.write_yaml("health.yaml", {"endpoints": endpoints, "maintenance": [NIGHTLY]})
    return made


def going_on(here: Installation, at: datetime) -> list[Maintenance]:
    with closing(Ledger(f"sqlite:///{here.home / 'ledger.db'}")) as ledger:
        return started_maintenance(ledger, at)


def covered(here: Installation, environment: str, check: str) -> bool:
    now = datetime.now(UTC)
    return covering(going_on(here, now), environment, check, now) is not None


def start(here: Installation, *more: str) -> str:
    ran = here.here("maintenance", "start", "--for", "15m", "--reason", "deploy 4.2", *more)
    assert ran.code == 0, ran.err
    return ran.out


def test_maintenance_covers_one_environment_until_it_is_stopped(here: Installation) -> None:
    said = start(here, "-e", "staging")

    assert said.startswith("all checks of staging in maintenance until ")
    assert covered(here, "staging", "/health")
    assert not covered(here, "production", "/health")

    stopped = [here.here("maintenance", "stop", "-e", "staging") for _ in range(2)]
    assert not covered(here, "staging", "/health")
    # a CI job may stop what ended already
    assert [(one.code, one.out.strip()) for one in stopped] == [
        (0, "all checks of staging: maintenance ended"),
        (0, "all checks of staging: no maintenance goes on"),
    ]


def test_maintenance_of_one_check_leaves_the_others(here: Installation) -> None:
    start(here, "--check", "/metrics")

    assert covered(here, "production", "/metrics")
    assert not covered(here, "production", "/health")
    # that of another check ends nothing
    here.here("maintenance", "stop", "--check", "/health")
    assert covered(here, "production", "/metrics")
    here.here("maintenance", "stop")
    assert not covered(here, "production", "/metrics")


def test_it_ends_by_itself(here: Installation) -> None:
    start(here)
    now = datetime.now(UTC)

    assert len(going_on(here, now)) == 1
    assert going_on(here, now + timedelta(minutes=16)) == []


def test_what_goes_on_and_what_is_planned_is_listed(here: Installation) -> None:
    start(here)
    listed = here.here("maintenance", "ls", "--json").document["maintenance"]

    by_hand = [one for one in listed if one["reason"] == "deploy 4.2"]
    assert [(one["environment"], one["check"]) for one in by_hand] == [("production", "")]
    planned = [one for one in listed if one["by"] == "health.yaml"]
    assert len(planned) in (7, 8)
    assert "backup" in here.here("maintenance", "ls").out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--for", "0s"), "--for: '0s' is not positive"),
        (("--for", "15"), "--for: '15' is not a duration"),
        (("--for", "60d"), "--for: 60d is longer than 31 days"),
        (("--for", "1h", "--check", "/helth"), "Fix: did you mean '/health'?"),
        (("--for", "1h", "-e", "stagin"), "staging"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    here: Installation, words: tuple[str, ...], complaint: str
) -> None:
    ran = here.here("maintenance", "start", "--reason", "x", *words)

    assert ran.code == 2
    assert complaint in ran.complaint


def test_a_window_that_never_fires_is_refused(here: Installation) -> None:
    never = {**NIGHTLY, "cron": "0 0 30 2 *"}
    here.write_yaml("health.yaml", {"maintenance": [never]})
    ran = here.here("maintenance", "ls")

    assert ran.code == 2
    assert "maintenance.0.cron: '0 0 30 2 *' is no cron expression that fires" in ran.complaint
