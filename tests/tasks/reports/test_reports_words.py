import dataclasses
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tasks.core.receipt import Outcome, Receipt, SinkValues, Values, write_receipt
from tasks.core.severity import Severity
from tasks.core.verdict import Verdict
from tasks.core.window import Window
from tasks.reports.words import (
    against,
    change_parts,
    changes_sentence,
    checks_sentence,
    clock,
    comparisons_sentence,
    event_text,
    field_sentence,
    length_text,
    moment,
    mood,
    tags_text,
    usual_text,
    window_text,
)
from tests.support.report_samples import CHANGES, HOUR, START, check


def receipt(*outcomes: Outcome) -> Receipt:
    return write_receipt("collect", "run", "staging", HOUR, outcomes, {})


def landed(name: str, sinks: dict[str, SinkValues], values: Values | None = None) -> Outcome:
    return Outcome(name, "landed", 1, values or Values(10, 10), sinks)


def failing(name: str, severity: Severity) -> Outcome:
    return dataclasses.replace(
        landed(name, {}), verdicts=(Verdict(name, (check("limit", severity, success=False),)),)
    )


@pytest.mark.parametrize(
    ("outcome", "look"),
    [
        (failing("a", Severity.INFO), "ok"),
        (failing("a", Severity.WARNING), "warning"),
        (failing("a", Severity.HIGH), "high"),
        (landed("a", {}, Values(10, 9, 1)), "high"),
        (Outcome("a", "failed"), "failed"),
    ],
)
def test_the_headline_has_the_colour_of_the_worst(outcome: Outcome, look: str) -> None:
    assert mood(receipt(outcome)) == look


def test_a_chart_in_words() -> None:
    said = {"n": 240, "min": 0.012, "mean": 0.05, "max": 1.3, "last": 0.044, "unit": "seconds"}
    assert field_sentence("latency", said, 4) == (
        "latency: 240 values of 4 series, between 12 ms and 1.3 s, mean 50 ms, last 44 ms."
    )


def test_an_empty_chart_in_words() -> None:
    assert field_sentence("latency", {"n": 0}, 0) == "latency: no landed value."


def test_checks_are_counted() -> None:
    assert checks_sentence({"declared": 3, "ran": 2, "failed": 1}) == (
        "3 checks declared, 2 ran, 1 failed"
    )


def test_tags_leave_out_what_a_series_lacks() -> None:
    assert tags_text({"client": "c1", "gpu": None, "job": "edge"}) == "client=c1, job=edge"


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(hours=2), "2 h"),
        (timedelta(hours=1, minutes=58, seconds=3), "1 h 58 min"),
        (timedelta(days=2, hours=3), "2 d 3 h"),
        (timedelta(milliseconds=3), "less than 1 s"),
    ],
)
def test_lengths(length: timedelta, text: str) -> None:
    assert length_text(length) == text


def test_windows() -> None:
    assert window_text(HOUR) == "31 Jan 2026 06:00 – 07:00 UTC (1 h)"
    clipped = Window(START, datetime(2026, 2, 1, 6, 59, 30, tzinfo=UTC))
    assert window_text(clipped) == ("31 Jan 2026 06:00:00 – 1 Feb 2026 06:59:30 UTC (1 d 59 min)")


def test_times_are_shown_in_the_zone_of_the_reader() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert window_text(HOUR, berlin) == "31 Jan 2026 07:00 – 08:00 CET (1 h)"
    # the night in which the clock goes forward is an hour shorter, the window is not
    night = Window(datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 3, tzinfo=UTC))
    assert window_text(night, berlin) == "29 Mar 2026 00:00 – 05:00 CEST (4 h)"
    assert moment(HOUR.start, berlin) == "31 Jan 2026 07:00:00 CET"
    assert clock("2026-01-31T23:30:00.500000Z", berlin) == "2026-02-01 00:30:00.500000"


def test_a_report_from_the_lake_speaks_of_no_sink() -> None:
    again = receipt(landed("a", {})).model_copy(update={"flow": "report"})
    assert changes_sentence(again, None) == (
        "Built from the lake, so there is no last run to compare with."
    )


def test_the_last_run_is_reported_when_something_is_different_and_when_nothing_is() -> None:
    one = receipt(landed("a", {}))
    assert changes_sentence(one, None).startswith("This is the first run of its kind here")
    assert changes_sentence(one, CHANGES) == (
        "Compared with the last run, whose window ended 31 Jan 2026 06:00:00 UTC."
    )
    same = dataclasses.replace(CHANGES, measurements=(), new=())
    assert changes_sentence(one, same).startswith("Nothing is different from the last run")
    for worse in ({"status": "degraded"}, {"worst": Severity.HIGH}):
        reported = changes_sentence(one, dataclasses.replace(same, **worse))
        assert reported.startswith("Compared with")


def test_what_is_different_about_a_measurement_is_reported_in_parts() -> None:
    change = {
        "state_before": "no_data", "state": "retained", "started": ("a", "b"), "ended": (),
        "quarantined_before": 1200, "quarantined": 0,
    }  # fmt: skip
    assert change_parts(change) == [
        "no data → retained", "fails now: a, b", "quarantined 1,200 → 0",
    ]  # fmt: skip
    quiet = {"quarantined_before": None, "quarantined": None, "started": (), "ended": ("c",)}
    assert change_parts({**change, **quiet, "state": "no_data"}) == ["no longer fails: c"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [("previous", "the 1 h before"), ("day", "a day before"), ("week", "a week before")],
)
def test_a_comparison_says_with_what(kind: str, text: str) -> None:
    assert against({"against": kind}, HOUR) == text


def test_what_is_usual_is_reported_or_why_it_is_not_known() -> None:
    assert usual_text({"usual": [-0.002, 0.001], "past": 7}, "seconds") == "usual −2 ms to +1 ms"
    assert usual_text({"usual": None, "past": 1}, "") == "too little history: 1 earlier change"


@pytest.mark.parametrize(
    ("judgements", "text"),
    [
        ([], "The lake holds no earlier window to compare with."),
        (["unknown"], "1 comparison with earlier windows; there is too little history to know the usual change."),
        (["usual", "worse"], "2 comparisons with earlier windows, 1 as usual."),
        (["usual", "unknown"], "2 comparisons with earlier windows, 1 as usual, 1 with too little history."),
    ],
)  # fmt: skip
def test_all_comparisons_are_reported_in_one_sentence(judgements: list[str], text: str) -> None:
    assert comparisons_sentence([{"comparisons": [{"judgement": j} for j in judgements]}]) == text


@pytest.mark.parametrize(
    ("kind", "stop", "text"),
    [
        ("no_data", "2026-03-01T07:00:00Z", "1 Mar 2026 06:00 – 07:00: it"),
        ("no_data", "2026-03-02T07:00:00Z", "1 Mar 2026 06:00 – 2 Mar 2026 07:00: it"),
        ("catalogue", "2026-03-01T07:00:00Z", "1 Mar 2026 06:00: it"),
    ],
)
def test_an_event_is_reported_with_its_time(kind: str, stop: str, text: str) -> None:
    event = {"kind": kind, "start": "2026-03-01T06:00:00Z", "stop": stop, "text": "it"}
    assert event_text(event) == text
