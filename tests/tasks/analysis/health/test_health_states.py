"""The state of a check, sample by sample."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from tasks.analysis.health.controls import excuse, severity_of_blindness
from tasks.analysis.health.states import Rules, advance, advance_all, bad_since
from tasks.core.health import Interval, Sample, SampleStatus, Track
from tasks.core.maintenance_windows import Maintenance
from tasks.core.severity import Severity

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
STEP = timedelta(seconds=30)
RULES = Rules(failures=3, successes=2, gap=2 * STEP)
# up, down, degraded, excused; a dot is no sample
KINDS: dict[str, dict[str, object]] = {
    "u": {"status": "healthy"},
    "d": {"status": "error", "error": "refused", "answered": False},
    "g": {"status": "unhealthy", "degraded": True, "error": "slow"},
    "x": {"status": "error", "excused": True, "answered": False},
}


def at(step: int) -> datetime:
    return START + step * STEP


def samples(text: str) -> list[Sample]:
    kinds = ((number, KINDS[one]) for number, one in enumerate(text) if one != ".")
    return [Sample("production", "/health", at(step), **facts) for step, facts in kinds]  # type: ignore[arg-type]


def followed(seen: Sequence[Sample], *maintenance: Maintenance) -> tuple[list[Interval], Track]:
    """All intervals, as a ledger keeps them, and the track at the end."""
    kept: dict[datetime, Interval] = {}
    tracks: dict[object, Track] = {}
    for sample in seen:
        intervals, after = advance_all(tracks, [sample], RULES, maintenance)  # type: ignore[arg-type]
        kept |= {one.start: one for one in intervals}
        tracks = {track.interval.key: track for track in after}
    (track,) = tracks.values()
    return [kept[start] for start in sorted(kept)], track


def spans(intervals: Sequence[Interval]) -> list[tuple[str, int, int]]:
    return [(one.shown, (one.start - START) // STEP, (one.until - START) // STEP) for one in intervals]  # fmt: skip


@pytest.mark.promise("Health: a check is down after 3 failures in a row, and up after 2 successes")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("uuuu", [("up", 0, 3)]),
        # two lost answers are no outage
        ("uuddu", [("up", 0, 4)]),
        ("uuddd", [("up", 0, 2), ("down", 2, 4)]),
        ("udddu", [("up", 0, 1), ("down", 1, 4)]),
        ("udddud", [("up", 0, 1), ("down", 1, 5)]),
        ("uddduu", [("up", 0, 1), ("down", 1, 4), ("up", 4, 5)]),
        # as bad as all of its samples are
        ("udgd", [("up", 0, 1), ("degraded", 1, 3)]),
        ("uggg", [("up", 0, 1), ("degraded", 1, 3)]),
        ("dddgg", [("down", 0, 3), ("degraded", 3, 4)]),
        # nothing is known before
        ("dd", [("no_data", 0, 1)]),
        ("ddd", [("down", 0, 2)]),
        # what could not be seen is no outage
        ("uxxxx", [("up", 0, 1), ("no_data", 1, 4)]),
        ("uxxu", [("up", 0, 1), ("no_data", 1, 3), ("up", 3, 3)]),
        # nor is a time in which the checker was off; one missing sample is no gap
        ("u.u", [("up", 0, 2)]),
        ("u...u", [("up", 0, 0), ("no_data", 0, 4), ("up", 4, 4)]),
    ],
)
def test_states_follow_from_samples(text: str, expected: list[tuple[str, int, int]]) -> None:
    intervals, _ = followed(samples(text))
    assert spans(intervals) == expected


def test_intervals_follow_each_other_without_overlap() -> None:
    intervals, _ = followed(samples("uudddugguxx...ddduuu.u....uu"))
    assert len(intervals) > 6
    assert all(one.until == next_.start for one, next_ in itertools.pairwise(intervals))  # fmt: skip


def test_maintenance_overlays_the_state_and_what_still_fails_opens_at_its_end() -> None:
    planned = Maintenance(at(2), at(7), "production", "", "deploy")
    intervals, track = followed(samples("uuddddddd"), planned)

    assert spans(intervals) == [
        ("up", 0, 2),
        ("maintenance", 2, 7),
        ("down", 7, 8),
    ]
    assert [one.state for one in intervals] == ["up", "down", "down"]
    assert track.interval.why == "refused"


def test_maintenance_of_another_environment_is_none_of_ours() -> None:
    planned = Maintenance(at(0), at(9), "staging", "", "deploy")
    intervals, _ = followed(samples("uuddd"), planned)
    assert spans(intervals) == [("up", 0, 2), ("down", 2, 4)]


def test_a_sample_that_is_recorded_late_counts_and_moves_no_time_back() -> None:
    _, track = advance(None, samples("...u")[0], RULES)
    _, track = advance(track, samples("d")[0], RULES)
    assert (track.interval.until, track.streak and track.streak.count) == (at(3), 1)


def test_a_sample_that_is_recorded_twice_counts_once() -> None:
    up, down = samples("ud")
    _, track = followed([up, down])
    assert advance(track, down, RULES) == ([], track)
    assert track.streak is not None
    assert track.streak.count == 1


@pytest.mark.parametrize(("text", "since"), [("udddd", 1), ("uddd....ddd", 1), ("udddu....ddd", 9)])
def test_an_outage_goes_on_across_a_time_without_data(text: str, since: int) -> None:
    intervals, track = followed(samples(text))
    if since == 9:
        # it was up between
        assert [one.state for one in intervals] == ["up", "down", "no_data", "down"]
        since = 1
    assert bad_since(intervals, track) == at(since)


def of(status: SampleStatus, answered: bool, code: int | None = None) -> Sample:
    return Sample("production", "/x", START, status, status_code=code, answered=answered)


SILENT = of("error", answered=False)
WRONG = of("unhealthy", answered=True, code=500)


@pytest.mark.promise("Health: a checker that cannot see blames no target")
@pytest.mark.parametrize(
    ("controls", "expected"),
    [
        ([], [False, False]),
        ([SILENT, of("healthy", answered=True)], [False, False]),
        ([SILENT, WRONG], [False, False]),
        ([SILENT, SILENT], [True, False]),
    ],
)
def test_only_silence_is_excused_and_only_when_no_control_answers(
    controls: list[Sample], expected: list[bool]
) -> None:
    assert [one.excused for one in excuse([SILENT, WRONG], controls)] == expected


@pytest.mark.parametrize(
    ("minutes", "severity"),
    [(4.9, Severity.WARNING), (5, Severity.HIGH), (14.9, Severity.HIGH), (15, Severity.CRITICAL)],
)
def test_blindness_grows_worse(minutes: float, severity: Severity) -> None:
    assert severity_of_blindness(START, START + timedelta(minutes=minutes)) is severity
