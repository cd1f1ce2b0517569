"""Receipts: sums that must hold, states joined in order, what a run did and what the data say."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.core.errors import SumsDiffer
from tasks.core.finding import CHECK, Finding
from tasks.core.maintenance import LedgerUpkeep, Maintenance, TableUpkeep
from tasks.core.receipt import (
    STATE_ORDER,
    Delivery,
    ExitCode,
    FailOn,
    MeasurementState,
    Outcome,
    Receipt,
    SinkValues,
    Values,
    joined,
    write_receipt,
)
from tasks.core.reconciliation import MeasurementLine, Reconciliation
from tasks.core.severity import Severity
from tasks.core.verdict import CheckResult, Verdict
from tasks.core.window import Window

START = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=1))


def check(
    check_id: str, success: bool, severity: str = "critical", offending: int = 0
) -> CheckResult:
    return CheckResult(check_id, "expect", success, Severity(severity), None, "", "", "", offending)


def outcome(state: MeasurementState = "landed", name: str = "m", **facts: Any) -> Outcome:
    return Outcome(measurement=name, state=state, **facts)


def receipt(*outcomes: Outcome, **more: Any) -> Receipt:
    seconds = {"collect": 1.23456}
    return write_receipt("collect", "run", "production", WINDOW, outcomes, seconds, **more)


@pytest.mark.promise(
    "Accounts: every value is landed, quarantined, dropped by rule or unchanged; otherwise the run fails"
)
@pytest.mark.parametrize("name", ["landed", "quarantined", "dropped_by_rule", "unchanged"])
def test_extracted_values_must_all_be_somewhere(name: str) -> None:
    Values(extracted=3, **{name: 3}).check()
    for wrong in (2, 4):
        with pytest.raises(SumsDiffer, match=f"extracted = landed.*: 3 is not {wrong}"):
            Values(extracted=3, **{name: wrong}).check()


def test_kept_values_are_beside_the_sum() -> None:
    Values(extracted=1, landed=1, retained=9).check()


@pytest.mark.promise("Accounts: every value owed to a sink is loaded, pending, refused or skipped")
@pytest.mark.parametrize("name", ["loaded", "pending", "refused", "skipped_by_rule"])
def test_owed_values_must_all_be_somewhere(name: str) -> None:
    SinkValues(owed=3, **{name: 3}).check("influxdb")
    with pytest.raises(SumsDiffer, match=r"influxdb: owed = loaded.*: 3 is not 2"):
        SinkValues(owed=3, **{name: 2}).check("influxdb")


@pytest.mark.promise(
    "Accounts: every value is landed, quarantined, dropped by rule or unchanged; otherwise the run fails"
)
def test_sums_that_differ_in_one_measurement_are_not_made_good_by_another() -> None:
    too_few = outcome(name="a", values=Values(extracted=2, landed=1))
    too_many = outcome(name="b", values=Values(extracted=1, landed=2))
    for parts in ((too_few,), (too_few, too_many)):
        with pytest.raises(SumsDiffer):
            receipt(*parts)
    sinks = [
        outcome(name="a", sinks={"s": SinkValues(owed=1)}),
        outcome(name="b", sinks={"s": SinkValues(loaded=1)}),
    ]
    with pytest.raises(SumsDiffer, match="s: owed"):
        receipt(*sinks)


def test_chunks_are_joined_into_one_measurement() -> None:
    verdict = Verdict("suite", (check("a", True), check("b", False, offending=2)))
    other = Verdict("suite", (check("a", False, "high", 1), check("b", False, offending=5)))
    parts = [
        outcome(
            rows=2,
            values=Values(extracted=2, landed=2),
            sinks={"s": SinkValues(owed=2, loaded=2)},
            verdicts=(verdict,),
            warnings=("w",),
            seconds={"land": 1.0, "load": 0.5},
        ),
        outcome(
            "unchanged",
            values=Values(extracted=3, unchanged=3, retained=1),
            sinks={"s": SinkValues(owed=1, pending=1), "t": SinkValues()},
            verdicts=(other,),
            problems=("p", "q"),
            warnings=("w",),
            seconds={"land": 2.0},
        ),
        outcome("no_data", problems=("p",)),
    ]
    whole = joined("m", parts)
    assert whole == outcome(
        rows=2,
        values=Values(extracted=5, landed=2, unchanged=3, retained=1),
        sinks={"s": SinkValues(owed=3, loaded=2, pending=1), "t": SinkValues()},
        verdicts=(
            Verdict("suite", (check("a", False, "high", 1), check("b", False, offending=5))),
        ),
        problems=("p", "q"),
        warnings=("w", "the source no longer has 1 values; they are retained as landed before"),
        seconds={"land": 3.0, "load": 0.5},
    )
    assert whole.verdicts[0].short() == {"passed": 0, "failed": 2, "worst": "critical"}
    assert [c.check_id for c in whole.verdicts[0].failed] == ["b", "a"]


def test_joined_state_is_the_first_that_applies() -> None:
    order = ["failed", "refused", "pending", "retained", "landed", "unchanged", "lost", "no_data"]
    assert list(STATE_ORDER) == order
    for position, state in enumerate(STATE_ORDER):
        rest = [outcome(other) for other in reversed(STATE_ORDER[position:])]
        assert joined("m", rest).state == state
    assert joined("m", []) == outcome("no_data")


LANDED = Values(extracted=1, landed=1)
BAD = Values(extracted=1, quarantined=1)
CRITICAL = (Verdict("s", (check("c", False),)),)
HIGH = (Verdict("s", (check("c", False, "high"), check("w", False, "warning"))),)
WARNED = (
    Verdict(
        "s",
        (check("c", False, "warning"), check("d", True)),
    ),
)
PENDING = {"s": SinkValues(owed=1, pending=1)}
REFUSED = {"s": SinkValues(owed=1, refused=1)}


@pytest.mark.promise(
    "Accounts: the data never change the status of a run, and never excuse failed work"
)
@pytest.mark.parametrize(
    ("outcomes", "status", "worst", "code"),
    [
        ([], "no_data", None, 0),
        ([outcome("no_data")], "no_data", None, 0),
        ([outcome("lost")], "no_data", None, 0),
        ([outcome("landed", values=LANDED)], "ok", None, 0),
        ([outcome("unchanged")], "ok", None, 0),
        ([outcome("retained", values=Values(retained=1))], "ok", None, 0),
        ([outcome("landed"), outcome("no_data", "n")], "ok", None, 0),
        # what the data say is no matter of the run's work
        ([outcome("landed", verdicts=WARNED)], "ok", "warning", 0),
        ([outcome("landed", verdicts=HIGH)], "ok", "high", 1),
        ([outcome("landed", verdicts=CRITICAL)], "ok", "critical", 1),
        ([outcome("landed", values=BAD)], "ok", "critical", 1),
        ([outcome("landed", values=BAD, verdicts=WARNED)], "ok", "critical", 1),
        ([outcome("landed", verdicts=WARNED), outcome("failed", "n")], "degraded", "warning", 1),
        # what is pending comes with the next run, unless something is wrong besides
        ([outcome("pending", sinks=PENDING)], "degraded", None, 3),
        ([outcome("landed", values=LANDED, sinks=PENDING)], "degraded", None, 3),
        ([outcome("pending"), outcome("landed", "n", verdicts=WARNED)], "degraded", "warning", 3),
        ([outcome("pending"), outcome("landed", "n", verdicts=HIGH)], "degraded", "high", 1),
        ([outcome("pending", sinks=PENDING), outcome("landed", "n", values=BAD)], "degraded", "critical", 1),
        ([outcome("pending"), outcome("failed", "n")], "degraded", None, 1),
        ([outcome("refused", sinks=REFUSED)], "degraded", None, 1),
        ([outcome("failed")], "failed", None, 1),
        ([outcome("failed"), outcome("no_data", "n")], "failed", None, 1),
        ([outcome("failed"), outcome("unchanged", "n")], "degraded", None, 1),
        ([outcome("failed", values=LANDED)], "degraded", None, 1),
        ([outcome("failed", values=Values(extracted=1, unchanged=1))], "degraded", None, 1),
    ],
)  # fmt: skip
def test_status_worst_and_exit_code(
    outcomes: list[Outcome], status: str, worst: str | None, code: int
) -> None:
    found = receipt(*outcomes)
    assert (found.status, found.worst, found.exit_code) == (status, worst, ExitCode(code))


FAIL_ON: tuple[FailOn, ...] = ("critical", "high", "warning", "never")


@pytest.mark.promise(
    "Accounts: the data never change the status of a run, and never excuse failed work"
)
@pytest.mark.promise("Training: a grave finding ends with exit code 1, a minor one does not")
@pytest.mark.parametrize(
    ("severity", "codes"),
    [
        (None, (0, 0, 0, 0)),
        (Severity.INFO, (0, 0, 0, 0)),
        (Severity.WARNING, (0, 0, 1, 0)),
        (Severity.HIGH, (0, 1, 1, 0)),
        (Severity.CRITICAL, (1, 1, 1, 0)),
    ],
)
def test_who_asks_says_how_bad_the_data_must_be_for_exit_code_1(
    severity: Severity | None, codes: tuple[int, ...]
) -> None:
    found = [Finding("odd", severity, "odd.", {})] if severity else []
    for fail_on, code in zip(FAIL_ON, codes, strict=True):
        well = receipt(outcome("landed", values=LANDED), findings=found, fail_on=fail_on)
        assert (well.status, well.worst, well.exit_code) == ("ok", severity, ExitCode(code))
        # how the work went is not theirs to choose
        pending = receipt(outcome("pending"), findings=found, fail_on=fail_on)
        assert pending.exit_code == ExitCode(code or 3)
        failed = receipt(outcome("failed"), findings=found, fail_on=fail_on)
        assert (failed.status, failed.exit_code) == ("failed", ExitCode.BAD_FOUND)


@pytest.mark.parametrize(
    ("outcomes", "did"),
    [
        ([], True),
        ([outcome("no_data")], True),
        ([outcome("landed", values=BAD, verdicts=CRITICAL)], True),
        ([outcome("pending", sinks=PENDING)], True),
        ([outcome("refused", sinks=REFUSED)], False),
        ([outcome("failed"), outcome("landed", "n")], False),
        ([outcome("failed")], False),
    ],
)
def test_a_run_did_its_work_whatever_the_data_say(outcomes: list[Outcome], did: bool) -> None:
    assert receipt(*outcomes).did_its_work is did


def test_failed_checks_are_findings_of_the_run_worst_first() -> None:
    checks = (check("a", False, "warning"), check("b", True), check("c", False, "high", 7))
    odd = Finding("odd", Severity.INFO, "odd.", {})
    found = receipt(outcome(verdicts=(Verdict("s", checks),)), findings=[odd]).findings
    assert [(one.kind, one.subject, one.severity) for one in found] == [
        (CHECK, "m: c", "high"),
        (CHECK, "m: a", "warning"),
        ("odd", "", "info"),
    ]
    assert found[0].evidence == {
        "measurement": "m", "check": "c", "field": None, "observed": "", "limit": "",
        "offending": 7, "others": 0, "series": None, "first": None, "last": None, "holds": None,
    }  # fmt: skip


def test_the_same_finding_of_another_run_has_the_same_fingerprint() -> None:
    one = Finding("odd", Severity.HIGH, "1 is odd.", {"n": 1}, subject="m")
    again = Finding("odd", Severity.WARNING, "2 are odd.", {"n": 2}, subject="m")
    others = [
        Finding("odd", Severity.HIGH, "1 is odd.", {"n": 1}, subject="n"),
        Finding("even", Severity.HIGH, "1 is odd.", {"n": 1}, subject="m"),
        Finding("oddm", Severity.HIGH, "1 is odd.", {"n": 1}),
    ]
    assert one.fingerprint == again.fingerprint
    assert one.fingerprint not in {other.fingerprint for other in others}


def test_remarks_are_notes_what_an_analysis_found_and_what_did_not_arrive() -> None:
    found = [Finding("odd", severity, f"{severity.value}.", {}) for severity in Severity]
    made = receipt(outcome("landed", verdicts=HIGH), findings=found, notes=("note.",))
    lost, arrived = Delivery("channel", False, "lost."), Delivery("heartbeat", True)
    reported = made.model_copy(update={"deliveries": (lost, arrived)})
    assert reported.remarks == ("note.", "critical.", "high.", "warning.", "lost.")
    # what did not arrive changes nothing about the run
    assert (reported.status, reported.worst, reported.exit_code) == (
        made.status,
        made.worst,
        made.exit_code,
    )


@pytest.mark.parametrize(
    "details",
    [
        Reconciliation(
            sink="influxdb",
            deep=True,
            fix=False,
            measurements=(MeasurementLine(name="m", state="equal", cells=3),),
            differences=(),
        ),
        Maintenance(
            environments=("production",),
            tables=(TableUpkeep(name="m", rows_expired=3),),
            ledger=LedgerUpkeep(backup="b"),
        ),
    ],
)
def test_details_come_back_from_json_as_what_they_were(
    details: Reconciliation | Maintenance,
) -> None:
    made = write_receipt("f", "run", "production", None, [], {}, details=details)
    assert made.window is None
    again = Receipt.model_validate_json(made.model_dump_json())
    assert (again, again.details) == (made, details)


def test_receipt_is_json_with_everything_in_it() -> None:
    made = receipt(
        outcome(
            rows=1,
            values=LANDED,
            sinks={"influxdb": SinkValues(owed=1, loaded=1)},
            verdicts=HIGH,
            seconds={"land": 0.00004},
        ),
        findings=[Finding("odd", Severity.INFO, "odd.", {"rounds": [1, 2]}, 0.5, 0.1, 0.9, 0.8, 4)],
    )
    made = made.model_copy(update={"deliveries": (Delivery("channel", False, "lost"),)})
    reported = json.loads(made.model_dump_json())
    assert reported["window"] == {"start": "2026-01-01T00:00:00Z", "stop": "2026-01-01T01:00:00Z"}
    assert reported["seconds"] == {"land": 0.0, "collect": 1.2346}
    assert reported["sinks"]["influxdb"] == {
        "owed": 1, "loaded": 1, "pending": 0, "refused": 0, "skipped_by_rule": 0,
    }  # fmt: skip
    assert reported["measurements"][0]["verdict"] == {"passed": 0, "failed": 2, "worst": "high"}
    assert (reported["worst"], reported["fail_on"]) == ("high", "high")
    assert [one["severity"] for one in reported["findings"]] == ["high", "warning", "info"]
    assert reported["deliveries"] == [{"what": "channel", "ok": False, "message": "lost"}]
    assert Receipt.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("outcomes", "idle"),
    [
        ((Outcome("a", "unchanged"), Outcome("b", "no_data")), True),
        ((Outcome("a", "no_data"),), False),
        ((Outcome("a", "unchanged"), Outcome("b", "landed")), False),
        ((Outcome("a", "unchanged"), Outcome("b", "failed")), False),
        ((Outcome("a", "unchanged", sinks={"influxdb": SinkValues(1, 1)}),), False),
    ],
)
def test_a_run_is_idle_when_nothing_changed_and_nothing_was_owed(
    outcomes: tuple[Outcome, ...], idle: bool
) -> None:
    window = Window(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
    assert write_receipt("collect", "run", "staging", window, outcomes, {}).is_idle is idle


def test_a_sink_in_use_to_which_nothing_was_owed_is_there() -> None:
    failed = [Outcome("loads", "failed", problems=("down",))]
    receipt = write_receipt("collect", "run", "staging", WINDOW, failed, {}, sinks=("influxdb",))
    assert receipt.sinks == {"influxdb": SinkValues()}
    # the failing twin
    assert write_receipt("collect", "run", "staging", WINDOW, failed, {}).sinks == {}
    owed = [Outcome("loads", "landed", sinks={"influxdb": SinkValues(owed=2, loaded=2)})]
    receipt = write_receipt("collect", "run", "staging", WINDOW, owed, {}, sinks=("influxdb",))
    assert receipt.sinks["influxdb"].loaded == 2


def test_a_receipt_that_was_kept_before_it_had_places_can_be_read() -> None:
    receipt = write_receipt("collect", "run", "staging", WINDOW, [], {}, places={"home": "here"})
    assert receipt.places == {"home": "here"}
    older = receipt.model_dump(exclude={"places"})
    assert Receipt.model_validate(older).places == {}
