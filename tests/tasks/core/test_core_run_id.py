"""Ids of runs: they sort by time, differ within a moment, and say when the run began."""

import re
from datetime import UTC, datetime, timedelta

from tasks.core.run_id import moment_of, new_run_id, run_id_of

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_new_run_ids_sort_by_time_within_a_second_and_differ_within_a_moment() -> None:
    moments = [START + timedelta(milliseconds=n) for n in range(1000)]

    ids = [new_run_id(moment) for moment in moments]

    assert ids == sorted(ids)
    assert all(re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{6}", each) for each in ids)
    assert len({new_run_id(START) for _ in range(20)}) > 1


def test_run_ids_sort_by_time() -> None:
    ids = [run_id_of(START + timedelta(seconds=9 * n), "token") for n in range(20)]
    assert ids[0] == "20260101T000000-token"
    assert sorted(ids) == ids


def test_a_runs_id_says_when_it_began() -> None:
    began = datetime(2026, 3, 1, 4, 5, 6, 789, tzinfo=UTC)
    assert moment_of(run_id_of(began, "abcdef")) == began.replace(microsecond=0)
    assert moment_of("run-1") is None
    assert moment_of("") is None
