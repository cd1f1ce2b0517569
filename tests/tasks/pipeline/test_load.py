"""Loading: what a sink has is known by digests, and what it refuses goes to quarantine."""

import re
from collections.abc import Iterable, Iterator

import pytest

from tasks.core.errors import LedgerUnavailable, SinkRefused, SinkUnavailable
from tasks.core.receipt import SinkValues, Values
from tasks.core.state import LoadState
from tasks.ledger.ledger import Ledger
from tests.support.fakes.memory import MemorySink
from tests.support.workbench import Bench, at, rows, suite_of

NOW = at(1.5)
DOWN = SinkUnavailable(sink="memory", url="http://localhost:1", problem="down", retry_after=None)
TOKEN = SinkRefused(
    sink="memory", url="http://localhost:1", status=401, problem="unauthorized", fix="Set a token"
)


class CrashingLedger(Ledger):
    """Cannot record loads."""

    def record_loads(self, states: Iterable[LoadState]) -> None:
        raise LedgerUnavailable(url=self.url, problem="crashed on purpose")


@pytest.fixture
def filled(bench: Bench) -> Bench:
    """The source has one value in each of the two cells that are due."""
    bench.put(rows(bench.measurement, [at(0.25), at(1.25)], share_ratio=[0.25, 0.5]))
    return bench


@pytest.fixture
def crashing(filled: Bench) -> Iterator[CrashingLedger]:
    ledger = CrashingLedger(filled.ledger.url)
    yield ledger
    ledger.close()


@pytest.mark.promise(
    "Loading: while a sink is down, values stay pending; the next run loads them without asking the source"
)
@pytest.mark.parametrize("error", [DOWN, TOKEN])
def test_sink_that_fails_leaves_its_values_pending(filled: Bench, error: SinkUnavailable) -> None:
    filled.sink.error = error
    outcome = filled.run(NOW)
    assert outcome.state == "pending"
    assert outcome.values == Values(extracted=2, landed=2)
    assert outcome.sinks == {"memory": SinkValues(owed=2, pending=2)}
    assert outcome.problems == (str(error),)
    assert filled.landed(0, 2)["share_ratio"].tolist() == [0.25, 0.5]


@pytest.mark.promise("Crash: between ledger and sink: the next run loads the pending cells")
@pytest.mark.promise(
    "Loading: while a sink is down, values stay pending; the next run loads them without asking the source"
)
def test_pending_is_loaded_by_the_next_run_without_the_source(filled: Bench) -> None:
    filled.sink.error = DOWN
    filled.run(NOW)
    filled.sink.error = None
    filled.source.error = AssertionError("the source must not be needed")
    outcome = filled.run(NOW)
    assert filled.sink.values("share_ratio") == [0.25, 0.5]
    assert outcome.sinks == {"memory": SinkValues(owed=2, loaded=2)}
    assert outcome.values == Values()
    # newest first
    loads = filled.sink.calls[-1]
    assert [entry.cell.start for entry in loads] == [at(1), at(0)]


@pytest.mark.promise("Accounts: every value owed to a sink is loaded, pending, refused or skipped")
def test_pending_and_newly_landed_are_owed_once(filled: Bench) -> None:
    filled.sink.error = DOWN
    filled.run(NOW)
    filled.sink.error = None
    filled.put(
        rows(filled.measurement, [at(0.25), at(1.25), at(1.3)], share_ratio=[0.25, 0.5, 0.75])
    )
    outcome = filled.run(NOW)
    assert outcome.values == Values(extracted=3, landed=2, unchanged=1)
    assert outcome.sinks == {"memory": SinkValues(owed=3, loaded=3)}
    assert filled.run(NOW).sinks == {"memory": SinkValues()}


def test_still_down_stays_pending(filled: Bench) -> None:
    filled.sink.error = DOWN
    filled.run(NOW)
    outcome = filled.run(NOW)
    assert outcome.state == "pending"
    assert outcome.values == Values(extracted=2, unchanged=2)
    assert outcome.sinks == {"memory": SinkValues(owed=2, pending=2)}


