"""How far each measurement has come, on the sinks that it should be in."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.ledger.ledger import Ledger
from tasks.ledger.watermark import loaded_until
from tests.support.ledger_behaviours import HOUR, START, load, state

LAST = timedelta(microseconds=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    one = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    one.record([state(0), state(1), state(2, rows=0)])
    yield one
    one.close()


def until(ledger: Ledger, *sinks: str) -> float | None:
    """Hours after the start up to which m has come, but for the last microsecond."""
    found = loaded_until(ledger, ["m", "nothing"], "production", sinks)
    assert set(found) <= {"m"}
    return (found["m"] + LAST - START) / HOUR if found else None


def test_without_sinks_it_is_what_has_landed(ledger: Ledger) -> None:
    # the newest cell has no rows
    assert until(ledger) == 2


def test_a_sink_has_what_it_took_as_it_is_now(ledger: Ledger) -> None:
    assert until(ledger, "a") is None

    ledger.record_loads([load(0, sink="a", landed_digest="l")])
    assert until(ledger, "a") == 1

    ledger.record_loads([load(1, sink="a", landed_digest="earlier")])
    assert until(ledger, "a") == 1

    ledger.record_loads([load(1, sink="a", landed_digest="l")])
    assert until(ledger, "a") == 2


def test_every_sink_must_have_it(ledger: Ledger) -> None:
    ledger.record_loads([load(hour, sink="a", landed_digest="l") for hour in (0, 1)])
    ledger.record_loads([load(0, sink="b", landed_digest="l")])

    assert until(ledger, "a") == 2
    assert until(ledger, "a", "b") == 1
    assert until(ledger, "a", "c") is None


def test_another_environment_is_another_matter(ledger: Ledger) -> None:
    assert loaded_until(ledger, ["m"], "staging", []) == {}
