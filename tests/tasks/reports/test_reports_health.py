"""The status page: self-contained, small, and honest about what was bad or not observed."""

import re
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from tasks.analysis.health.uptime import uptime
from tasks.core.health import Interval, State
from tasks.reports.health.build import StatusPage, build
from tasks.reports.health.page import bars_svg, percent, render, responses_svg, write
from tests.support.health_samples import NOW, answers, status_page

DAY = timedelta(days=1)


def text_of(html: str) -> str:
    body = re.sub(r"(?s)<style>.*?</style>|<svg.*?</svg>", "", html)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def page(*states: State, why: str = "") -> StatusPage:
    """A page with a check for each state, of the last hour."""
    now = NOW.astimezone(UTC)
    found = [
        Interval("staging", f"/{number}", state, now - DAY / 24, now, why)
        for number, state in enumerate(states)
    ]
    return build("staging", NOW, [one.check for one in found], found, [], [], [])


def test_the_page_is_self_contained(tmp_path: Path) -> None:
    html = write(status_page(), tmp_path).read_text("utf-8")

    assert re.findall(r"<script|<link|<img|@import|url\(", html) == []
    assert re.findall(r'(?:src|href)="(?!#)[^"]*"', html) == []
    assert [path.name for path in tmp_path.iterdir()] == ["health-status.html"]


def test_ninety_days_of_a_hundred_checks_are_small() -> None:
    checks = tuple(f"/service/{number}/health" for number in range(100))

    assert len(render(status_page(checks, outages=12)).encode()) <= 500_000


def test_it_shows_state_reason_uptime_and_outages() -> None:
    text = text_of(render(status_page()))

    assert "7 checks: 1 down, 1 degraded, 5 up As of 30 Mar 2026 09:30:00 CEST" in text
    assert "high production: /health is down since 08:40 (connection refused)" in text
    assert "nightly-export: deploy 4.2 30 Mar 2026 09:10:00 CEST to 30 Mar 2026 11:10" in text
    assert "/health down since 30 Mar 2026 08:40:00 CEST connection refused" in text
    assert "24 hours: last 33.6 ms, slowest 276 ms" in text
    assert "Uptime 96.52 % 99.50 % 99.88 % 99.65 %" in text
    assert "Without maintenance 96.52 % 99.50 % 99.88 % 99.93 %" in text
    assert "Maintenance 0 min 0 min 0 min 720 min" in text
    assert "Last outages 30 Mar 2026 08:40:00 CEST, 50 min: down connection refused" in text


@pytest.mark.parametrize(
    ("states", "headline"),
    [
        (("up", "up"), "2 checks, all up"),
        (("down",), "1 check, all down"),
        (("up", "no_data", "down", "up"), "4 checks: 1 down, 1 without data, 2 up"),
        ((), "0 checks, all without data"),
    ],
)
def test_the_headline_names_the_worst_first(states: tuple[State, ...], headline: str) -> None:
    assert page(*states).headline == headline


def test_what_was_not_observed_is_partial_and_no_uptime() -> None:
    text = text_of(render(page("up")))

    # an hour of a day, and nothing before
    assert "Observed 4.16 % partial 0.59 % partial" in text
    never = build("staging", NOW, ["/new"], [], [], [], [])
    assert "/new without data 90 days today" in text_of(render(never))
    assert "Uptime – – – –" in text_of(render(never))


def test_a_check_in_maintenance_is_neither_down_nor_an_outage() -> None:
    now = NOW.astimezone(UTC)
    planned = Interval("staging", "/0", "down", now - DAY, now, "refused", maintenance=True)
    status = build("staging", NOW, ["/0"], [planned], [], [], [])

    assert status.headline == "1 check, all in maintenance"
    assert status.checks[0].outages == ()


def test_a_short_outage_can_be_seen_in_its_bar() -> None:
    start = NOW.astimezone(UTC) - DAY
    minute = timedelta(minutes=1)
    quiet = [Interval("e", "c", "up", start, start + DAY)]
    short = [
        replace(quiet[0], until=start + minute),
        Interval("e", "c", "down", start + minute, start + 2 * minute),
        replace(quiet[0], start=start + 2 * minute),
    ]
    seen, unseen = (bars_svg([uptime(one, start, start + DAY)]) for one in (short, quiet))

    assert re.search(r'class="failed" d="M3 4v-4"', seen)
    assert "failed" not in unseen
    # no bar is higher than its box
    assert all(float(part) <= 28 for part in re.findall(r"v-([\d.]+)", seen))


def test_the_line_of_response_times_has_gaps() -> None:
    assert len(re.findall("M", responses_svg(list(answers("/health", 0))))) == 2
    # one alone is drawn too
    assert re.search(r'd="M47.6 4H48"', responses_svg([*answers("/health", 0)][-1:]))


@pytest.mark.parametrize(
    ("share", "text"), [(1, "100 %"), (0.99999, "99.99 %"), (0, "0.00 %"), (None, "–")]
)
def test_less_than_all_is_never_shown_as_all(share: float | None, text: str) -> None:
    assert percent(share) == text


def test_what_comes_from_outside_is_escaped() -> None:
    html = render(page("down", why="<script>alert(1)</script>"))

    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)" in html
