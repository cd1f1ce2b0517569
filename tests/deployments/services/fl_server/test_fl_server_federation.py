"""Federated averaging: it learns, repeats, counts who was lost, and adds the noise it accounts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.services.fl_server import privacy
from deployments.services.fl_server.errors import DivergedError
from deployments.services.fl_server.federation import (
    Federation,
    RoundResult,
    client_ids,
    clip,
    convergence_rate,
    run,
)
from deployments.services.fl_server.settings import FederationSettings

SMALL = FederationSettings(clients=30, rounds=5, seed=11)


@pytest.fixture(scope="module")
def history() -> list[RoundResult]:
    """The default run."""
    return list(run(FederationSettings(seed=11)))


def changed(**values: float) -> FederationSettings:
    return FederationSettings.model_validate({**SMALL.model_dump(), **values})


@pytest.mark.slow
def test_the_default_run_learns(history: list[RoundResult]) -> None:
    assert len(history) == 60
    assert history[0].accuracy < 0.6
    assert history[-1].accuracy >= 0.85
    assert history[-1].loss < 0.5 < 2.0 < history[0].loss


def test_without_enough_clients_the_noise_drowns_the_model() -> None:
    last = list(run(FederationSettings(clients=5, seed=11)))[-1]
    assert last.accuracy < 0.6


def test_epsilon_is_that_of_the_mechanism(history: list[RoundResult]) -> None:
    mechanism = privacy.Mechanism(0.4, 2.2, 1e-5)
    assert [result.epsilon for result in history] == [
        privacy.epsilon_after(mechanism, result.round) for result in history
    ]


def test_the_run_ends_before_its_budget_is_exceeded() -> None:
    budget = privacy.epsilon_after(privacy.Mechanism(0.4, 2.2, 1e-5), 3)
    assert [result.round for result in run(changed(epsilon_budget=budget))] == [1, 2, 3]
    assert len(list(run(SMALL))) == SMALL.rounds


def test_equal_seeds_repeat_and_others_do_not() -> None:
    assert list(run(SMALL)) == list(run(SMALL))
    assert list(run(SMALL)) != list(run(changed(seed=12)))


def test_noise_does_not_change_who_takes_part() -> None:
    louder = list(run(changed(noise_multiplier=5.0)))
    assert [[client.id for client in result.clients] for result in louder] == [
        [client.id for client in result.clients] for result in run(SMALL)
    ]


def test_every_drawn_client_is_counted_once(history: list[RoundResult]) -> None:
    for result in history:
        assert result.updates + result.dropped == len(result.clients)
        assert len({client.id for client in result.clients}) == len(result.clients)
    states = {client.state for result in history for client in result.clients}
    assert states == {"reported", "late", "dropped"}


def test_without_drop_outs_and_stragglers_all_report() -> None:
    calm = changed(dropout_rate=0.0, straggler_rate=0.0)
    assert sum(result.dropped for result in run(calm)) == 0


def test_with_nothing_but_drop_outs_the_round_still_ends() -> None:
    result = next(run(changed(dropout_rate=1.0)))
    assert result.updates == 0
    assert {client.state for client in result.clients} == {"dropped"}
    assert all(client.accuracy is None and client.seconds is None for client in result.clients)
    assert (result.data_drift, result.seconds) == (0.0, SMALL.deadline_seconds)


def test_late_means_after_the_deadline(history: list[RoundResult]) -> None:
    deadline = FederationSettings().deadline_seconds
    for client in (client for result in history for client in result.clients):
        if client.state != "dropped":
            assert client.seconds is not None
            assert (client.seconds > deadline) == (client.state == "late")


def test_clients_are_drawn_with_the_sampling_rate(history: list[RoundResult]) -> None:
    drawn = sum(len(result.clients) for result in history)
    connected = sum(result.connected_clients for result in history)
    # five standard deviations of a binomial share
    assert drawn / connected == pytest.approx(0.4, abs=5 * math.sqrt(0.24 / connected))


def test_the_noise_has_the_standard_deviation_that_is_accounted() -> None:
    silent = Federation(changed(dropout_rate=1.0, epsilon_budget=1e6))
    for _ in range(20):
        silent.step()
    spread = float(silent.weights.std())
    expected = silent.settings.noise_scale * math.sqrt(20)
    # 650 weights: the relative error of a standard deviation is 1 / sqrt(2 * 650) = 2.8 %
    assert spread == pytest.approx(expected, rel=0.14)


def test_no_client_moves_the_model_further_than_its_clipped_share() -> None:
    settings = changed(noise_multiplier=0.01, clip_norm=0.05, epsilon_budget=1e9)
    federation = Federation(settings)
    result = federation.step()
    bound = result.updates * settings.clip_norm / settings.expected_clients
    noise = settings.noise_scale * math.sqrt(federation.weights.size)
    assert 0 < np.linalg.norm(federation.weights) <= bound + 2 * noise


def test_a_diverging_run_says_so() -> None:
    with pytest.raises(DivergedError, match="round 1"):
        Federation(changed(learning_rate=1e300)).step()


def test_client_ids_have_equal_width() -> None:
    assert client_ids(4) == ("client-00", "client-01", "client-02", "client-03")
    assert client_ids(101)[100] == "client-100"
    assert client_ids(101)[3] == "client-003"


def test_convergence_rate_of_short_series() -> None:
    assert convergence_rate([2.0]) == 0.0
    assert convergence_rate([2.0, 1.5, 1.0]) == pytest.approx(0.25)
    assert convergence_rate([1.0, 1.5]) == pytest.approx(-0.5)


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8),
    st.floats(0.01, 10.0),
)
def test_clip_bounds_the_length_and_keeps_short_updates(values: list[float], norm: float) -> None:
    update = np.array(values)
    clipped = clip(update, norm)
    assert np.linalg.norm(clipped) <= norm * (1 + 1e-9)
    if np.linalg.norm(update) <= norm:
        assert clipped is update
