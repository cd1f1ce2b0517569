import dataclasses
import json
import re
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from markupsafe import Markup

from tasks.core.alert_report import IncidentLine
from tasks.core.finding import Finding
from tasks.core.measurement import Measurement
from tasks.core.receipt import Values
from tasks.core.severity import Severity
from tasks.core.window import Window
from tasks.reports import page
from tasks.reports.charts import Panel, panels_of
from tasks.reports.drawing import panel_svg
from tasks.reports.multiples import MOST_OF_A_PAGE
from tasks.reports.page import MOST_PANELS, RunReport, export, render, write
from tasks.reports.records import MeasurementChange
from tasks.reports.series import Table
from tests.support.report_samples import (
    CHANGES,
    HOUR,
    START,
    check,
    edge,
    field,
    frame_of,
    measurement,
    morning,
    report,
    section,
    silent,
    small,
    times,
)


class Page(HTMLParser):
    """The values of all <data>, the ids, the addresses and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.data: list[float] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: Counter[str] = Counter()
        self.labels: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags[tag] += 1
        if tag == "data":
            self.data.append(float(found["value"] or ""))
        self.ids += [found["id"] or ""] if "id" in found else []
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        self.labels += [found["aria-label"] or ""] if tag == "svg" and "aria-label" in found else []

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def day() -> RunReport:
    return morning()


@pytest.fixture(scope="module")
def html(day: RunReport) -> str:
    return render(day)


def numbers(one: RunReport) -> set[float]:
    """Every number of the twin that the page shows."""
    reported = export(one)
    found = {*reported["receipt"]["values"].values(), *reported["receipt"]["seconds"].values()}
    found |= set((reported["changes"] or {"values": {}})["values"].values())
    for sums in reported["receipt"]["sinks"].values():
        found |= set(sums.values())
    for entry in reported["measurements"]:
        found |= {entry["rows"], entry["values"]["landed"], entry["values"]["quarantined"]}
        for said in entry["fields"].values():
            found |= {said[key] for key in ("last", "min", "mean", "max") if said["n"]}
            found |= {one[key] for one in said["comparisons"] for key in ("before", "change")}
        if entry["series"]["count"] > 1:
            for shown in entry["series"]["shown"]:
                found |= {said[key] for said in shown["fields"].values() for key in ("last", "max")}
            marked = [one["oddness"] for one in entry["series"]["shown"] if one["oddness"]]
            found |= {one["score"] for one in marked if one["stands_out"]}
        found |= {check["offending"] for check in (entry["verdict"] or {"checks": []})["checks"]}
        found |= {sample["number"] for sample in entry["quarantine"]["samples"]}
        found |= {entry["quarantine"]["records"]} - {0}
    return found


def test_the_page_holds_exactly_the_numbers_of_the_twin(day: RunReport, html: str) -> None:
    assert set(Page(html).data) == numbers(day)


def test_the_page_says_what_the_run_was(html: str) -> None:
    text = " ".join(Page(html).text.split())
    for part in (
        "edge_devices: temperature.possible: observed 31.2 to 8,500, limit -40 to 90; 1 more problem; 5 values quarantined; inference failed: Prometheus at",
        "31 Jan 2026 06:00 – 07:00 UTC (1 h)",
        "31 Jan 2026 07:01:12 UTC",
        "20260131T070112-a1b2c3",
        "client_ids is hashed",
        "Compared with the last run, whose window ended 31 Jan 2026 06:00:00 UTC. It ended with: all well: 18,310 values landed.",
        "inference landed → failed: Prometheus at http://prometheus.internal:9090 could not answer",
        "edge_devices fails now: temperature.possible; no longer fails: memory.free; quarantined 0 → 5",
        "model_files read for the first time",
        "31 Jan 2026 06:09 – 07:00: 5 values quarantined",
        "4 checks declared, 4 ran, 2 failed",
        "certificates the source returned no data",
        "gpu not offered by this service",
        "24 more of 30 series in grey",
        "no device survives this temperature",
        "read timed out after 30 s. Fix: check that it runs and is reachable",
    ):
        assert part in text, part


def test_every_chart_is_said_in_words(html: str) -> None:
    labels = Page(html).labels
    assert len(labels) == 10
    assert labels[0].startswith(
        "temperature_celsius: 7,165 values of 30 series, between 33.4 °C and 57 °C, mean 44.4 °C"
    )


def test_sections_come_worst_first_and_silent_ones_last(day: RunReport, html: str) -> None:
    measured = {line.name for line in day.receipt.measurements}
    names = [one for one in Page(html).ids if one in measured]
    assert names == [
        "inference", "edge_devices", "federated_training", "requests", "model_files",
        "deployments", "certificates", "gpu",
    ]  # fmt: skip


def test_the_page_needs_nothing_from_anywhere(html: str) -> None:
    page = Page(html)
    assert all(address.startswith("#") for address in page.addresses)
    assert not page.tags.keys() & {"script", "link", "img", "iframe", "object", "base"}
    assert not re.search(r"url\((?!#)|@import", html)
    assert re.findall(r"https?://[^\s\"<]*", render(small())) == []


def test_ids_are_unique_and_links_lead_somewhere(html: str) -> None:
    page = Page(html)
    assert [one for one, times_ in Counter(page.ids).items() if times_ > 1] == []
    assert {address[1:] for address in page.addresses} <= set(page.ids)


def test_text_from_outside_stays_text() -> None:
    evil = "<script>alert(1)</script>"
    entry = measurement("m", {"v": field(f"{evil}")}, ("job",), description=evil)
    frame = frame_of(entry, {"time": times(1) * 2, "job": [evil, '" onload="x'], "v": [1.0, 2.0]})
    one = section(entry, frame, problems=(evil,), warnings=(evil,))
    html = render(report(one, silent("quiet", warnings=(evil,)), notes=(evil,)))
    page = Page(html)
    assert page.tags["script"] == 0
    assert "<script" not in html
    assert page.text.count(evil) >= 6
    assert ' onload="' not in html


@pytest.mark.slow
def test_equal_reports_are_equal_bytes(day: RunReport, html: str) -> None:
    assert render(morning()) == html
    code = (
        "import hashlib, tests.support.report_samples as s, tasks.reports.page as p;"
        "print(hashlib.sha256(p.render(s.small()).encode()).hexdigest())"
    )
    run = [sys.executable, "-c", code]
    hashes = {
        subprocess.run(run, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


def test_a_report_without_measurements() -> None:
    text = Page(render(report())).text
    assert "no data: none was asked" in text
    assert "This run read no measurement." in text


def test_a_section_without_data_is_listed_with_its_reason() -> None:
    page = Page(render(report(silent("certificates"))))
    assert page.tags["figure"] == 0
    assert "the source returned no data" in page.text


def test_what_an_earlier_run_held_back_is_shown_though_now_there_is_no_data() -> None:
    one = small().sections[0]
    line = one.line.model_copy(update={"state": "no_data", "values": Values(), "verdict": None})
    page = Page(render(report(dataclasses.replace(one, line=line, verdict=None))))
    assert "9.0 is above 5" in page.text
    assert "Without data" not in page.text


def test_a_line_of_the_receipt_without_a_section_is_listed_too() -> None:
    one = dataclasses.replace(small(), sections=())
    page = Page(render(one))
    assert "requests" in page.text
    assert page.addresses == ["#measurements", "#runbook-values"]


@pytest.mark.slow
def test_two_hundred_series_of_a_day_are_a_page_of_two_megabytes_at_most() -> None:
    window = Window(HOUR.start, HOUR.start + timedelta(days=1))
    one = edge(np.random.default_rng(1), clients=200, count=5760)
    assert len(render(report(one, window=window)).encode()) <= 2_000_000


def test_two_hundred_series_of_few_samples_are_small_too() -> None:
    entry = measurement("m", {f"v{index}": field() for index in range(6)}, ("client",))
    values = np.random.default_rng(1).normal(0, 1, 200 * 20)
    columns = {name: values for name in entry.fields}
    clients = np.repeat([f"client-{index:03}" for index in range(200)], 20)
    frame = frame_of(entry, {"time": times(20) * 200, "client": clients, **columns})
    html = render(report(section(entry, frame)))
    # so many small lines go onto a page, however many fields there are
    assert html.count('_middle"/>') == MOST_OF_A_PAGE
    assert len(html.encode()) <= 1_500_000


def test_many_series_are_small_multiples_and_those_that_stand_out_are_marked() -> None:
    entry = measurement("m", {"v": field(), "w": field()}, ("client",))
    names = [f"c{index:02}" for index in range(30)]
    values = np.array([float(index) for index in range(30)])
    odd = np.where(values == 7, 900.0, values)
    frame = frame_of(entry, {"time": times(1) * 30, "client": names, "v": values, "w": odd})
    html = render(report(section(entry, frame)))
    (marked,) = re.findall(r'<li class="odd">.*?<span title="(.*?)">', html)
    assert marked == "c07"
    assert html.count('<ul>\n<li class="odd">') == 1
    text = " ".join(Page(html).text.split())
    assert "1 stands out from the others; the other named ones are the most extreme." in text
    assert "6 more" in text
    assert re.search(r"c07\s*[\d.]+ σ w", text)


def failing(one: RunReport, name: str, severity: Severity, **facts: Any) -> RunReport:
    """The report with a finding on the measurement."""
    evidence = {"measurement": name, "check": "c", "field": "v", "holds": True, **facts}
    found = Finding("check", severity, f"{name}: v is 9 (limit 7)", evidence)
    receipt = one.receipt.model_copy(update={"findings": (found,)})
    return dataclasses.replace(one, receipt=receipt)


def spaced(html: str) -> str:
    """The text with a space between cells."""
    return " ".join(re.sub("<[^>]+>", " ", html).split())


def test_what_is_wrong_is_the_first_table_with_links_to_chart_and_runbook() -> None:
    entry = measurement("m", {"w": field("seconds"), "v": field("seconds")}, ("job",))
    frame = frame_of(entry, {"time": times(2), "job": ["a"] * 2, "w": [1.0, 1.0], "v": [5.0, 9.0]})
    broken = check("c", Severity.HIGH, success=False, column="v")
    facts = {
        "series": "a", "observed": "9 s", "limit": "7", "others": 0,
        "first": "2026-01-31T06:00:15Z", "last": "2026-01-31T06:00:15Z",
    }  # fmt: skip
    one = failing(report(section(entry, frame, checks=(broken,))), "m", Severity.HIGH, **facts)
    row = "m high v a 9 s 7 01-31 06:00 01-31 06:00 still failing chart runbook"
    html = render(one)
    text = spaced(html)
    assert row in text
    assert text.index("What is wrong") < text.index("What changed") < text.index("Measurements")
    assert '<a href="#m">chart</a>' in html
    # the overview shows the failing field, not the first, and its worst value
    assert re.search(r'class="trending"><svg.*?</svg> v</span>', html, re.S)
    assert '<td class="number alarm">9 s</td>' in html
    over = failing(report(section(entry, frame)), "m", Severity.HIGH, **facts, holds=False)
    assert "06:00 over chart" in spaced(render(over))
    assert "What is wrong" not in render(report(section(entry, frame)))


def test_failures_and_changes_of_the_same_kind_are_one_line() -> None:
    problem = "Prometheus at http://p did not answer for 60 s. Fix: start it"
    one = report(*(silent(f"m{i}", "failed", problems=(problem,)) for i in range(68)))
    moved = tuple(
        MeasurementChange(f"m{i}", "landed", "failed", (), (), None, None) for i in range(68)
    )
    changes = dataclasses.replace(CHANGES, measurements=moved, new=())
    html = render(dataclasses.replace(one, changes=changes))
    text = " ".join(Page(html).text.split())
    reason = "Prometheus at http://p did not answer for 60 s"
    assert f"68 measurements: landed → failed: {reason}" in text
    assert text.count("68 measurements: ") == 1
    assert f"68 measurements failed {reason} runbook" in spaced(html)


def test_the_charts_of_a_first_run_begin_with_its_first_data() -> None:
    entry = measurement("m", {"v": field()})
    late = times(4, start=START + timedelta(minutes=50))
    one = report(section(entry, frame_of(entry, {"time": late, "v": [1.0] * 4})))
    labels = re.compile(r">(\d\d:\d\d)(?::\d\d)?</text>")
    assert set(labels.findall(render(one))) == {
        f"06:{minute}" for minute in (50, 52, 54, 56, 58)
    } | {"07:00"}
    # an earlier run that found no data is no history
    assert "06:10" not in labels.findall(render(dataclasses.replace(one, changes=CHANGES)))
    (before,) = one.sections
    before = dataclasses.replace(before, earlier={"v": {timedelta(hours=1): 1.0}})
    assert "06:10" in labels.findall(render(dataclasses.replace(one, sections=(before,))))


def test_seconds_since_1970_are_drawn_as_moments() -> None:
    entry = measurement("m", {"start_time_seconds": field("seconds")})
    boot = START.timestamp() - 86400
    frame = frame_of(entry, {"time": times(3), "start_time_seconds": [boot] * 3})
    html = render(report(section(entry, frame)))
    assert "last 2026-01-30 06:00:00 · min" in spaced(html)
    # the axis of values, half an hour around
    assert {">05:45</text>", ">06:15</text>"} <= set(re.findall(r">\d\d:\d\d</text>", html))


@pytest.mark.parametrize("extreme", [-9.22e15, 9.22e15])
def test_a_time_that_an_exporter_does_not_know_yet_does_not_end_the_page(extreme: float) -> None:
    entry = measurement("m", {"start_time_seconds": field("seconds")})
    moments = [extreme, *[START.timestamp()] * 39]
    html = render(report(section(entry, frame_of(entry, {"time": times(40), "start_time_seconds": moments}))))  # fmt: skip
    assert f"{extreme:,.0f}" in html
    assert "last 2026-01-31 06:00:00 · min" in spaced(html)


def test_the_failed_field_is_drawn_first_and_more_failing_ones_are_counted() -> None:
    entry = measurement("m", {"w": field(), "v": field()})
    frame = frame_of(entry, {"time": times(2), "w": [1.0] * 2, "v": [9.0] * 2})
    facts = {
        "others": 2,
        "series": None,
        "observed": "9",
        "limit": "7",
        "first": None,
        "last": None,
    }
    bad = [check(name, Severity.HIGH, success=False, column="v") for name in "ab"]
    for checks, order, more in ((bad, "vw", True), (bad[:1], "vw", False), ([], "wv", False)):
        one = report(section(entry, frame, checks=tuple(checks)))
        one = failing(one, "m", Severity.HIGH, **facts)
        html = render(one)
        assert re.findall(r'<span class="field">(\w)</span>', html) == list(order)
        assert ("v +1 more" in spaced(html)) is more
        assert "– +2 more" in spaced(html)
        assert 'data-label="observed"' in html


def test_one_unit_stands_beside_the_numbers_of_a_chart() -> None:
    entry = measurement("m", {"v_seconds": field("seconds")})
    frame = frame_of(entry, {"time": times(3), "v_seconds": [0.00123456, 0.5, 0.75]})
    text = " ".join(Page(render(report(section(entry, frame)))).text.split())
    assert "last 750 · min 1.23 · mean 417 · max 750 ms" in text


def test_what_matters_less_is_folded() -> None:
    html = render(morning())
    opened = html.index('<details class="sums">')
    assert html.index("<h2>Values") > opened
    assert html.index("<h2>Seconds") > opened
    folded = set(re.findall(r'<details class="good">\n<summary><code>(.*?)<', html))
    assert folded == {"requests", "model_files", "deployments"}


@pytest.mark.slow
def test_a_home_of_68_measurements_is_a_page_of_a_megabyte_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # drawing takes most of the time: one real panel stands for all
    drawn: list[str] = []

    def draw(panel: Panel, label: str, prefix: str) -> Markup:
        drawn.append(drawn[0] if drawn else panel_svg(panel, label, prefix))
        return Markup(drawn[0])

    monkeypatch.setattr("tasks.reports.page.panel_svg", draw)
    rng = np.random.default_rng(3)
    checks = tuple(check(f"check_{k}", limit="0 to 1") for k in range(10))
    names = [f"metric_{j}_seconds" for j in range(3)]
    sections = []
    for index in range(68):
        entry = measurement(f"m{index}", {n: field("seconds") for n in names}, ("instance",))
        columns = {name: rng.gamma(2, 0.1, 4 * 60) for name in names}
        nodes = np.repeat([f"node{k}:9100" for k in range(4)], 60)
        frame = frame_of(entry, {"time": times(60) * 4, "instance": nodes, **columns})
        sections.append(section(entry, frame, checks=checks))
    worst = section(sections[-1].measurement, sections[-1].frame, "failed", problems=("it broke",))
    html = render(report(*sections[:-1], worst))
    assert len(html.encode()) <= 1_000_000
    # a bad one is drawn whatever the others need
    assert len(drawn) == MOST_PANELS
    assert html.count("Not drawn, since") == 68 - MOST_PANELS // 3


@pytest.mark.slow
def test_files_are_written_whole(tmp_path: Path) -> None:
    one = morning()
    folder = tmp_path / "2026" / "run"
    files = write(one, folder)
    assert files.html.read_text(encoding="utf-8") == render(one)
    assert json.loads(files.json.read_text(encoding="utf-8")) == export(one)
    assert matplotlib.image.imread(files.chart).shape == (374, 1012, 4)
    kinds = {section.measurement.type for section in one.sections}
    assert {path.name for path in folder.iterdir()} == {
        "chart.png", "metrics-report.html", "metrics-report.json", *(f"{kind}-metrics.json" for kind in kinds),
    }  # fmt: skip


@pytest.mark.slow
def test_each_type_has_a_file_of_its_own(tmp_path: Path) -> None:
    one = morning()
    whole = export(one)
    found = {
        path.name: json.loads(path.read_text("utf-8")) for path in write(one, tmp_path).by_type
    }
    kinds = {entry["type"] for entry in whole["measurements"]}
    assert set(found) == {f"{kind}-metrics.json" for kind in kinds}
    for document in found.values():
        assert document["run_id"] == whole["receipt"]["run_id"]
        of_kind = [e for e in whole["measurements"] if e["type"] == document["type"]]
        assert document["measurements"] == of_kind


@pytest.mark.slow
def test_a_report_is_written_over_the_older_one(tmp_path: Path) -> None:
    write(morning(), tmp_path)
    files = write(report(), tmp_path)
    assert json.loads(files.json.read_text(encoding="utf-8"))["measurements"] == []
    assert matplotlib.image.imread(files.chart).shape == (374, 704, 4)


def test_a_folder_that_cannot_be_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(FileExistsError):
        write(small(), tmp_path / "taken")
    (tmp_path / "blocked" / "metrics-report.json").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write(small(), tmp_path / "blocked")
    assert sorted(path.name for path in (tmp_path / "blocked").iterdir()) == [
        "chart.png", "metrics-report.json",
    ]  # fmt: skip


def test_a_measurement_that_cannot_be_drawn_takes_no_other_with_it(
    tmp_path: Path, day: RunReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(measurement: Measurement, table: Table, *facts: Any) -> tuple[Panel, ...]:
        if measurement.name == "edge_devices" and table.series:
            raise ValueError("a defect")
        return panels_of(measurement, table, *facts)

    monkeypatch.setattr(page, "panels_of", broken)
    made = write(day, tmp_path / "report")
    (bad, *_), *_ = (
        entry["problems"]
        for entry in json.loads(made.json.read_text())["measurements"]
        if entry["name"] == "edge_devices"
    )
    text = made.html.read_text()
    assert made.broken == (f"edge_devices: {bad}",)
    assert "its data cannot be shown: unexpected ValueError at test_reports_page.py" in bad
    assert bad in unescape(text)
    assert text.count("<figure>") > 0


def test_a_page_that_cannot_be_drawn_without_data_either_raises(
    tmp_path: Path, day: RunReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(page, "_overview", broken)
    with pytest.raises(ValueError, match="a defect"):
        write(day, tmp_path / "report")


def test_incidents_of_the_window_are_a_table_and_text_stays_text() -> None:
    line = IncidentLine(
        id="3fa1b2c3d4e5f607",
        severity=Severity.HIGH,
        environment="production",
        alert="<b>Down</b>",
        state="resolved",
        since=START,
        until=START + timedelta(minutes=7),
        what="it was down",
    )
    shown = dataclasses.replace(small(), incidents=(line,))
    found = render(shown)
    (row,) = (row for row in found.split("<tr>") if "alerts show 3fa1b2" in row)
    assert "&lt;b&gt;Down&lt;/b&gt;" in row
    assert [text for text in ("06:00", "06:07", "resolved", "it was down") if text not in row] == []
    assert export(shown)["incidents"][0]["alert"] == "<b>Down</b>"
    assert "Incidents" not in render(small())
