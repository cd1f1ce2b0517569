"""A rate is not missing where it cannot be there yet."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.measurement import FieldSpec
from tasks.validation.validate import validate
from tests.support.suite_examples import a_batch, a_frame, a_measurement, a_suite

PLAIN = a_measurement()
RATE = FieldSpec(query="sum by (method) (rate(x_total[5m]))", required=True)
GROWING = PLAIN.model_copy(update={"fields": {**PLAIN.fields, "share_ratio": RATE}})
END = 3600 - 15


def is_present(folder: Path, seconds: list[int], values: list[Any], entry: Any = GROWING) -> bool:
    frame = a_frame(entry, seconds, share_ratio=values, size_bytes=[1] * len(seconds))
    verdict = validate(a_batch(entry, frame), a_suite(folder, entry)).verdict
    (check,) = [each for each in verdict.checks if each.check_id == "share_ratio_present"]
    return check.success


@pytest.mark.parametrize(
    ("seconds", "values"),
    [
        ([0, 15, 30], [None, 1.0, 2.0]),
        ([45, 60], [None, 1.0]),
        # after a pause a series begins anew
        ([0, 15, 90, 105], [1.0, 2.0, None, 3.0]),
        # what follows is in the next window
        ([END], [None]),
    ],
)
def test_the_first_sample_of_a_series_needs_no_rate(
    tmp_path: Path, seconds: list[int], values: list[Any]
) -> None:
    assert is_present(tmp_path, seconds, values)
    assert not is_present(tmp_path, seconds, values, PLAIN)


@pytest.mark.parametrize(
    ("seconds", "values"),
    [
        ([0, 15, 30], [None, None, 2.0]),
        ([0, 15, 30], [1.0, None, 2.0]),
        ([0, 15, 30], [None, None, None]),
        ([0], [None]),
        ([END - 15, END], [1.0, None]),
    ],
)
def test_a_rate_that_is_missing_later_is_missing(
    tmp_path: Path, seconds: list[int], values: list[Any]
) -> None:
    assert not is_present(tmp_path, seconds, values)


def test_a_source_names_what_it_cannot_measure_yet(tmp_path: Path) -> None:
    frame = a_frame(PLAIN, [0], share_ratio=[None], size_bytes=[1])
    batch = replace(a_batch(PLAIN, frame), unmeasured=frozenset({"share_ratio"}))

    assert validate(batch, a_suite(tmp_path, PLAIN)).verdict.short()["failed"] == 0
