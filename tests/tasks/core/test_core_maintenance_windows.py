"""Maintenance windows: what covers a moment, over midnight and changes of the clocks."""

from datetime import UTC, datetime, timedelta

import pytest

from tasks.core.documents import parse
from tasks.core.errors import ConfigurationInvalid
from tasks.core.maintenance_windows import (
    Maintenance,
    MaintenanceWindow,
    covering,
    maintenance_at,
)

NIGHTLY = {"cron": "0 23 * * *", "duration": "2h", "reason": "backup"}


def window(**facts: str) -> MaintenanceWindow:
    return parse(MaintenanceWindow, {**NIGHTLY, **facts}, "health.yaml: maintenance.0")


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}Z")


def is_covered(by: MaintenanceWindow, moment: str, environment: str = "production") -> bool:
    found = maintenance_at([by], [], at(moment))
    return covering(found, environment, "health", at(moment)) is not None


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-03-02T22:59:59", False),
        ("2026-03-02T23:00:00", True),
        # over midnight
        ("2026-03-03T00:59:59", True),
        ("2026-03-03T01:00:00", False),
    ],
)
def test_a_window_covers_its_time_over_midnight(moment: str, expected: bool) -> None:
    assert is_covered(window(), moment) is expected


def starts(by: MaintenanceWindow, day: str, days: int = 1) -> list[str]:
    start = at(f"{day}T00:00:00")
    found = by.occurrences(start, start + timedelta(days=days))
    return [f"{one.start:%dT%H:%M}" for one in found]


@pytest.mark.promise("Health: a window stays at its hour when the clocks change")
@pytest.mark.parametrize(
    ("cron", "day", "expected"),
    [
        # 23:00 in Berlin, before and after the clocks go forward on 29 March, and back on 25 October
        ("0 23 * * *", "2026-03-28", ["28T22:00", "29T21:00"]),
        ("0 23 * * *", "2026-10-24", ["24T21:00", "25T22:00"]),
        # skipped by the change: right after it
        ("30 2 * * *", "2026-03-29", ["29T01:00", "30T00:30"]),
        # comes twice: once, at the first
        ("30 2 * * *", "2026-10-25", ["25T00:30", "26T01:30"]),
    ],
)
def test_a_window_follows_the_clock_of_its_zone(cron: str, day: str, expected: list[str]) -> None:
    assert starts(window(cron=cron, zone="Europe/Berlin"), day, days=2) == expected
    # the failing twin: in UTC it stands still
    hour = cron.split()[1].zfill(2)
    assert {one[3:5] for one in starts(window(cron=cron), day, days=2)} == {hour}


@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"])
def test_a_duration_is_elapsed_time_over_a_change(day: str) -> None:
    (one,) = window(cron="0 1 * * *", zone="Europe/Berlin", duration="5h").occurrences(
        at(f"{day}T12:00:00"), at(f"{day}T12:00:00") + timedelta(hours=24)
    )

    assert one.until - one.start == timedelta(hours=5)


def test_the_second_of_two_equal_hours_is_not_covered_by_the_first() -> None:
    by = window(cron="30 2 * * *", duration="30m", zone="Europe/Berlin")

    assert is_covered(by, "2026-10-25T00:45:00")
    assert not is_covered(by, "2026-10-25T01:45:00")
    assert list(by.occurrences(at("2026-10-25T01:40:00"), at("2026-10-25T02:00:00"))) == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"cron": "0 0 30 2 *"}, "'0 0 30 2 *' is no cron expression that fires: Bad day-of-month"),
        # the last weekday of a month is no Sunday
        ({"cron": "0 0 LW * */7"}, "'0 0 LW * */7' never fires"),
        ({"cron": "every night"}, "is no cron expression"),
        ({"zone": "Mars/Olympus"}, "'Mars/Olympus' is no time zone"),
        ({"zone": "Europe"}, "'Europe' is no time zone"),
        ({"zone": "../etc"}, "is no time zone"),
        ({"duration": "0s"}, "is not positive"),
        ({"duration": "32d"}, "less than or equal to 31 days"),
        ({"reason": ""}, "at least 1 character"),
        ({"crn": "0 0 * * *"}, "unknown key crn (did you mean cron?)"),
    ],
)
def test_a_window_that_cannot_be_meant_is_refused(facts: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        window(**facts)

    assert words in str(caught.value)


def test_a_leap_day_fires() -> None:
    assert starts(window(cron="0 0 29 2 *"), "2026-12-01", days=800) == ["29T00:00"]


def test_the_maintenance_that_ends_last_covers() -> None:
    now = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)
    deploy = Maintenance(now, now + timedelta(hours=9), "production", "health", "deploy", "ci")
    found = maintenance_at([window()], [deploy], now)

    assert covering(found, "production", "health", now) == deploy
    # the failing twins: another check, another environment, another time
    for environment, check in (("production", "metrics"), ("staging", "health")):
        one = covering(found, environment, check, now)
        assert one is not None
        assert one.reason == "backup"
    assert maintenance_at([window()], [deploy], now - timedelta(hours=1)) == []
