"""What the ledger keeps of health: written at once, read by time, forgotten in time."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tasks.analysis.health.states import Rules, advance_all
from tasks.core.health import HostSample, Key, Push, Sample
from tasks.core.window import Window
from tasks.ledger import health as kept
from tasks.ledger.ledger import Ledger
from tasks.ledger.schema import as_text, maintenance

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
RULES = Rules(failures=3, successes=2, gap=timedelta(minutes=1))
WHOLE = Sample("production", "/x", NOW, "unhealthy", 0.5, 503, "bad", True, True, False, 3.5)
BARE = Sample("production", "/y", NOW, "error", error="refused", answered=False, excused=True)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    found: str = request.getfixturevalue("database")
    return found


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with closing(Ledger(url)) as ledger:
        yield ledger


def record(ledger: Ledger, *samples: Sample) -> None:
    kept.record_samples(ledger, samples, lambda tracks: advance_all(tracks, samples, RULES))


def test_samples_come_back_whole_by_environment_and_time(ledger: Ledger) -> None:
    record(ledger, WHOLE, BARE, replace(WHOLE, environment="staging"))

    assert kept.samples(ledger, "production", Window(NOW, NOW + HOUR)) == [WHOLE, BARE]
    assert kept.samples(ledger, "production", Window(NOW - HOUR, NOW)) == []


def test_states_continue_where_another_process_left_them(url: str) -> None:
    for step in range(3):
        with closing(Ledger(url)) as ledger:
            record(ledger, replace(WHOLE, at=NOW + step * timedelta(seconds=30), degraded=False))
    with closing(Ledger(url)) as ledger:
        (interval,) = kept.intervals(ledger, "production", Window(NOW, NOW + HOUR))
        assert (interval.state, interval.start) == ("down", NOW)
        assert kept.tracks(ledger)[WHOLE.key].interval == interval


def test_several_recorders_lose_no_sample(url: str) -> None:
    Ledger(url).close()

    def recorder(number: int) -> None:
        with closing(Ledger(url)) as ledger:
            for step in range(10):
                moment = NOW + timedelta(milliseconds=10 * step + number)
                record(ledger, replace(WHOLE, at=moment, degraded=False))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(recorder, range(4)))
    with closing(Ledger(url)) as ledger:
        window = Window(NOW, NOW + HOUR)
        assert len(kept.samples(ledger, "production", window)) == 40
        assert [one.state for one in kept.intervals(ledger, "production", window)] == ["down"]


def test_intervals_reach_into_a_window(ledger: Ledger) -> None:
    record(ledger, WHOLE)
    record(ledger, replace(WHOLE, at=NOW + timedelta(seconds=30)))
    reading = partial(kept.intervals, ledger, "production")

    assert len(reading(Window(NOW + timedelta(seconds=10), NOW + HOUR))) == 1
    assert reading(Window(NOW + timedelta(seconds=31), NOW + HOUR)) == []
    assert reading(Window(NOW - HOUR, NOW)) == []


def test_a_report_that_comes_first_is_not_taken_back(ledger: Ledger) -> None:
    """The loop and a job may write at once: what is expected never replaces what came."""
    expected = Push("production", "export", None, NOW)
    kept.expect_push(ledger, expected)
    assert [*kept.pushes(ledger).values()] == [expected]
    came = replace(expected, at=NOW, deadline=NOW + timedelta(hours=1))
    kept.keep_push(ledger, came)
    kept.expect_push(ledger, expected)
    assert [*kept.pushes(ledger).values()] == [came]


def test_pushes_rounds_and_hosts_keep_the_last(ledger: Ledger) -> None:
    push = Push("production", "export", None, NOW + HOUR)
    kept.keep_push(ledger, push)
    kept.keep_push(ledger, replace(push, at=NOW, failed=True))
    assert kept.pushes(ledger) == {Key("production", "export"): replace(push, at=NOW, failed=True)}

    assert kept.last_round(ledger, "production") is None
    kept.keep_round(ledger, "production", "running 3", NOW)
    assert kept.last_round(ledger, "production") == ("running 3", NOW)

    host = HostSample("production", NOW, 0.5, 0.25, 0.75, 1.0)
    kept.keep_host(ledger, host)
    assert kept.host_samples(ledger, "production", Window(NOW, NOW + HOUR)) == [host]


def test_maintenance_started_by_hand_ends_by_itself(ledger: Ledger) -> None:
    row = {"environment": "production", "check": "", "reason": "deploy", "by": "ci"}
    times = {"start": as_text(NOW), "until": as_text(NOW + HOUR)}
    ledger.write(maintenance, [{**row, **times}])

    (found,) = kept.started_maintenance(ledger, NOW)
    assert found.covers("production", "/x", NOW)
    assert kept.started_maintenance(ledger, NOW + HOUR) == []
    assert kept.started_maintenance(ledger, NOW - timedelta(seconds=1)) == []


@pytest.mark.promise("Health: samples are kept for 14 days, states for 400")
@pytest.mark.parametrize(
    ("days", "samples", "intervals"), [(13.9, 1, 1), (14.1, 0, 1), (399.9, 0, 1), (400.1, 0, 0)]
)
def test_old_samples_and_states_are_forgotten(
    ledger: Ledger, days: float, samples: int, intervals: int
) -> None:
    record(ledger, WHOLE)
    kept.keep_host(ledger, HostSample("production", NOW, 0.5, 0.25, 0.75))

    removed = kept.forget_health(ledger, NOW + timedelta(days=days))

    window = Window(NOW - HOUR, NOW + HOUR)
    assert len(kept.samples(ledger, "production", window)) == samples
    assert len(kept.host_samples(ledger, "production", window)) == samples
    assert len(kept.intervals(ledger, "production", window)) == intervals
    assert removed == 2 * (1 - samples) + 1 - intervals
