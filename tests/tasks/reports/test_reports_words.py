from datetime import UTC, datetime, timedelta

import pytest

from tasks.core.receipt import Outcome, Receipt, SinkValues, Values, write_receipt
from tasks.core.window import Window
from tasks.reports.words import (
    checks_sentence,
    field_sentence,
    length_text,
    status_sentence,
    tags_text,
    window_text,
)
from tests.tasks.reports.report_samples import HOUR, START


def receipt(*outcomes: Outcome) -> Receipt:
    return write_receipt("collect", "run", "staging", HOUR, outcomes, {})


def landed(name: str, sinks: dict[str, SinkValues], values: Values | None = None) -> Outcome:
    return Outcome(name, "landed", 1, values or Values(10, 10), sinks)


def test_a_good_run_in_one_sentence() -> None:
    sinks = {"influxdb": SinkValues(10, 10)}
    assert status_sentence(receipt(landed("a", sinks), landed("b", sinks))) == (
        "2 measurements, 20 values landed, 0 quarantined; loaded to InfluxDB: all"
    )


def test_a_bad_run_in_one_sentence() -> None:
    told = receipt(
        landed("a", {"influxdb": SinkValues(2000, 1500, 400, 100)}, Values(3000, 2000, 600, 300, 100)),
        Outcome("b", "failed"),
        Outcome("c", "no_data"),
        Outcome("d", "no_data"),
    )  # fmt: skip
    assert status_sentence(told) == (
        "4 measurements, 2,000 values landed, 600 quarantined, 100 unchanged, 300 dropped by rule; "
        "loaded to InfluxDB: 1,500 of 2,000 (400 pending, 100 refused); 1 failed, 2 without data"
    )


def test_no_sink_is_said() -> None:
    assert status_sentence(receipt(landed("a", {}))) == (
        "1 measurement, 10 values landed, 0 quarantined; no sink is configured, the lake has it all"
    )


def test_nothing_owed_is_said() -> None:
    told = receipt(
        Outcome("a", "unchanged", values=Values(4, unchanged=4), sinks={"datadog": SinkValues()})
    )
    assert status_sentence(told) == (
        "1 measurement, 0 values landed, 0 quarantined, 4 unchanged; "
        "loaded to datadog: nothing was owed"
    )  # fmt: skip


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
