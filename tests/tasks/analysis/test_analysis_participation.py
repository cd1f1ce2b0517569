"""Participation: who drops out, who is slow, who is served badly, and what it has to do with progress."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.analysis.client_columns import DROPPED, LATE, REPORTED, UNKNOWN, columns
from tasks.analysis.fairness import client_accuracies, fairness
from tasks.analysis.participation import Counts, Participation, effect, participation, stragglers
from tasks.core.training import ClientRound, Round
from tests.support.drawn_runs import a_curve


def a_client(name: str, **reported: object) -> ClientRound:
    plain: dict[str, object] = dict(
        examples=100, accuracy=0.5, seconds=10.0, state="reported", data_quality=0.9
    )
    return ClientRound(name, **{**plain, **reported})  # type: ignore[arg-type]


def a_round(number: int, *clients: ClientRound) -> Round:
    return Round(number, None, None, None, None, None, clients)


def of(*rounds: Round) -> Participation:
    found = participation(rounds)
    assert found is not None
    return found


FOUR = [a_client(name) for name in "abcd"]


def test_who_drops_out_and_how_often() -> None:
    gone = a_client("d", state="dropped", accuracy=None, seconds=None)
    found = of(a_round(1, *FOUR), a_round(2, *FOUR[:3], gone))
    assert found.drop_outs is not None
    assert found.drop_outs.estimate == 1 / 8
    assert found.drop_outs.low < 1 / 8 < found.drop_outs.high
    worst = found.clients[0]
    assert (worst.id, worst.drawn, worst.dropped) == ("d", 2, 1)
    assert worst.drop_outs is not None
    assert worst.drop_outs.estimate == 0.5
    assert [client.dropped for client in found.clients[1:]] == [0, 0, 0]
    assert (found.rounds, found.clients_seen, found.a_round) == (2, 4, 4.0)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("reported", REPORTED),
        ("Success", REPORTED),
        ("late", LATE),
        ("timed out", DROPPED),
        ("drop-out", DROPPED),
        ("weird", UNKNOWN),
    ],
)
def test_words_for_states(word: str, state: int) -> None:
    assert columns([a_round(1, a_client("a", state=word))]).state.tolist() == [state]


def test_without_a_word_who_answered_has_reported() -> None:
    quiet = a_client("b", state=None, accuracy=None, seconds=None)
    found = columns([a_round(1, a_client("a", state=None), quiet)])
    assert found.state.tolist() == [REPORTED, UNKNOWN]
    assert found.has_states is False


def test_a_straggler_is_beyond_its_own_round() -> None:
    even = [
        a_client(n, seconds=s) for n, s in zip("abcde", [10.0, 11.0, 12.0, 11.0, 60.0], strict=True)
    ]
    slow = [
        a_client(n, seconds=s) for n, s in zip("abcde", [55.0, 60.0, 65.0, 60.0, 60.0], strict=True)
    ]
    table = columns([a_round(1, *even), a_round(2, *slow)])
    # 60 seconds are too much in the first round and usual in the second
    assert stragglers(table).tolist() == [False] * 4 + [True] + [False] * 5


def test_a_late_client_straggles_and_three_are_too_few_to_tell() -> None:
    late = a_client("c", state="late", seconds=None)
    three = [a_client("a"), a_client("b", seconds=500.0), late]
    assert stragglers(columns([a_round(1, *three)])).tolist() == [False, False, True]


def test_clients_drawn_early_do_not_look_bad() -> None:
    # both clients are alike; the model gets better, and the first is drawn in even rounds only
    rounds = [
        a_round(
            n,
            a_client("c", accuracy=0.02 * n),
            a_client("d", accuracy=0.02 * n),
            a_client("even" if n % 2 == 0 else "odd", accuracy=0.02 * n - 0.1),
        )
        for n in range(1, 21)
    ]
    found = client_accuracies(columns(rounds))
    even, odd = found.accuracy[2], found.accuracy[3]
    assert even == pytest.approx(odd, abs=1e-6)
    assert found.accuracy[0] - even == pytest.approx(0.1, abs=1e-6)


def test_the_worst_tenth_is_that_of_the_examples() -> None:
    clients = [
        a_client("big", examples=900, accuracy=0.9),
        a_client("bad", examples=50, accuracy=0.1),
        a_client("poor", examples=50, accuracy=0.5),
    ]
    table = columns([a_round(1, *clients)])
    found = fairness(table, client_accuracies(table), 0.8)
    assert found is not None
    assert found.mean.estimate == pytest.approx(0.84)
    # a tenth of 1,000 examples: 50 at 0.1 and 50 at 0.5
    assert found.worst_decile.estimate == pytest.approx(0.3)
    assert found.spread.estimate == pytest.approx(
        np.sqrt(0.9 * 0.06**2 + 0.05 * 0.74**2 + 0.05 * 0.34**2)
    )
    assert (found.worst_client, found.gap, found.is_weighted, found.n) == (
        "bad",
        pytest.approx(0.8),
        True,
        3,
    )


def test_without_examples_all_weigh_alike() -> None:
    clients = [
        a_client(n, examples=None, accuracy=a) for n, a in zip("abc", [0.9, 0.6, 0.3], strict=True)
    ]
    found = of(a_round(1, *clients)).fairness
    assert found is not None
    assert found.mean.estimate == pytest.approx(0.6)
    assert found.is_weighted is False


def test_two_clients_are_too_few_for_fairness() -> None:
    found = of(a_round(1, *FOUR[:2]))
    assert found.fairness is None
    assert found.why_not["fairness"] == "at least 3 clients with their accuracy are needed"


def test_sites_without_rounds_have_fairness_only() -> None:
    # a cross-validation: one row a site, two models each
    sites = [
        ClientRound(site, None, accuracy, None, None, None)
        for site, accuracy in [
            ("s1", 0.8),
            ("s1", 0.9),
            ("s2", 0.6),
            ("s2", 0.7),
            ("s3", 0.5),
            ("s3", 0.4),
        ]
    ]
    found = of(a_round(0, *sites))
    assert found.fairness is not None
    assert found.fairness.worst_client == "s3"
    assert found.clients[0].accuracy_now == pytest.approx(0.45)
    assert (found.drop_outs, found.stragglers, found.effect, found.heat_map) == (
        None,
        None,
        None,
        None,
    )
    assert set(found.why_not) == {
        "drop_outs",
        "stragglers",
        "share_trend",
        "quality_trend",
        "effect",
    }


def test_data_quality_has_a_trend_and_a_flat_one_has_none() -> None:
    rng = np.random.default_rng(0)

    def trend(slope: float) -> tuple[float, float]:
        rounds = [
            a_round(
                n,
                *[a_client(c, data_quality=0.5 + slope * n + 0.01 * rng.normal()) for c in "abcd"],
            )
            for n in range(1, 31)
        ]
        found = of(*rounds).quality_trend
        assert found is not None
        return found.low, found.high

    low, high = trend(0.01)
    assert 0.0 < low < 0.01 < high
    low, high = trend(0.0)
    assert low < 0.0 < high


def progress(weight: float) -> tuple[np.ndarray, np.ndarray]:
    """Gains that depend on who took part by that much, and the numbers of clients."""
    rng = np.random.default_rng(4)
    taking_part = rng.integers(5, 20, size=80).astype(float)
    gains = 0.02 / np.arange(1, 81) + weight * (taking_part - 12) + 0.002 * rng.normal(size=80)
    return 0.1 + np.cumsum(gains), taking_part


def test_progress_goes_along_with_participation_where_it_does() -> None:
    values, taking_part = progress(0.0005)
    found = effect(a_curve(list(values)), np.arange(1.0, 81.0), taking_part)
    assert found is not None
    assert found.correlation.low > 0.3
    assert found.gain is not None
    assert found.gain.low < 0.0005 < found.gain.high
    assert found.sentence.endswith("an association, not a cause.")


def test_and_not_where_it_does_not() -> None:
    values, taking_part = progress(0.0)
    found = effect(a_curve(list(values)), np.arange(1.0, 81.0), taking_part)
    assert found is not None
    assert found.correlation.low < 0.0 < found.correlation.high
    assert found.sentence.startswith("No association")
    # the same number of clients in each round tells nothing
    assert effect(a_curve(list(values)), np.arange(1.0, 81.0), np.full(80, 9.0)) is None


def test_clients_known_only_as_counts() -> None:
    values, taking_part = progress(0.0005)
    counts = [Counts(n, 20.0, part, 0.8) for n, part in enumerate(taking_part, start=1)]
    rounds = [Round(n, None, None, None, v, None, None) for n, v in enumerate(values, start=1)]
    found = participation(rounds, a_curve(list(values)), counts)
    assert found is not None
    assert found.drop_outs is not None
    assert found.drop_outs.estimate == pytest.approx(1.0 - taking_part.mean() / 20.0)
    assert found.effect is not None
    assert found.effect.correlation.low > 0.3
    assert found.clients == ()
    assert found.why_not["clients"] == "clients are reported as counts only"


def test_nothing_reported_of_clients_is_nothing() -> None:
    assert participation([Round(1, None, None, None, 0.5, None, None)]) is None
    assert participation([a_round(1)]) is None
    assert participation([]) is None


def test_the_heat_map_has_the_worst_on_top() -> None:
    gone = a_client("d", state="dropped", accuracy=None, seconds=None)
    found = of(a_round(1, *FOUR[:3], gone), a_round(2, *FOUR[:2]))
    assert found.heat_map is not None
    assert found.heat_map.ids[0] == "d"
    assert found.heat_map.rounds == (1, 2)
    assert found.heat_map.states[0].tolist() == [DROPPED, -1]


def test_the_worst_client_comes_first() -> None:
    rounds = [
        a_round(
            n,
            a_client("good", accuracy=0.9),
            a_client("weak", accuracy=0.4),
            a_client("flaky", state="dropped" if n % 2 else "reported", accuracy=0.9),
            a_client("slow", seconds=100.0, accuracy=0.9),
        )
        for n in range(1, 13)
    ]
    ids = [client.id for client in of(*rounds).clients]
    assert ids[-1] == "good"
    assert set(ids[:3]) == {"weak", "flaky", "slow"}


reported = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True, width=32))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.builds(
                ClientRound,
                st.sampled_from(["a", "b", "c", ""]),
                st.one_of(st.none(), st.integers(-5, 1000)),
                reported, reported,
                st.one_of(st.none(), st.sampled_from(["reported", "late", "dropped", "odd"])),
                reported,
            ),
            max_size=6,
        ),
        max_size=8,
    )
)  # fmt: skip
def test_no_client_breaks_it(clients: list[list[ClientRound]]) -> None:
    rounds = [a_round(n, *drawn) for n, drawn in enumerate(clients, start=1)]
    found = participation(rounds, a_curve([0.1] * max(1, len(rounds))))
    if found is None:
        assert not any(clients)
        return
    assert sum(client.drawn for client in found.clients) == sum(map(len, clients))
    assert all(np.isfinite(client.badness) for client in found.clients)
