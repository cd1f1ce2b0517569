"""The privacy race: who wins, by how much, and what happens when epsilon is odd."""

from typing import Any

import numpy as np
import pytest

from tasks.analysis import accounting
from tasks.analysis.forecast import NoForecast
from tasks.analysis.privacy import Race, passages, race, wins
from tasks.analysis.spending import reported
from tasks.core.severity import Severity
from tasks.core.training import PrivacyTerms, Round
from tests.support.drawn_runs import a_curve, a_loss_curve, drawn

INF = float("inf")
CURVE = a_curve([0.05 * n for n in range(1, 11)])
# two draws: one gains 0.1 a round, one 0.02
TWO = drawn([[0.6, 0.7, 0.8, 0.9], [0.52, 0.54, 0.56, 0.58]])
EVEN = [0.1 * n for n in range(1, 11)]


def rounds(*epsilons: float | None) -> tuple[Round, ...]:
    return tuple(Round(n, None, None, None, None, e, None) for n, e in enumerate(epsilons, start=1))


def a_race(
    epsilons: list[float | None] | list[float], target: float | None = 0.65, **terms: Any
) -> Race:
    plain: dict[str, Any] = dict(
        delta=None,
        sampling_rate=None,
        noise_multiplier=None,
        epsilon_budget=8.0,
        epsilon_remaining=None,
    )
    known = PrivacyTerms(**{**plain, **terms})
    return race(reported(rounds(*epsilons), known), known, CURVE, TWO, target)


def test_passages_are_the_first_rounds_at_the_target() -> None:
    assert passages(TWO, 0.65).tolist() == [12.0, INF]
    assert passages(TWO, 0.5).tolist() == [10.0]
    assert passages(drawn([[]]), 0.9).tolist() == [INF]


@pytest.mark.parametrize(
    ("reached", "afforded", "chance"),
    [
        ([12.0], [12.0], 1.0),
        ([12.0], [11.0], 0.0),
        ([12.0, INF], [20.0, 20.0], 0.5),
        ([12.0], [11.0, 12.0, 13.0, INF], 0.75),
        ([INF], [INF], 0.0),
    ],
    ids=["same round", "one late", "half never", "pairs", "never both"],
)
def test_the_chance_is_the_share_of_pairs(
    reached: list[float], afforded: list[float], chance: float
) -> None:
    assert wins(np.array(reached), np.array(afforded)) == chance


def test_a_budget_that_lasts_leaves_the_forecast_alone() -> None:
    found = a_race(EVEN)
    assert found.probability == 0.5
    assert found.exhausted is not None
    assert found.exhausted.low < 80.0 < found.exhausted.high
    assert (found.source, found.is_exhausted, found.budget) == ("service", False, 8.0)
    assert found.forgone is not None
    assert found.forgone.estimate == pytest.approx(0.24)


def test_a_budget_that_ends_first_takes_the_chance() -> None:
    found = a_race(EVEN, epsilon_budget=1.05)
    assert found.probability == 0.0
    assert found.forgone is not None
    assert found.forgone.high == 0.0
    assert found.exhausted is not None
    assert found.exhausted.estimate == 10.0


def test_a_budget_that_is_used_up() -> None:
    found = a_race(EVEN, epsilon_budget=0.55)
    assert found.is_exhausted
    assert found.exhausted is not None
    # the fifth round is the last one within
    assert found.exhausted.estimate == 5.0
    assert found.probability == 0.0
    assert found.sentence == "The privacy budget is used up: epsilon 1 of 0.55 is spent."


def test_what_is_missing_is_said() -> None:
    without = a_race(EVEN, target=None, epsilon_budget=None)
    assert (without.probability, without.exhausted) == (None, None)
    assert any("needs a target" in why for why in without.why_not)
    assert any("needs a budget" in why for why in without.why_not)
    assert any("not recomputed" in why for why in without.why_not)
    epsilon = reported(rounds(*EVEN), PrivacyTerms(None, None, None, 8.0, None))
    blind = race(epsilon, None, CURVE, NoForecast("too few rounds"), 0.9)
    assert (blind.probability, blind.forgone) == (None, None)
    assert blind.exhausted is not None
    assert "the race needs a forecast: too few rounds" in blind.why_not


