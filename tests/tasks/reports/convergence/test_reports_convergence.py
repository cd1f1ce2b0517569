"""The convergence report: verdict on top, every number or why not, nothing from outside, safe text."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import get_args

import pytest

from tasks.analysis.client_columns import DROPPED, REPORTED
from tasks.analysis.convergence import VerdictKind
from tasks.reports.convergence.drawing import MOST_COLUMNS, burn_svg, curve_svg, heat_svg
from tasks.reports.convergence.page import STYLES, markdown, render, write
from tasks.reports.convergence.records import NOT_DRAWN, CurveChart, HeatChart
from tests.support.convergence_samples import NASTY, section, several, single


def text_of(page: str) -> str:
    body = re.sub(r"<(style|svg)\b.*?</\1>", " ", page[page.index("<body") :], flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_the_verdict_is_on_top_and_the_advice_below() -> None:
    text = text_of(render(single()))

    assert text.index("Improving by 0.0028 a round") < text.index("Go on: there is more to gain.")
    assert text.index("Go on:") < text.index("Learning curve")
    for wanted in (
        "no target is set",
        "X is not known.",
        "2 rounds are missing.",
        "Something was left out.",
        "6 of 30",
    ):
        assert wanted in text


def test_the_page_needs_nothing_from_outside_and_escapes_what_it_is_reported() -> None:
    page = render(single())

    assert not re.search(r"<script|<img|<link|https?://(?!www\.w3\.org)", page)
    assert NASTY not in page
    assert "&lt;b&gt;site" in page
    assert render(single()) == page


def test_several_runs_are_compared_above_them() -> None:
    page = render(several())
    text = text_of(page)

    assert (
        text.index("2 runs: 2 improving") < text.index("a is better:") < text.index("Side by side")
    )
    assert page.count('class="panel broad"') == 5
    assert "the lake's runs were skipped" in text


def test_the_worst_run_colours_the_page() -> None:
    report = several()
    bad = replace(report.sections[1], verdict="collapsed", sentence="Collapsed: fell.")
    page = render(replace(report, sections=(report.sections[0], bad)))

    assert '<header class="masthead failed">' in page
    assert "2 runs: 1 collapsed, 1 improving" in text_of(page)


def test_every_verdict_has_its_word_its_meaning_its_colour_and_its_rank() -> None:
    assert set(STYLES) == set(get_args(VerdictKind))
    assert all(all(look) for look in STYLES.values())


def test_a_run_of_which_little_is_known_is_a_page_too() -> None:
    bare = replace(
        section(), curve=CurveChart((), (), True, "accuracy"), time=None, privacy=None, burn=None,
        participation=None, heat=None, clients=(), findings=(), notes=(), advice=None, forecast_note=None,
    )  # fmt: skip
    text = text_of(render(replace(single(), sections=(bare,))))

    assert "Privacy" not in text
    assert "Participation" not in text
    assert "Improving by" in text


def test_the_charts_are_svg_with_fan_target_and_race() -> None:
    curve = curve_svg(section().curve, "Learning curve", "c0")
    assert ET.fromstring(curve).attrib["aria-label"] == "Learning curve"
    for said in ("target", "now", "round", "80 %"):
        assert f">{said}<" in curve
    assert curve.count("fill-opacity") >= 2
    assert "#a1b2" not in curve
    burn = section().burn
    assert burn is not None
    drawn = burn_svg(burn, "Epsilon", "b0")
    assert ">budget ends<" in drawn
    assert ">target reached<" in drawn


def test_holes_and_flat_curves_can_be_drawn() -> None:
    nan = float("nan")
    for values in ((nan, nan, nan), (0.5, 0.5, 0.5), (0.1, nan, 0.3)):
        ET.fromstring(curve_svg(CurveChart((1, 2, 3), values, True, "accuracy"), "x", "c0"))
    ET.fromstring(curve_svg(CurveChart((1,), (2.5,), False, "loss"), "x", "c0"))


def test_a_steep_start_does_not_flatten_what_follows() -> None:
    start = tuple(0.1 + 0.08 * n for n in range(10))
    later = tuple(0.95 + 0.0002 * n for n in range(90))
    chart = CurveChart(tuple(range(1, 101)), (*start, *later), True, "accuracy", target=0.97)

    assert chart.shown is not None
    assert 0.94 < chart.shown[0] < 0.95
    assert 0.97 < chart.shown[1] < 0.98
    assert ">10 %<" not in curve_svg(chart, "x", "c0")
    page = render(replace(single(), sections=(replace(section(), curve=chart),)))
    assert "the steep start is cut off" in page
    # a fall is what must be seen, and of few rounds all of them
    fallen = replace(chart, values=(*start, *later[:-5], *[0.1] * 5))
    few = CurveChart(tuple(range(1, 41)), (*start, *later[:30]), True, "accuracy")
    flat = replace(chart, values=(0.5,) * 100, target=None)
    assert (fallen.shown, few.shown, flat.shown) == (None, None, None)
    loss = replace(chart, values=tuple(3.0 - 3.0 * v for v in chart.values), target=None)
    assert loss.shown is not None
    assert loss.shown[1] < 0.2


def test_the_heat_map_has_a_stretch_for_each_state() -> None:
    chart = HeatChart(
        ("a", "b"), (1, 2, 3), ((REPORTED, REPORTED, DROPPED), (NOT_DRAWN, DROPPED, REPORTED))
    )
    svg = heat_svg(chart, "Clients")

    assert [
        (p.attrib["class"], p.attrib["d"].count("M")) for p in ET.fromstring(svg).iter("path")
    ] == [("on", 2), ("gone", 2)]


def test_more_rounds_than_fit_show_what_is_worst_in_a_third() -> None:
    rounds = tuple(range(3 * MOST_COLUMNS))
    states = tuple(DROPPED if n % 3 == 0 else REPORTED for n in rounds)
    few = tuple(DROPPED if n == 0 else REPORTED for n in range(4 * MOST_COLUMNS))

    drawn = list(ET.fromstring(heat_svg(HeatChart(("a",), rounds, (states,)), "x")).iter("path"))
    assert [path.attrib["class"] for path in drawn] == ["gone"]
    drawn = list(
        ET.fromstring(heat_svg(HeatChart(("a",), tuple(range(len(few))), (few,)), "x")).iter("path")
    )
    assert [path.attrib["class"] for path in drawn] == ["on"]


def test_the_files_are_written_whole(tmp_path: Path) -> None:
    made = write(single(), tmp_path / "out")

    assert json.loads(made.json.read_text("utf-8")) == {"runs": [], "comparison": None}
    assert made.chart.read_bytes()[:4] == b"\x89PNG"
    assert len(made.chart.read_bytes()) < 48_000
    assert made.html.read_text("utf-8") == render(single())
    with pytest.raises(ValueError, match="JSON"):
        write(replace(single(), document={"x": float("nan")}), tmp_path / "bad")
    assert list((tmp_path / "bad").iterdir()) == []


def test_the_summary_for_prefect_is_safe_markdown() -> None:
    reported = markdown(replace(section(), name=NASTY), "staging")

    assert reported.startswith("# Improving: \\<b\\>site \\& co\\</b\\> in staging\n")
    assert "Go on: there is more to gain." in reported
