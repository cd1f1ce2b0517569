import re
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO

import matplotlib.image
import numpy as np
import pytest

from tasks.core.quarantine import no_records
from tasks.reports.charts import Mark, Panel, panels_of
from tasks.reports.drawing import HEIGHT, WIDTH, panel_svg, png, sparkline
from tasks.reports.series import table_of
from tests.support.report_samples import HOUR, edge, field, frame_of, measurement, times


@pytest.fixture(scope="module")
def hot() -> Panel:
    one = edge(np.random.default_rng(3))
    table = table_of(one.frame, one.measurement)
    return panels_of(one.measurement, table, one.quarantine, one.limits, HOUR)[0]


def plain(unit: str) -> Panel:
    entry = measurement("m", {"v": field(unit)})
    frame = frame_of(entry, {"time": times(2), "v": [1.0, 2.0]})
    return panels_of(entry, table_of(frame, entry), no_records(), {}, HOUR)[0]


def test_a_panel_is_one_element_that_takes_the_pages_colours(hot: Panel) -> None:
    svg = panel_svg(hot, 'hot & "high"', "edge")
    root = ElementTree.fromstring(svg)
    assert root.attrib["viewBox"] == f"0 0 {WIDTH} {HEIGHT}"
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == 'hot & "high"'
    assert set(re.findall(r"var\(--([a-z0-9]+)\)", svg)) == {
        "s0", "s1", "s2", "s3", "s4", "s5", "rest", "grid", "limit", "bad",
    }  # fmt: skip
    assert not re.findall(r"(?:fill|stroke): (#[0-9a-f]+)", svg)
    assert not re.search(r"https?:|font-family|<style|<metadata", svg)


def test_ids_start_with_the_prefix_and_are_found(hot: Panel) -> None:
    svg = panel_svg(hot, "", "edge_heat")
    ids = re.findall(r' id="([^"]*)"', svg)
    assert ids
    assert len(set(ids)) == len(ids)
    assert all(one.startswith("edge_heat_") for one in ids)
    assert {*re.findall(r'href="#([^"]*)"', svg), *re.findall(r"url\(#([^)]*)\)", svg)} <= set(ids)


def test_an_event_is_a_strip_along_the_axis_and_a_new_entry_a_line() -> None:
    bare = panel_svg(plain("s"), "", "p")
    strip = panel_svg(replace(plain("s"), marks=(Mark("quarantined", 0.0, 60.0),)), "", "p")
    line = panel_svg(replace(plain("s"), marks=(Mark("catalogue", 30.0, 60.0),)), "", "p")
    assert strip.count("var(--bad)") == bare.count("var(--bad)") + 1
    assert line.count("stroke-dasharray: 1,2") == bare.count("stroke-dasharray: 1,2") + 1


def test_many_marks_say_their_style_once() -> None:
    svg = panel_svg(plain("s"), "", "p")
    marks = re.findall(r"<use [^>]*>", svg)
    assert len(marks) >= 2
    assert not any("style" in mark for mark in marks)
    assert "xlink" not in svg


def test_equal_panels_have_equal_bytes_in_any_thread(hot: Panel) -> None:
    with ThreadPoolExecutor(4) as pool:
        drawn = set(pool.map(lambda _: panel_svg(hot, "a", "b"), range(8)))
    assert len(drawn) == 1


def test_a_unit_is_text_and_never_a_formula_or_markup() -> None:
    assert "&lt;i&gt;$x" in panel_svg(plain("<i>$x$ $"), "", "p")


@pytest.mark.slow
def test_a_picture_is_a_png_of_the_same_bytes(hot: Panel) -> None:
    first = png([hot, hot], "edge $x", ["_a", "client-01"])
    assert first == png([hot, hot], "edge $x", ["_a", "client-01"])
    assert matplotlib.image.imread(BytesIO(first)).shape == (374, 1012, 4)


def test_a_picture_of_nothing_is_drawn_too() -> None:
    assert matplotlib.image.imread(BytesIO(png((), "staging", ()))).shape == (374, 704, 4)


def test_a_sparkline_runs_from_its_least_to_its_greatest() -> None:
    assert 'points="2.0,18.0 48.0,2.0 94.0,10.0"' in sparkline(np.array([1.0, 3.0, 2.0]))


def test_a_flat_sparkline_lies_in_the_middle_and_an_empty_one_is_nothing() -> None:
    assert 'points="2.0,10.0 94.0,10.0"' in sparkline(np.array([5.0, np.nan, 5.0]))
    assert sparkline(np.array([np.nan, np.nan])) == ""
