"""Receipts: sums that must hold, states joined in order, and the exit code that says it."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.core.errors import SumsDiffer
from tasks.core.finding import Finding
from tasks.core.receipt import (
    STATE_ORDER,
    CheckResult,
    ExitCode,
    MeasurementState,
    Outcome,
    Receipt,
    SinkValues,
    Values,
    Verdict,
    joined,
    moment_of,
    new_run_id,
    run_id_of,
    write_receipt,
)
from tasks.core.severity import Severity
from tasks.core.window import Window

START = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=1))


def check(
    check_id: str, success: bool, severity: str = "critical", offending: int = 0
) -> CheckResult:
    return CheckResult(check_id, "expect", success, Severity(severity), None, "", "", "", offending)


def outcome(state: MeasurementState = "landed", name: str = "m", **facts: Any) -> Outcome:
    return Outcome(measurement=name, state=state, **facts)


def receipt(*outcomes: Outcome) -> Receipt:
    return write_receipt("collect", "run", "production", WINDOW, outcomes, {"collect": 1.23456})


@pytest.mark.parametrize("name", ["landed", "quarantined", "dropped_by_rule", "unchanged"])
def test_extracted_values_must_all_be_somewhere(name: str) -> None:
    Values(extracted=3, **{name: 3}).check()
    for wrong in (2, 4):
        with pytest.raises(SumsDiffer, match=f"extracted = landed.*: 3 is not {wrong}"):
            Values(extracted=3, **{name: wrong}).check()


def test_kept_values_are_beside_the_sum() -> None:
    Values(extracted=1, landed=1, kept=9).check()


@pytest.mark.parametrize("name", ["loaded", "pending", "refused", "skipped_by_rule"])
def test_owed_values_must_all_be_somewhere(name: str) -> None:
    SinkValues(owed=3, **{name: 3}).check("influxdb")
    with pytest.raises(SumsDiffer, match=r"influxdb: owed = loaded.*: 3 is not 2"):
        SinkValues(owed=3, **{name: 2}).check("influxdb")


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
            values=Values(extracted=3, unchanged=3, kept=1),
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
        values=Values(extracted=5, landed=2, unchanged=3, kept=1),
        sinks={"s": SinkValues(owed=3, loaded=2, pending=1), "t": SinkValues()},
        verdicts=(
            Verdict("suite", (check("a", False, "high", 1), check("b", False, offending=5))),
        ),
        problems=("p", "q"),
        warnings=("w", "the source no longer has 1 values; they are kept as landed before"),
        seconds={"land": 3.0, "load": 0.5},
    )
    assert whole.verdicts[0].short() == {"passed": 0, "failed": 2, "worst": "critical"}
    assert [c.check_id for c in whole.verdicts[0].failed] == ["b", "a"]


def test_joined_state_is_the_first_that_applies() -> None:
    order = ["failed", "refused", "pending", "kept_older", "landed", "unchanged", "lost", "no_data"]
    assert list(STATE_ORDER) == order
    for position, state in enumerate(STATE_ORDER):
        rest = [outcome(other) for other in reversed(STATE_ORDER[position:])]
        assert joined("m", rest).state == state
    assert joined("m", []) == outcome("no_data")


LANDED = Values(extracted=1, landed=1)
CRITICAL = (Verdict("s", (check("c", False),)),)
HIGH = (Verdict("s", (check("c", False, "high"),)),)


@pytest.mark.parametrize(
    ("outcomes", "status", "code"),
    [
        ([], "no_data", 0),
        ([outcome("no_data")], "no_data", 0),
        ([outcome("lost")], "no_data", 0),
        ([outcome("landed", values=LANDED)], "ok", 0),
        ([outcome("unchanged")], "ok", 0),
        ([outcome("kept_older", values=Values(kept=1))], "ok", 0),
        ([outcome("landed"), outcome("no_data", "n")], "ok", 0),
        ([outcome("landed", verdicts=HIGH)], "ok", 0),
        ([outcome("landed", verdicts=CRITICAL)], "degraded", 1),
        ([outcome("landed", values=Values(extracted=1, quarantined=1))], "degraded", 1),
        ([outcome("pending", sinks={"s": SinkValues(owed=1, pending=1)})], "degraded", 3),
        ([outcome("refused", sinks={"s": SinkValues(owed=1, refused=1)})], "degraded", 1),
        (
            [
                outcome("pending", sinks={"s": SinkValues(owed=1, pending=1)}),
                outcome("landed", "n", values=Values(extracted=1, quarantined=1)),
            ],
            "degraded",
            1,
        ),
        ([outcome("failed")], "failed", 1),
        ([outcome("failed"), outcome("no_data", "n")], "failed", 1),
        ([outcome("failed"), outcome("unchanged", "n")], "degraded", 1),
        ([outcome("failed", values=LANDED)], "degraded", 1),
        ([outcome("failed", values=Values(extracted=1, unchanged=1))], "degraded", 1),
    ],
)  # fmt: skip
def test_status_and_exit_code(outcomes: list[Outcome], status: str, code: int) -> None:
    found = receipt(*outcomes)
    assert (found.status, found.exit_code) == (status, ExitCode(code))


@pytest.mark.parametrize(
    ("severities", "status", "code", "notes"),
    [
        ((), "ok", 0, ()),
        ((Severity.INFO,), "ok", 0, ()),
        ((Severity.INFO, Severity.WARNING), "ok", 0, ("warning.",)),
        ((Severity.WARNING, Severity.HIGH), "degraded", 1, ("warning.", "high.")),
        ((Severity.CRITICAL,), "degraded", 1, ("critical.",)),
    ],
)
def test_a_grave_finding_is_something_bad(
    severities: tuple[Severity, ...], status: str, code: int, notes: tuple[str, ...]
) -> None:
    found = [Finding("odd", severity, f"{severity.value}.", {}) for severity in severities]
    told = receipt(outcome("landed", values=LANDED)).with_findings(found)
    assert (told.status, told.exit_code, told.notes) == (status, ExitCode(code), notes)
    # what is found later makes it no better, and a run that failed stays one
    again = told.with_findings([Finding("odd", Severity.INFO, "info.", {})])
    assert (again.status, again.exit_code) == (status, ExitCode(code))
    assert receipt(outcome("failed")).with_findings(found).status == "failed"


def test_receipt_is_json_with_everything_in_it() -> None:
    made = receipt(
        outcome(
            rows=1,
            values=LANDED,
            sinks={"influxdb": SinkValues(owed=1, loaded=1)},
            seconds={"land": 0.00004},
        )
    )
    told = json.loads(made.model_dump_json())
    assert told["window"] == {"start": "2026-01-01T00:00:00Z", "stop": "2026-01-01T01:00:00Z"}
    assert told["seconds"] == {"land": 0.0, "collect": 1.2346}
    assert told["sinks"]["influxdb"] == {
        "owed": 1, "loaded": 1, "pending": 0, "refused": 0, "skipped_by_rule": 0,
    }  # fmt: skip
    assert told["measurements"][0]["verdict"] is None
    assert Receipt.model_validate_json(made.model_dump_json()) == made


def test_new_run_ids_sort_by_time_within_a_second_and_differ_within_a_moment() -> None:
    moments = [START + timedelta(milliseconds=n) for n in range(1000)]

    ids = [new_run_id(moment) for moment in moments]

    assert ids == sorted(ids)
    assert all(re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{6}", each) for each in ids)
    assert len({new_run_id(START) for _ in range(20)}) > 1


def test_run_ids_sort_by_time() -> None:
    ids = [run_id_of(START + timedelta(seconds=9 * n), "token") for n in range(20)]
    assert ids[0] == "20260101T000000-token"
    assert sorted(ids) == ids


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


def test_a_runs_id_says_when_it_began() -> None:
    began = datetime(2026, 3, 1, 4, 5, 6, 789, tzinfo=UTC)
    assert moment_of(run_id_of(began, "abcdef")) == began.replace(microsecond=0)
    assert moment_of("run-1") is None
    assert moment_of("") is None


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
