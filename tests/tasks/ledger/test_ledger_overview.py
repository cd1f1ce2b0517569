"""The ledger in figures: each environment's cells, and what its own sinks lack of them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tasks.ledger.ledger import Ledger
from tasks.ledger.overview import overview
from tests.support.ledger_behaviours import cell, load, state

pytestmark = pytest.mark.promise(
    "Ledger: pending values are counted for the environment's own sinks only"
)

TARGETS = {"production": ("a",), "staging": ("b",)}
PAIRS = [(name, where) for name in ("m", "n") for where in ("production", "staging")]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Two hours of two measurements in two environments, each loaded into its environment's sink."""
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")) as opened:
        for name, where in PAIRS:
            opened.record(state(hour, measurement=name, environment=where) for hour in (0, 1))
            (sink,) = TARGETS[where]
            opened.record_loads(
                load(hour, sink=sink, measurement=name, environment=where) for hour in (0, 1)
            )
        yield opened


def pending(ledger: Ledger, targets: dict[str, tuple[str, ...]]) -> dict[tuple[str, str], object]:
    known = overview(ledger, lambda name: targets.get(name, ()))
    return {(each.measurement, each.environment): each.pending for each in known}


def test_nothing_is_pending_for_the_sink_of_another_environment(ledger: Ledger) -> None:
    nothing = {(name, where): {TARGETS[where][0]: 0} for name, where in PAIRS}
    assert pending(ledger, TARGETS) == nothing

    # the failing twin: what an environment's own sink lacks
    ledger.record([state(1, environment="staging", landed_digest="new")])
    assert pending(ledger, TARGETS) == nothing | {("m", "staging"): {"b": 1}}


def test_two_environments_may_share_a_bucket(ledger: Ledger) -> None:
    both = {"production": ("a",), "staging": ("a",)}
    expected = {(name, where): {"a": 0 if where == "production" else 2} for name, where in PAIRS}
    assert pending(ledger, both) == expected


def test_a_sink_that_took_nothing_yet_lacks_all(ledger: Ledger) -> None:
    ledger.record([state(2, landed_digest="", rows=0)])
    found = pending(ledger, {"production": ("new",)})
    assert found["m", "production"] == {"new": 2}
    assert found["m", "staging"] == {}


def test_cells_and_values_are_counted(ledger: Ledger) -> None:
    known = {(each.measurement, each.environment): each for each in overview(ledger, TARGETS.get)}
    one = known["m", "production"]
    assert (one.cells, one.values, one.first) == (2, 4, cell(0).start)
    assert one.covered_until == state(1).covered_until
