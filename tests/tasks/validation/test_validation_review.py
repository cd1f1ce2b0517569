"""All suites of a catalogue looked at, and a suite written back."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ConfigurationInvalid, SuiteInvalid
from tasks.core.measurement import Measurement
from tasks.validation.review import Flaw, review
from tasks.validation.suites import (
    canonical_json,
    read_suite,
    read_unchecked,
    suite_of,
    write_suite,
)
from tests.support.suite_examples import BETWEEN, a_content, a_measurement, an_expectation


def named(name: str, **more: Any) -> Measurement:
    return a_measurement().model_copy(update={"name": name, **more})


def put(folder: Path, name: str, *more: dict[str, Any]) -> Path:
    """A sound suite in canonical form, and more."""
    path = folder / f"{name}.json"
    content = {**a_content(a_measurement(), *more), "name": name}
    path.write_text(canonical_json(content), "utf-8")
    return path


def test_sound_suites_have_no_flaw(tmp_path: Path) -> None:
    put(tmp_path, "one")
    put(tmp_path, "two")
    assert list(review(tmp_path, [named("one"), named("two")], fix=False)) == []


def test_every_flaw_is_reported(tmp_path: Path) -> None:
    put(tmp_path, "unknown", an_expectation("odd", "expect_wonders", column="share_ratio"))
    put(tmp_path, "wrong", an_expectation("odd", BETWEEN, column="share", max_value=1))
    put(tmp_path, "unused")
    (tmp_path / "broken.json").write_text("{", "utf-8")
    measurements = [named(name) for name in ("missing", "broken", "wrong", "unknown")]
    found = list(review(tmp_path, measurements, fix=False))
    assert [(flaw.suite, flaw.check_id) for flaw in found] == [
        ("missing.json", None),
        ("broken.json", None),
        ("wrong.json", "odd"),
        ("unknown.json", "odd"),
        ("unused.json", None),
    ]
    assert found[0].problem == "the file is missing"
    assert found[3].problem == "check odd: Great Expectations knows no expect_wonders"
    assert found[4] == Flaw(
        "unused.json",
        None,
        "no measurement uses it",
        "Delete it, or name it under `suite` in the catalogue",
    )


def test_all_flaws_of_one_suite_are_reported(tmp_path: Path) -> None:
    more = [
        an_expectation("column", BETWEEN, column="share", max_value=1),
        an_expectation("type", "expect_wonders", column="share_ratio"),
        an_expectation("argument", BETWEEN, column="share_ratio", most=1),
        an_expectation("runs", BETWEEN, column="method", min_value=0),
    ]
    put(tmp_path, "one", *more)
    found = list(review(tmp_path, [named("one")], fix=True))
    assert [flaw.check_id for flaw in found] == ["column", "type", "argument", "runs"]


def test_a_shipped_suite_that_no_measurement_uses_is_no_flaw(tmp_path: Path) -> None:
    for name in ("one", "gpu", "gpus"):
        put(tmp_path, name)
    assert [flaw.suite for flaw in review(tmp_path, [named("one")], fix=False)] == ["gpus.json"]


@pytest.mark.parametrize("ending", ["\n\n", ""])
def test_a_file_in_another_form_is_reported_and_rewritten(tmp_path: Path, ending: str) -> None:
    path = put(tmp_path, "one")
    text = path.read_text("utf-8")
    path.write_text(text.rstrip("\n") + ending, "utf-8")
    fix = "Rewrite it: fedvitals suites check --fix"
    assert list(review(tmp_path, [named("one")], fix=False)) == [
        Flaw("one.json", None, "is not in canonical form", fix)
    ]
    assert list(review(tmp_path, [named("one")], fix=True)) == []
    assert path.read_text("utf-8") == text


def test_a_shared_suite_is_checked_for_each_measurement(tmp_path: Path) -> None:
    put(tmp_path, "one").write_text("{}", "utf-8")
    found = list(review(tmp_path, [named("one"), named("two", suite="one")], fix=False))
    assert [flaw.suite for flaw in found] == ["one.json"] * 4


def test_a_written_suite_is_read_back_in_canonical_form(tmp_path: Path) -> None:
    path = put(tmp_path, "one")
    content = json.loads(path.read_text("utf-8"))
    content["expectations"].append(an_expectation("more", BETWEEN, column="share_ratio", max_value=1.0))  # fmt: skip
    write_suite(suite_of(content, named("one"), path))
    assert path.read_text("utf-8") == canonical_json(content)
    assert read_suite(tmp_path, named("one")).expectations[-1].check_id == "more"
    assert [file.name for file in tmp_path.iterdir()] == ["one.json"]


def test_a_suite_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "one.json"
    suite = suite_of({**a_content(a_measurement()), "name": "one"}, named("one"), path)
    with pytest.raises(ConfigurationInvalid, match="cannot be written: No such file or directory"):
        write_suite(suite)
    assert not path.parent.exists()


def test_a_suite_as_it_stands(tmp_path: Path) -> None:
    put(tmp_path, "one", an_expectation("odd", BETWEEN, column="of_another", max_value=1))
    found = read_unchecked(tmp_path, "one")
    assert found is not None
    assert found.expectations[-1].check_id == "odd"
    assert read_unchecked(tmp_path, "two") is None
    (tmp_path / "one.json").write_text("{", "utf-8")
    with pytest.raises(SuiteInvalid, match="is not JSON"):
        read_unchecked(tmp_path, "one")
