"""One sentence on a run: what is wrong, against which limit, since when, and whether it holds."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tasks.core.finding import Finding
from tasks.core.receipt import Outcome, Receipt, SinkValues, Values, joined, write_receipt
from tasks.core.severity import Severity
from tasks.core.verdict import Breach, CheckResult, Verdict
from tasks.core.window import Window

NOW = datetime(2026, 1, 31, 10, 1, tzinfo=UTC)
EARLY = NOW.replace(hour=8, minute=40)
GOOD = Values(10, 10)
LEFT = "certificate of fl.example.com has 6 days left (limit 7)"
HAD = LEFT.replace("has", "had")
CERTIFICATE = f"security: {LEFT}, since 08:40, still failing"
PROMETHEUS = "Prometheus at http://p did not answer for 60 s. Fix: check that it runs"


def check(
    severity: Severity = Severity.HIGH, breach: Breach | None = None, check_id: str = "c"
) -> CheckResult:
    return CheckResult(check_id, "e", False, severity, "f", "12", "7", "team", 3, "", breach)


def failing(**facts: Any) -> Breach:
    breach = Breach(LEFT, HAD, "fl.example.com", "6 days", "7", EARLY, NOW, True, False)
    return replace(breach, **facts)


def landed(name: str = "security", *checks: CheckResult, **facts: Any) -> Outcome:
    verdicts = (Verdict(name, checks),) if checks else ()
    return Outcome(name, "landed", 1, facts.pop("values", GOOD), verdicts=verdicts, **facts)


def failed(name: str, problem: str = PROMETHEUS) -> Outcome:
    return Outcome(name, "failed", problems=(f"{problem}",))


def receipt(*outcomes: Outcome, at: datetime = NOW, **more: Any) -> Receipt:
    window = Window(NOW - timedelta(hours=1), NOW)
    return write_receipt("collect", "run", "s", window, outcomes, {}, at=at, **more)


def found(severity: Severity) -> list[Finding]:
    return [Finding("odd", severity, f"{severity} is odd.", {})]


WARNING = check(Severity.WARNING)
UNLOADED = {"influxdb": SinkValues(10, 0, 10)}


@pytest.mark.parametrize(
    ("outcomes", "sentence"),
    [
        ([landed("security", check(breach=failing()))], CERTIFICATE),
        ([landed("security", check(breach=failing()), check(check_id="d")), landed("a", WARNING)],
         f"{CERTIFICATE}; 1 more problem; 1 warning"),
        ([landed("a", WARNING), landed("b", check(Severity.INFO))],
         "1 warning: a: c: observed 12, limit 7"),
        ([landed("a"), landed("b")], "all well: 20 values landed"),
        ([landed("a", sinks={"influxdb": SinkValues(10, 10)})],
         "all well: 10 values landed, 10 loaded into influxdb"),
        ([landed("a", sinks=UNLOADED)], "10 values pending for influxdb"),
        ([landed("a", values=Values(10, 9, 1))], "1 value quarantined"),
        ([failed("a"), failed("b")],
         "nothing landed: Prometheus at http://p did not answer for 60 s"),
        ([failed("a"), failed("b"), failed("c", "c: full"), landed("d")],
         "2 measurements failed: Prometheus at http://p did not answer for 60 s; "
         "1 more failed measurement"),
        ([failed("a", "a: full"), landed("security", check(breach=failing()))],
         f"{CERTIFICATE}; a failed: full"),
        ([landed("a"), Outcome("b", "no_data")], "all well: 10 values landed"),
        ([landed("a"), Outcome("b", "no_data"), Outcome("c", "no_data")],
         "all well: 10 values landed, 2 of 3 measurements without data"),
        ([Outcome("a", "no_data")], "no data: 1 measurement without values"),
        ([Outcome("a", "lost"), landed("b")], "1 measurement lost"),
        ([Outcome("a", "pending"), landed("b")], "1 measurement pending"),
    ],
)  # fmt: skip
def test_the_sentence_names_what_is_wrong_worst_first(
    outcomes: list[Outcome], sentence: str
) -> None:
    assert receipt(*outcomes).sentence == sentence


@pytest.mark.parametrize(
    ("severity", "sentence"),
    [
        (Severity.HIGH, "high is odd"),
        (Severity.WARNING, "1 warning: warning is odd"),
        (Severity.INFO, "all well: 10 values landed"),
    ],
)
def test_what_an_analysis_found_is_in_the_sentence(severity: Severity, sentence: str) -> None:
    assert receipt(landed("a"), findings=found(severity)).sentence == sentence


def test_what_still_fails_comes_before_what_does_not() -> None:
    over = check(Severity.HIGH, failing(holds=False, what="x is 9 (limit 7)"), "over")
    said = receipt(landed("a", over, check(breach=failing()))).sentence
    assert said.startswith(f"a: {LEFT}, since 08:40, still failing")


@pytest.mark.parametrize(
    ("facts", "at", "times"),
    [
        ({}, NOW, "since 08:40, still failing"),
        ({}, NOW.astimezone(ZoneInfo("Europe/Berlin")), "since 09:40, still failing"),
        ({"first": EARLY - timedelta(days=2)}, NOW, "since 29 Jan 08:40, still failing"),
        ({"holds": False}, NOW, "08:40 to 10:01, no longer failing"),
        ({"holds": False, "last": EARLY}, NOW, "at 08:40, no longer failing"),
        # by a clock that is ahead
        ({}, NOW - timedelta(hours=1), "08:40 to 10:01, where its data end"),
        ({}, NOW + timedelta(days=3), "31 Jan 08:40 to 31 Jan 10:01, where its data end"),
    ],
)
def test_the_time_is_the_readers_and_only_what_is_new_still_fails(
    facts: dict[str, Any], at: datetime, times: str
) -> None:
    said = receipt(landed("m", check(breach=failing(**facts))), at=at).sentence
    assert said == f"m: {LEFT if 'still failing' in times else HAD}, {times}"


@pytest.mark.parametrize(
    ("now", "before", "since"),
    [
        ({"from_start": True}, {}, "05:00"),
        ({"from_start": False}, {}, "08:40"),
        ({"from_start": True}, {"holds": False}, "08:40"),
        ({"from_start": True}, {"series": "other"}, "08:40"),
        ({"from_start": True}, {"last": NOW + timedelta(hours=1)}, "08:40"),
    ],
)
def test_a_failure_that_goes_on_began_in_an_earlier_run(
    now: dict[str, Any], before: dict[str, Any], since: str
) -> None:
    past = {"first": NOW.replace(hour=5, minute=0), "last": EARLY, **before}
    last = receipt(landed("m", check(breach=failing(**past)))).findings[0]
    said = receipt(landed("m", check(breach=failing(**now))), earlier=lambda _: last).findings[0]
    assert f"since {since}" in said.sentence
    assert said.evidence["first"].startswith(f"2026-01-31T{since}")


def chunk(hour: int, breach: Breach | None, **facts: Any) -> Outcome:
    result = replace(check(breach=breach), success=breach is None, **facts)
    return replace(landed("m", result), start=NOW.replace(hour=hour))


def test_of_several_chunks_the_newest_says_whether_it_holds() -> None:
    newest = failing(from_start=True, first=NOW)
    whole = joined("m", [chunk(9, newest), chunk(8, failing())]).verdicts[0].checks[0]
    assert (whole.breach, whole.success) == (replace(newest, first=EARLY, from_start=False), False)
    over = joined("m", [chunk(9, None), chunk(8, failing())]).verdicts[0].checks[0]
    assert (over.breach, over.success) == (failing(holds=False), False)
    anew = joined("m", [chunk(9, newest), chunk(8, None)]).verdicts[0].checks[0]
    assert anew.breach == newest


def test_the_sentence_is_in_the_json_of_the_receipt_and_read_back() -> None:
    made = receipt(landed("security", check(breach=failing())))
    text = made.model_dump_json()
    assert f'"sentence":"{CERTIFICATE}"' in text
    assert Receipt.model_validate_json(text).sentence == CERTIFICATE
