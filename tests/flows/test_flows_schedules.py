"""How deployments with an active schedule are judged: is a run scheduled ahead?"""

from datetime import UTC, datetime, timedelta

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.commands.schedules import GRACE, Scheduled, check_schedules, judge
from tests.support.fakes.raw_http import RawServer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=1)
NEXT = Scheduled("collect/hourly", LONG_AGO, NOW + timedelta(minutes=5))


def test_a_run_ahead_is_good() -> None:
    check = judge([NEXT], NOW)

    assert (check.ok, check.detail) == (True, "next runs: collect/hourly 2026-03-01T12:05:00Z")


def test_an_active_schedule_without_a_run_ahead_is_bad() -> None:
    check = judge([NEXT, Scheduled("federated/training", LONG_AGO, None)], NOW)

    assert not check.ok
    assert check.detail == "active, but no run is scheduled ahead: federated/training"
    assert "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED" in check.fix


@pytest.mark.parametrize(("age", "ok"), [(GRACE, True), (GRACE + timedelta(seconds=1), False)])
def test_a_schedule_that_was_just_changed_has_time(age: timedelta, ok: bool) -> None:
    check = judge([Scheduled("collect/hourly", NOW - age, None)], NOW)

    assert check.ok is ok
    assert ("collect/hourly not yet scheduled" in check.detail) is ok


def test_without_an_active_schedule_there_is_nothing_to_report() -> None:
    check = judge([], NOW)

    assert (check.ok, check.detail) == (True, "none is active (fedvitals serve makes them)")


@pytest.mark.parametrize("status", ["401 Unauthorized", "500 Internal Server Error"])
def test_a_server_that_refuses_the_question_is_bad(status: str) -> None:
    answer = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
    with (
        RawServer([answer.encode()] * 3) as server,
        temporary_settings({PREFECT_API_URL: f"{server.url}/api"}),
    ):
        check = check_schedules(["collect/hourly"])

    assert (check.ok, check.detail) == (False, f"the server answers HTTP {status[:3]}")
    assert "PREFECT_API_AUTH_STRING" in check.fix


def test_a_server_that_is_gone_is_bad() -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        check = check_schedules(["collect/hourly"])

    assert (check.ok, check.detail) == (False, "no answer (ConnectError)")
    assert check.fix.startswith("Start it (prefect server start)")
