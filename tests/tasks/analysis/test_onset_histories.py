"""Two public runs that broke: a rule on drops alone fires at every swing of the early rounds of one,
and at the break of the other."""

from pathlib import Path

import numpy as np
import pytest

from tasks.analysis.convergence import judge
from tasks.analysis.curve import Curve, Floats, from_arrays
from tasks.analysis.onset import onsets

HISTORIES = Path(__file__).parent / "histories"
LOST_AT = 818
EARLY = 100


def read(name: str, with_loss: bool) -> Curve:
    rounds, loss, accuracy = np.genfromtxt(HISTORIES / name, delimiter=",", skip_header=1).T
    return from_arrays(name, rounds.astype(np.int64), accuracy, loss if with_loss else None)


def drops(values: Floats) -> list[int]:
    """Rounds at which the accuracy is 0.1 below that of the round before."""
    return [int(index) + 1 for index in np.flatnonzero(np.diff(values) < -0.1)]


@pytest.mark.parametrize("with_loss", [True, False], ids=["with loss", "accuracy alone"])
def test_a_lost_run_is_found_once_and_at_once(with_loss: bool) -> None:
    curve = read("fedavg_mnist_B1000000_E20.csv", with_loss)

    (one,) = onsets(curve)

    assert (one.kind, one.ended) == ("collapse", None)
    assert LOST_AT - 1 <= one.began <= LOST_AT <= one.found <= LOST_AT + 1
    assert judge(curve).kind == "collapsed"


def test_the_rounds_before_it_are_healthy() -> None:
    curve = read("fedavg_mnist_B1000000_E20.csv", True)

    assert onsets(curve.until(LOST_AT)) == ()


def test_early_swings_are_no_breaks() -> None:
    curve = read("fedavg_mnist_B1000000_E1.csv", True)
    plain = [at for at in drops(curve.values) if at < EARLY]

    assert len(plain) >= 7
    assert onsets(curve.until(EARLY)) == ()


def test_falls_from_a_held_level_are_breaks_and_nothing_else_is() -> None:
    curve = read("fedavg_mnist_B1000000_E1.csv", True)

    dip, last = onsets(curve)

    # the accuracy sinks from 0.958 to 0.840 by round 127 and is back at 0.959 at round 129
    assert (dip.kind, dip.ended) == ("divergence", 129)
    assert 119 <= dip.found <= 125
    assert (last.kind, last.held > 0.98) == ("collapse", True)
    assert 957 <= last.found <= 961
