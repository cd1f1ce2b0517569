"""The advice: each rule with the case it is for, and none without evidence."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tasks.analysis.advice import Advice, Evidence, advise
from tasks.analysis.convergence import Verdict, VerdictKind
from tasks.analysis.forecast import Forecast, NoForecast
from tasks.analysis.interval import Interval
from tasks.analysis.privacy import Race, race
from tasks.analysis.remaining_time import remaining_time
from tasks.analysis.spending import reported
from tasks.core.training import PrivacyTerms, Round
from tests.support.drawn_runs import a_curve, a_loss_curve, drawn

ROUNDS = tuple(Round(n, None, 30.0, None, None, 0.1 * n, None) for n in range(1, 11))
CURVE = a_curve([0.05 * n for n in range(1, 11)])
NONE = NoForecast("the planned number of rounds is unknown")
RISING = drawn([[0.52, 0.54], [0.54, 0.58], [0.56, 0.62]])
FLAT = drawn([[0.500, 0.501], [0.501, 0.502], [0.499, 0.500]])


def a_verdict(kind: VerdictKind, slope: float = 0.02, **more: Any) -> Verdict:
    trend = Interval(slope, slope - 0.005, slope + 0.005, 0.8)
    level = Interval(0.5, 0.49, 0.51, 0.8)
    return replace(Verdict(kind, "A sentence.", {}, 10, trend, level, level), **more)


def a_race(ahead: Forecast | NoForecast, budget: float, target: float | None = None) -> Race:
    terms = PrivacyTerms(None, None, None, budget, None)
    return race(reported(ROUNDS, terms), terms, CURVE, ahead, target)


def advice(
    verdict: Verdict,
    ahead: Forecast | NoForecast = RISING,
    target: float | None = None,
    budget: float | None = None,
) -> Advice:
    time = remaining_time(ROUNDS, None if isinstance(ahead, NoForecast) else 2)
    with_race = None if budget is None else a_race(ahead, budget, target)
    return advise(Evidence(CURVE, verdict, ahead, with_race, time, target))


def test_more_to_gain_is_a_reason_to_go_on() -> None:
    found = advice(a_verdict("improving"), budget=8.0)
    assert found.action == "go_on"
    assert found.gain is not None
    assert found.gain.estimate == pytest.approx(0.08)
    assert found.per_round is not None
    assert found.per_round.estimate == pytest.approx(0.04)
    assert found.per_epsilon is not None
    # two rounds cost 0.2
    assert found.per_epsilon.estimate == pytest.approx(0.4, rel=0.1)
    assert found.per_epsilon.low < found.per_epsilon.estimate < found.per_epsilon.high
    assert found.sentence.startswith(
        "Go on: there is more to gain; 2 further rounds are expected to gain 8 pp (4.8 to 11 pp), 4 pp a round"
    )
    assert found.sentence.endswith("the rest of the plan takes 60 s.")


@pytest.mark.parametrize(
    ("verdict", "ahead", "target", "budget", "action", "word"),
    [
        (a_verdict("collapsed", onset_round=7), RISING, None, None, "stop", "before round 7"),
        (a_verdict("collapsed", onset_round=7), NONE, None, None, "stop", "before round 7"),
        (a_verdict("diverging"), RISING, None, None, "stop", "diverges"),
        (a_verdict("improving"), RISING, None, 0.5, "stop", "used up"),
        (a_verdict("improving"), RISING, 0.5, None, "stop", "the target is reached"),
        (a_verdict("improving"), drawn([[], []]), None, None, "stop", "the plan is done"),
        (a_verdict("converged"), FLAT, None, None, "stop", "has converged"),
        (a_verdict("plateau"), FLAT, None, None, "stop", "change something"),
        (a_verdict("improving"), FLAT, None, None, "stop", "little is left"),
        (a_verdict("improving"), drawn([[0.3], [0.5], [0.7]]), None, None, "undecided", "from none"),
        (a_verdict("improving"), RISING, 0.9, None, "undecided", "likely missed (chance 0%)"),
        (a_verdict("converged"), RISING, None, None, "undecided", "the forecast sees more"),
        (a_verdict("converged"), NONE, None, None, "stop", "has converged"),
        (a_verdict("plateau"), NONE, None, None, "stop", "change something"),
        (a_verdict("oscillating"), NONE, None, None, "undecided", "swings"),
        (a_verdict("improving"), NONE, None, None, "go_on", "gains 2 pp a round now"),
        (a_verdict("improving", 0.001), NONE, None, None, "undecided", "improves slowly"),
        (Verdict("too_short", "Too short.", {}, 3), NONE, None, None, "none", "3 rounds are too few"),
    ],
    ids=str,
)  # fmt: skip
def test_each_case_has_its_advice(
    verdict: Verdict,
    ahead: Forecast | NoForecast,
    target: float | None,
    budget: float | None,
    action: str,
    word: str,
) -> None:
    found = advice(verdict, ahead, target, budget)
    assert (found.action, word in found.sentence) == (action, True), found.sentence


def test_what_is_not_known_says_why() -> None:
    found = advice(a_verdict("improving"), NONE)
    assert (found.gain, found.per_round, found.per_epsilon) == (None, None, None)
    assert found.why_not == (f"the gain needs a forecast: {NONE.reason}",)
    without = advice(a_verdict("improving"))
    assert without.per_epsilon is None
    assert without.why_not == ("the gain by epsilon needs the epsilon spent so far",)


def test_a_budget_that_ends_first_cuts_the_gain() -> None:
    # what is left is enough for one round of the two
    found = advice(a_verdict("improving"), budget=1.15)
    assert found.gain is not None
    assert found.gain.estimate == pytest.approx(0.04)
    assert found.reasons[1].startswith("1 further round is expected to gain 4 pp")


def test_the_chance_is_said() -> None:
    found = advice(a_verdict("improving"), target=0.6, budget=8.0)
    assert "the target is reached within the privacy budget with a chance of 33%" in found.reasons


def test_a_loss_is_in_its_own_unit() -> None:
    losses: Sequence[float] = [2.0 - 0.1 * n for n in range(10)]
    time = remaining_time(ROUNDS, 2)
    found = advise(Evidence(a_loss_curve(losses), a_verdict("improving"), RISING, None, time, None))
    assert found.gain is not None
    assert found.gain.estimate == pytest.approx(0.16)


def test_gains_that_end_before_they_begin_are_none() -> None:
    found = advice(a_verdict("improving"), budget=1.05)
    assert found.gain is not None
    assert np.isclose(found.gain.high, 0.0)
    assert found.action == "stop"
    assert "no round is left that plan and budget allow" in found.why_not
