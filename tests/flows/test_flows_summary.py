"""What a command prints at its end: what is not good, in as few lines as it can."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest

from flows.commands.show import print_table
from flows.commands.summary import summary
from tasks.core.catalogue import Catalogue
from tasks.core.errors import SinkUnavailable, UsageInvalid
from tasks.core.receipt import MeasurementState, Outcome, Receipt, Values, write_receipt
from tasks.core.retry import LONG_SECONDS, counted_retries, retrying
from tasks.core.settings import Settings, load_settings, shipped
from tasks.core.severity import Severity
from tasks.core.verdict import CheckResult, Verdict
from tasks.core.window import Window
from tasks.sources.patient import PatientSource

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DOWN = "Prometheus at http://p did not answer. Fix: check that it runs"


def outcome(name: str, state: MeasurementState = "landed", *failing: str, bad: int = 0) -> Outcome:
    landed = 36 if state == "landed" else 0
    checks = tuple(
        CheckResult(each, "e", False, Severity.CRITICAL, None, "", "", "") for each in failing
    )
    verdicts = (Verdict(name, checks),) if checks else ()
    problems = (DOWN,) if state == "failed" else ()
    values = Values(landed + bad, landed, bad)
    return Outcome(name, state, 1, values, verdicts=verdicts, problems=problems)


def receipt(*outcomes: Outcome, until: datetime = NOON) -> Receipt:
    window = Window(NOON - timedelta(hours=1), until)
    return write_receipt("collect", "20260301T120000-a", "production", window, outcomes, {})


def lines(one: Receipt, verbose: bool = False) -> list[str]:
    """The lines about measurements."""
    return [line for line in summary(one, verbose=verbose).splitlines() if line[:2] == "  "]


GOOD = [outcome("a"), outcome("b", "unchanged"), outcome("c", "no_data")]


def test_a_measurement_that_is_not_good_has_a_line_and_the_others_a_number() -> None:
    bad = outcome("scrape_health", "landed", "two_up", bad=36)
    assert lines(receipt(bad, *GOOD)) == [
        "  scrape_health  36 landed, 36 quarantined: two_up (critical)",
        "  2 others good, 1 without data",
    ]
    assert lines(receipt(*GOOD)) == ["  2 measurements good, 1 without data"]


def test_verbose_shows_all() -> None:
    assert lines(receipt(*GOOD), verbose=True) == [
        "  a  36 landed",
        "  b  unchanged",
        "  c  no data",
    ]


def test_measurements_that_failed_alike_share_the_reason() -> None:
    failed = [outcome(name, "failed") for name in "defghi"]
    assert lines(receipt(*failed, outcome("a", "landed", "x", "y"))) == [
        "  d, e, f and 3 more  failed",
        f"    {DOWN}",
        "  a                   36 landed: x (critical) and 1 more",
    ]


@pytest.mark.parametrize(
    ("until", "asked"),
    [(NOON, "11:59:00Z"), (NOON - timedelta(minutes=30), "11:30:00Z")],
)
def test_without_any_data_it_says_until_when_it_asked(
    tmp_path: Path, until: datetime, asked: str
) -> None:
    settings: Settings = load_settings({"FEDVITALS_HOME": str(tmp_path)})
    (line,) = [
        line
        for line in summary(receipt(outcome("a", "no_data"), until=until), settings).splitlines()
        if line.startswith("no data  ")
    ]
    assert f"up to 2026-03-01T{asked}; a run leaves out the last 1m (settle_delay). Fix: " in line
    assert "no data  " not in summary(receipt(*GOOD), settings)


@pytest.mark.parametrize(("wait", "count"), [(LONG_SECONDS + 1, 1), (LONG_SECONDS - 1, 0)])
def test_a_long_wait_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, wait: float, count: int
) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    errors = [SinkUnavailable(sink="s", url="u", problem="refused", retry_after=wait)] * 2

    def call() -> str:
        if errors:
            raise errors.pop()
        return "done"

    with counted_retries():
        assert retrying(60)(call) == "done"
    waits = [each.message for each in caplog.records if each.message.startswith("waiting")]
    assert len(waits) == count
    assert all("waiting up to 60 s: s at u: refused" in each for each in waits)
    assert not any("Fix" in each for each in waits)


@pytest.mark.parametrize(("seconds", "count"), [(0.3, 1), (0.0, 0)])
def test_a_source_that_hangs_is_named_before_its_time_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, seconds: float, count: int
) -> None:
    monkeypatch.setattr("tasks.core.retry.LONG_SECONDS", 0.1)
    source = mock.Mock(extract=lambda *_: time.sleep(seconds))
    source.name = "prometheus"
    with counted_retries():
        for _ in range(2):
            PatientSource(source, 60).extract(mock.Mock(), "e", mock.Mock())
    assert sum("waiting for prometheus" in each.message for each in caplog.records) == count


@pytest.mark.parametrize(
    ("name", "question"), [("traning", "Did you mean training? "), ("xyzzy", "")]
)
def test_a_measurement_that_is_mistyped_is_guessed(name: str, question: str) -> None:
    catalogue = Catalogue.read(shipped("config") / "metrics.yaml")
    with pytest.raises(UsageInvalid) as caught:
        catalogue.select(frozenset(), (name,))
    assert f"Fix: {question}List them: fedvitals catalogue".lower() in str(caught.value).lower()


def test_a_table_prints_numbers_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"a": 1234567.891, "b": 0.1 + 0.2, "c": 1e-9}], "none")
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "1234567.891", "0.30000000000000004", "1e-09",
    ]  # fmt: skip