def test_epsilon_that_stands_still_never_runs_out() -> None:
    found = a_race([1.0] * 10)
    assert found.exhausted is None
    assert found.probability == 0.5
    assert any("does not grow" in why for why in found.why_not)


@pytest.mark.parametrize(
    "epsilons",
    [
        [0.1, 0.2, float("nan"), 0.4, None, 0.6, 0.7, 0.8, 0.9, 1.0],
        [0.1, 0.2, 0.3, 0.2, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
        [INF, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    ],
    ids=["holes", "comes back", "infinite"],
)
def test_odd_epsilons_do_not_break_the_race(epsilons: list[float | None]) -> None:
    found = a_race(epsilons)
    assert found.probability == 0.5
    assert found.exhausted is not None
    assert found.exhausted.low < 80.0 < found.exhausted.high
    assert 50.0 < found.exhausted.estimate < 125.0


TERMS: dict[str, float] = dict(delta=1e-5, sampling_rate=0.1, noise_multiplier=1.1)


def counted(count: int = 10) -> list[float]:
    return [accounting.epsilon_after(1.1, 0.1, 1e-5, n) for n in range(1, count + 1)]


def test_terms_that_agree_say_the_round_exactly() -> None:
    found = a_race(counted(), **TERMS)
    assert found.source == "accounting"
    assert found.exhausted is not None
    assert (found.exhausted.low, found.exhausted.estimate, found.exhausted.high) == (143, 143, 143)
    assert found.findings == ()
    assert found.recomputed == pytest.approx(counted()[-1])


@pytest.mark.parametrize(("factor", "severity"), [(0.5, Severity.HIGH), (2.0, Severity.WARNING)])
def test_terms_that_disagree_are_a_finding(factor: float, severity: Severity) -> None:
    found = a_race([factor * e for e in counted()], **TERMS)
    (finding,) = found.findings
    assert (finding.kind, finding.severity) == ("epsilon_disagrees", severity)
    assert finding.evidence["recomputed"] == pytest.approx(counted()[-1])
    # the service stops by its own count
    assert found.source == "service"


def test_terms_alone_are_enough() -> None:
    found = a_race([None] * 10, **TERMS)
    assert found.spent == pytest.approx(counted()[-1])
    assert found.exhausted is not None
    assert found.exhausted.estimate == 143.0


def test_without_dp_accounting_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.analysis.accounting.find_spec", lambda name: None)
    found = a_race(EVEN, **TERMS)
    assert found.why_not == ("epsilon is not recomputed: dp-accounting is not installed",)
    assert found.recomputed is None
    assert found.exhausted is not None


def test_a_run_without_privacy_has_no_race() -> None:
    assert race(reported(rounds(*[None] * 10), None), None, CURVE, TWO, 0.65) is None


def test_a_loss_gains_by_falling() -> None:
    loss = a_loss_curve([2.0 - 0.1 * n for n in range(10)])
    known = PrivacyTerms(None, None, None, 8.0, None)
    found = race(reported(rounds(*EVEN), known), known, loss, TWO, None)
    assert found.forgone is not None
    # 0.24 on the scale, of a loss whose worst is 2
    assert found.forgone.estimate == pytest.approx(0.48)


def test_the_burn_down_has_a_fan() -> None:
    found = a_race(EVEN, epsilon_budget=2.0)
    fan = found.remaining_at(10, np.array([10.0, 15.0, 20.0]), np.array([0.1, 0.5, 0.9]))
    assert fan is not None
    assert fan.shape == (3, 3)
    assert fan[:, 0].tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert fan[1].tolist() == pytest.approx([1.0, 0.5, 0.0], abs=0.05)
