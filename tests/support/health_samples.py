"""A status page with a past: what went wrong in 90 days, and how fast answers were."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tasks.core.finding import Finding
from tasks.core.health import Interval, ResponseTime, State
from tasks.core.maintenance_windows import Maintenance
from tasks.core.severity import Severity
from tasks.reports.health.build import DAYS, StatusPage, build

NOW = datetime(2026, 3, 30, 9, 30, tzinfo=ZoneInfo("Europe/Berlin"))
HOUR = timedelta(hours=1)
SHIPPED = (
    "/health", "/health/detailed", "/metrics", "/api/status", "/api/clients/count",
    "/api/training/status", "nightly-export",
)  # fmt: skip


def past(check: str, number: int, last: State = "up", outages: int = 3) -> Iterator[Interval]:
    """The intervals of a check: outages at times of their own, a weekly window, a machine off."""
    start = at = NOW.astimezone(UTC) - (DAYS - 10 * (number % 3)) * 24 * HOUR
    states: list[tuple[State, bool, timedelta, str]] = []
    for week in range(12):
        states.append(("up", False, (60 + 3 * number) * HOUR, ""))
        if week % 4 == number % 4:
            states.append(("no_data", False, 9 * HOUR, "not observed"))
        if week < outages:
            states.append(("down", False, timedelta(minutes=11 + week), "HTTP 503 instead of 200"))
        states.append(("up" if week % 2 else "down", True, HOUR, "deploy"))
        if number % 2:
            states.append(("degraded", False, 5 * HOUR, 'its status is "degraded"'))
    for state, is_planned, length, why in states:
        yield Interval("production", check, state, at, at + length, why, is_planned)
        at += length
    assert at > start
    turn = NOW.astimezone(UTC) - timedelta(minutes=50)
    yield Interval("production", check, "up", at, turn)
    why = {"down": "connection refused", "degraded": 'its status is "degraded"'}.get(last, "")
    yield Interval("production", check, last, turn, NOW.astimezone(UTC), why)


def answers(check: str, number: int) -> Iterator[ResponseTime]:
    """Response times of a day, with three hours without any."""
    for step in range(144):
        if not 60 < step < 78:
            mean = 0.03 * (number + 1) * (1.3 + math.sin(step / 9 + number))
            at = NOW.astimezone(UTC) - (144 - step) * timedelta(minutes=10)
            yield ResponseTime(check, at, mean, 4 * mean)


def status_page(checks: tuple[str, ...] = SHIPPED, outages: int = 3) -> StatusPage:
    """The page of an environment of which the first check is down, and the third degraded."""
    last: dict[int, State] = {0: "down", 2: "degraded"}
    intervals = [
        one
        for i, name in enumerate(checks)
        for one in past(name, i % 7, last.get(i, "up"), outages)
    ]
    findings = [
        Finding(
            "health",
            Severity.HIGH,
            "production: /health is down since 08:40 (connection refused), still failing",
            {},
        )
    ]
    start = NOW - timedelta(minutes=20)
    planned = [Maintenance(start, start + 2 * HOUR, "production", checks[-1], "deploy 4.2", "ci")]
    return build(
        "production",
        NOW,
        checks,
        sorted(intervals, key=lambda one: one.start),
        [one for i, name in enumerate(checks[:-1]) for one in answers(name, i % 7)],
        findings,
        planned,
    )