def test_refused_value_goes_to_quarantine_and_its_neighbours_load(filled: Bench) -> None:
    filled.sink.refuses = lambda name, value: value == 0.25
    outcome = filled.run(NOW)
    assert outcome.state == "refused"
    assert outcome.sinks == {"memory": SinkValues(owed=2, loaded=1, refused=1)}
    assert outcome.problems == (
        "memory refused 1 values for good, the first with: not wanted here. "
        "Fix: list them with fedvitals quarantine ls",
    )
    assert filled.quarantined() == [("share_ratio", 0.25)]
    assert filled.sink.values("share_ratio") == [0.5]
    # refused for good: not owed again
    assert filled.run(NOW).sinks == {"memory": SinkValues()}


@pytest.mark.promise(
    "Quarantine: a value refused by a sink is in quarantine before the ledger says loaded"
)
def test_refusal_is_in_quarantine_before_the_ledger_says_loaded(
    filled: Bench, crashing: CrashingLedger
) -> None:
    filled.sink.refuses = lambda name, value: value == 0.5
    filled.ledger.close()
    filled.ledger = crashing
    assert filled.run(NOW).state == "failed"
    assert filled.quarantined() == [("share_ratio", 0.5)]


@pytest.mark.promise("Crash: between an erasure and its write: the next run does both again")
def test_erasure_that_failed_is_done_by_the_next_run(filled: Bench) -> None:
    filled.run(NOW)
    filled.suite = suite_of(filled.folder / "stricter", filled.measurement, most=0.3)
    filled.sink.error = DOWN
    filled.run(NOW)
    assert filled.sink.values("share_ratio") == [0.25, 0.5]
    filled.sink.error = None
    outcome = filled.run(NOW)
    assert outcome.sinks == {"memory": SinkValues()}
    assert filled.sink.values("share_ratio") == [0.25]
    assert [entry.erase_first for entry in filled.sink.calls[-1]] == [True]


@pytest.mark.promise(
    "Loading: a sink or bucket that is added later gets everything that was landed"
)
def test_a_second_sink_gets_what_it_lacks_and_the_first_nothing(filled: Bench) -> None:
    filled.run(NOW)
    calls = len(filled.sink.calls)
    second = MemorySink(name="second", target="second")
    outcome = filled.run(NOW, sinks=(filled.sink, second))
    assert outcome.sinks["second"] == SinkValues(owed=2, loaded=2)
    assert outcome.sinks["memory"] == SinkValues()
    assert second.values("share_ratio") == [0.25, 0.5]
    assert len(filled.sink.calls) == calls


@pytest.mark.promise(
    "Loading: a sink or bucket that is added later gets everything that was landed"
)
def test_another_target_of_the_same_kind_is_filled_from_the_start(filled: Bench) -> None:
    filled.run(NOW)
    other = MemorySink(target="another bucket")
    assert filled.run(NOW, sinks=(other,)).sinks == {"memory": SinkValues(owed=2, loaded=2)}
    assert other.values("share_ratio") == [0.25, 0.5]


def test_without_a_sink_everything_lands(filled: Bench) -> None:
    outcome = filled.run(NOW, sinks=())
    assert (outcome.state, outcome.sinks) == ("landed", {})
    assert len(filled.landed(0, 2)) == 2


@pytest.mark.promise("Security: whatever a sink answers, landed values are counted and pending")
@pytest.mark.parametrize("kind", [RuntimeError, RecursionError, OverflowError])
def test_defect_of_a_sink_takes_nothing_else_down(filled: Bench, kind: type[Exception]) -> None:
    filled.sink.defect = kind("a defect")
    outcome = filled.run(NOW)
    assert outcome.state == "pending"
    assert outcome.values == Values(extracted=2, landed=2)
    assert outcome.sinks == {"memory": SinkValues(owed=2, pending=2)}
    assert re.search(
        rf"unexpected {kind.__name__} at memory.py:\d+. This is a defect of fedvitals",
        outcome.problems[0],
    )
    filled.sink.defect = None
    assert filled.run(NOW).sinks == {"memory": SinkValues(owed=2, loaded=2)}
    filled.put(rows(filled.measurement, [at(0.25), at(1.25)], share_ratio=[0.3, 0.6]))
    filled.sink.error = DOWN
    filled.run(NOW)
    filled.sink.error, filled.sink.defect = None, RuntimeError("a defect")
    # now it is the pending values that meet it
    again = filled.run(NOW)
    assert (again.state, again.sinks) == ("pending", {"memory": SinkValues(owed=2, pending=2)})
