"""Great Expectations: quiet, late, and the same from every thread."""

import gc
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tasks.validation import engine
from tests.support.suite_examples import (
    BETWEEN,
    a_content,
    a_frame,
    a_measurement,
    a_suite,
    an_expectation,
    write,
)

MEASUREMENT = a_measurement()
SHARE = an_expectation("share", BETWEEN, column="share_ratio", min_value=0, max_value=1)


def test_results_come_in_the_order_of_the_suite(tmp_path: Path) -> None:
    broken = an_expectation("text", BETWEEN, column="method", min_value=0)
    frame = a_frame(MEASUREMENT, [0, 15, 30], share_ratio=[2.0, 0.5, -1.0])

    ran = engine.run(frame, a_suite(tmp_path, MEASUREMENT, SHARE, broken))

    assert list(ran) == ["rows", "key", "time", "share_ratio_present", "share", "text"]
    assert [each.success for each in ran.values()] == [True, True, True, True, False, False]
    assert ran["rows"].observed == 3
    assert ran["rows"].positions is None
    positions = ran["share"].positions
    assert positions is not None
    assert list(positions) == [0, 2]
    assert ran["text"].problem.startswith("Column values, min_value, and max_value must")


def test_what_great_expectations_offers() -> None:
    assert BETWEEN in engine.known_types()
    assert engine.arguments_of(BETWEEN)[:2] == ["column", "mostly"]
    assert engine.problem_with(BETWEEN, {"column": "a", "min_value": 1}) == ""
    assert "cannot both be None" in engine.problem_with(BETWEEN, {"column": "a"})


@pytest.mark.slow
def test_threads_do_not_see_each_other(tmp_path: Path) -> None:
    suite = a_suite(tmp_path, MEASUREMENT, SHARE)

    def offenders(share: int) -> list[int]:
        values = [0.5] * 20
        values[share] = 7.0
        frame = a_frame(MEASUREMENT, list(range(0, 300, 15)), share_ratio=values)
        positions = engine.run(frame, suite)["share"].positions
        return [] if positions is None else [int(each) for each in positions]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(offenders, range(20)))

    assert found == [[position] for position in range(20)]


def test_a_context_that_is_used_again_forgets_the_frame_before(tmp_path: Path) -> None:
    suite = a_suite(tmp_path, MEASUREMENT, SHARE)
    bad = a_frame(MEASUREMENT, [0, 15], share_ratio=[2.0, 0.5])
    good = a_frame(MEASUREMENT, [0, 15], share_ratio=[0.5, 0.5])

    outcomes = [engine.run(frame, suite)["share"].success for frame in (bad, good, bad)]

    assert outcomes == [False, True, False]


def test_nothing_keeps_the_frame(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0, 15], share_ratio=[2.0, 0.5])
    watched = weakref.ref(frame)
    gc.collect()
    gc.disable()
    try:
        engine.run(frame, a_suite(tmp_path, MEASUREMENT, SHARE))
        del frame
        assert watched() is None
    finally:
        gc.enable()


def test_the_frame_is_left_as_it_was(tmp_path: Path) -> None:
    frame = a_frame(MEASUREMENT, [0, 15], share_ratio=[2.0, np.nan])
    before = frame.copy(deep=True)

    engine.run(frame, a_suite(tmp_path, MEASUREMENT, SHARE))

    assert frame.equals(before)
    assert frame.dtypes.equals(before.dtypes)


FIRST_USE = """
import sys, threading
from pathlib import Path
from tasks.validation import suites, validate
from tests.support.suite_examples import *
measurement = a_measurement()
suite = suites.read_suite(Path(sys.argv[1]), measurement)
assert not any(name.startswith("great_expectations") for name in sys.modules), "imported early"
batch = a_batch(measurement, a_frame(measurement, [0, 15], share_ratio=[2.0, 0.5]))
found = []
def use():
    found.append(len(validate.validate(batch, suite).bad))
threads = [threading.Thread(target=use) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert found == [1, 1], found
"""


@pytest.mark.slow
def test_first_use_from_two_threads_is_late_and_says_nothing(tmp_path: Path) -> None:
    odd = an_expectation("odd", "expect_column_values_to_be_odd", "info", column="size_bytes")
    write(tmp_path, a_content(MEASUREMENT, SHARE, odd))

    done = subprocess.run(
        [sys.executable, "-c", FIRST_USE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
