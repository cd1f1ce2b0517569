"""Reading YAML into models: what is wrong is named by its path, and nothing passes in silence."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import Field

from tasks.core.documents import Duration, Strict, parse, read_yaml
from tasks.core.errors import ConfigurationInvalid


class Inner(Strict):
    length: Duration = timedelta(seconds=15)
    size: int = Field(default=1, gt=0)


class Outer(Strict):
    inner: Inner = Inner()
    named: dict[str, Inner] = Field(default_factory=dict)
    as_: str = Field(default="", alias="as")


def written(folder: Path, text: str) -> Path:
    path = folder / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problem_of(folder: Path, text: str) -> str:
    path = written(folder, text)
    with pytest.raises(ConfigurationInvalid) as caught:
        parse(Outer, read_yaml(path), str(path))
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value.problem)


def test_a_good_file_is_read(tmp_path: Path) -> None:
    text = "inner: {length: 1h30m}\nnamed: {a: {size: 3}}\nas: value\n"
    outer = parse(Outer, read_yaml(written(tmp_path, text)), "here")
    assert outer.inner.length == timedelta(minutes=90)
    assert (outer.named["a"].size, outer.as_) == (3, "value")
    assert outer.model_dump_json(by_alias=True) == (
        '{"inner":{"length":"90m","size":1},"named":{"a":{"length":"15s","size":3}},"as":"value"}'
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("iner: {}", "unknown key iner (did you mean inner?)"),
        ("inner: {lenght: 1s}", "unknown key inner.lenght (did you mean length?)"),
        ("named: {a: {sise: 3}}", "unknown key named.a.sise (did you mean size?)"),
        ("zzz: 1", "unknown key zzz"),
        ("inner: {size: 0}", "inner.size: Input should be greater than 0"),
        ("inner: {size: x, length: 1}", "inner.length: 1 is not a duration such as 15s, 5m, 1h or 2d; inner.size: Input should be a valid integer, unable to parse string as an integer"),
        ("inner: {length: 1 h}", "inner.length: '1 h' is not a duration such as 15s, 5m, 1h or 2d"),
        ("inner: {length: true}", "inner.length: True is not a duration such as 15s, 5m, 1h or 2d"),
        ("inner: {length: null}", "inner.length: None is not a duration such as 15s, 5m, 1h or 2d"),
        ("inner: {length: 0s}", "inner.length: '0s' is not positive"),
        ("inner: {length: 99999999999999d}", "inner.length: '99999999999999d' is too long"),
        ("inner: 5", "inner: Input should be a valid dictionary or instance of Inner"),
    ],
)  # fmt: skip
def test_wrong_keys_and_values_are_named(tmp_path: Path, text: str, problem: str) -> None:
    assert problem_of(tmp_path, text) == problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not a mapping of keys"),
        ("- 1", "is not a mapping of keys"),
        ("just text", "is not a mapping of keys"),
        ("a: [", "cannot be read: while parsing a flow node"),
        ("a: 1\na: 2", "cannot be read: the key a is repeated"),
        ("a: {b: 1, c: 2, b: 3}", "cannot be read: the key b is repeated"),
        ("a: &x {b: 1}\nc: {<<: *x, b: 2, b: 3}", "cannot be read: the key b is repeated"),
        ("!!python/object/apply:os.getcwd []", "cannot be read: could not determine a constructor"),
        ("? [1, 2]\n: 3", "cannot be read: while constructing a mapping in"),
    ],
)
def test_what_is_no_yaml_of_ours_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationInvalid) as caught:
        read_yaml(path)
    assert caught.value.problem.startswith(problem)
    assert "\n" not in str(caught.value)


def test_missing_unreadable_and_wrongly_encoded_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="the file is missing"):
        read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(ConfigurationInvalid, match="cannot be read: "):
        read_yaml(tmp_path)
    path = tmp_path / "latin.yaml"
    path.write_bytes("a: ü".encode("latin-1"))
    with pytest.raises(ConfigurationInvalid, match="cannot be read: "):
        read_yaml(path)


def test_the_mark_of_an_editor_on_windows_is_no_part_of_a_key(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeffas: value\r\n")
    assert parse(Outer, read_yaml(path), "here").as_ == "value"


def test_a_merged_mapping_may_be_overridden(tmp_path: Path) -> None:
    assert read_yaml(written(tmp_path, "a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}"))["d"] == {
        "b": 3,
        "c": 2,
    }
