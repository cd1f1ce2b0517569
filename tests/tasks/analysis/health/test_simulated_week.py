"""A week of 12 endpoints every 30 s of which 0.5 % of the answers are lost, and a real outage."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tasks.analysis.health.states import Rules, advance
from tasks.core.health import Health, Interval, Sample, Track

START = datetime(2026, 3, 1, tzinfo=UTC)
SETTINGS = Health()
INTERVAL = SETTINGS.interval
ROUNDS = int(timedelta(days=7) / INTERVAL)
LOST = 0.005
ENDPOINTS = 12


def rules(failures: int) -> Rules:
    return Rules(failures, SETTINGS.successes, SETTINGS.gap)


def samples(seed: int, outage: range = range(0)) -> Iterator[Sample]:
    """The samples of one endpoint, with some jitter of the loop."""
    chance = random.Random(seed)
    for number in range(ROUNDS):
        at = START + number * INTERVAL + timedelta(seconds=chance.random())
        if number in outage or chance.random() < LOST:
            yield Sample("production", "/health", at, "error", error="timed out", answered=False)
        else:
            yield Sample("production", "/health", at, "healthy", 0.1, 200)


def weeks_states(seed: int, by: Rules, outage: range = range(0)) -> tuple[list[Interval], Track]:
    ended: list[Interval] = []
    track: Track | None = None
    for sample in samples(seed, outage):
        more, track = advance(track, sample, by)
        ended += more
    assert track is not None
    return ended, track


def false_downs(failures: int, endpoints: int) -> float:
    """How often an endpoint that works was down in the week, on average."""
    found = 0
    for seed in range(endpoints):
        ended, track = weeks_states(seed, rules(failures))
        found += sum(one.state == "down" for one in (*ended, track.interval))
        # nothing but lost answers happened
        assert {one.state for one in ended} <= {"no_data", "up", "down"}
    return found / endpoints


@pytest.mark.promise("Health: 0.5 % of lost answers make no check down")
@pytest.mark.slow
def test_lost_answers_make_nothing_down() -> None:
    assert false_downs(SETTINGS.failures, ENDPOINTS) <= 0.05


def test_with_one_failure_lost_answers_would_page() -> None:
    """The failing twin: a hundred a week."""
    assert false_downs(1, 1) > 50


@pytest.mark.parametrize("seed", range(3))
def test_a_real_outage_is_down_within_three_intervals_and_dated_back(seed: int) -> None:
    first = ROUNDS // 2 + seed
    track: Track | None = None
    for sample in samples(seed, range(first, ROUNDS)):
        _, track = advance(track, sample, rules(SETTINGS.failures))
        if track.interval.state == "down":
            break

    assert track is not None
    began = START + first * INTERVAL
    assert track.interval.until - began <= 3 * INTERVAL + timedelta(seconds=1)
    # a loss just before it may belong to it
    assert abs(track.interval.start - began) <= 2 * INTERVAL
