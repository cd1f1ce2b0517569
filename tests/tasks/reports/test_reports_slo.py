"""The page of SLOs: self-contained, with what was recorded, counted and forecast."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.core.slo_report import days_text
from tasks.reports.slo.page import burn_down, counted_down, render, write
from tests.support.slo_samples import AT, HOUR, MINUTE, events, report, views


def text_of(html: str) -> str:
    body = re.sub(r"(?s)<style>.*?</style>|<svg.*?</svg>", "", html)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def points(svg: str, kind: str) -> list[tuple[float, float]]:
    found = re.search(rf'<path class="{kind}" d="M([^"z]*)', svg)
    assert found
    pairs = [each.split(" ") for each in found[1].split("L")]
    return [(float(x), float(y)) for x, y in pairs]


def test_the_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    html = write("production", AT, views(), report(), tmp_path).read_text("utf-8")

    assert re.findall(r"<script|<link|<img|@import|url\(", html) == []
    assert "requests &lt;fail&gt;" in html
    assert [path.name for path in tmp_path.iterdir()] == ["slo-status.html"]


def test_it_shows_the_three_numbers_the_outlook_and_what_runs_out() -> None:
    text = text_of(render("production", AT, views(), report()))

    availability, good, new, broken = (each.line for each in views())
    assert availability.good_ratio != availability.good_without_maintenance
    assert "Maintenance 120 min" in text
    assert "disk node-1 /data: runs out in 8.1 d (80 %: 3.2 d to not within 90 d)" in text
    assert "epsilon: too_little_data (2 of 3 hours)" in text
    assert f"{availability.outlook}" in text
    assert "budget spent: not within the window; chance" in good.outlook
    assert new.outlook == "forecast: too_little_data (2 of 7 days)"
    assert broken.problem in text
    assert "hour by hour of the week" in text


def test_a_changed_definition_is_drawn_and_not_counted_again() -> None:
    changed, same, *_ = views()
    svg = str(burn_down(changed))

    recorded, counted = points(svg, "before"), points(svg, "left")
    assert len(recorded) == len(changed.recorded) + 1
    assert svg.count('class="change"') == 1
    # what this definition counts begins where the other one ended
    assert counted[1][0] > recorded[-1][0]
    other = str(burn_down(same))
    assert 'class="change"' not in other
    assert points(other, "left")[1][0] < 5


def test_the_line_ends_at_the_budget_left_and_the_forecast_begins_there() -> None:
    _, good, *_ = views()
    svg = str(burn_down(good))
    line, ahead = points(svg, "left"), points(svg, "ahead")

    assert line[-1] == pytest.approx(ahead[1], abs=0.11)
    assert good.line.budget_left is not None
    assert line[-1][1] == pytest.approx((1 - good.line.budget_left) / 1.25 * 140, abs=0.1)


def test_the_budget_is_that_of_the_rolling_window() -> None:
    times, left = counted_down(events(0.01, 4), timedelta(days=2), 0.01)

    assert times[0] >= AT - timedelta(days=2)
    assert times[-1] == AT
    bad, total = events(0.01, 4).sums(timedelta(days=2))
    assert left[-1] == pytest.approx(1 - bad / total / 0.01)
    assert (times[1] - times[0]) % MINUTE == timedelta(0)
    assert times[1] - times[0] < HOUR


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((None, None, None), "not within the window"),
        ((0.0, 0.0, 0.0), "already"),
        ((1.0, 2.0, 3.0), "in 2.0 d (80 %: 1.0 d to 3.0 d)"),
        ((1.0, 2.0, None), "in 2.0 d (80 %: 1.0 d to not within the window)"),
        ((1.0, None, None), "not within the window (80 %: 1.0 d to not within the window)"),
    ],
)
def test_a_day_that_is_too_far_is_no_date(
    numbers: tuple[float | None, float | None, float | None], text: str
) -> None:
    assert days_text(*numbers) == text
