"""JSON paths: what they select, and what they say when they select nothing."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.core.json_path import JsonPath, kind_of, obstacle, values_at

DOCUMENT = {
    "a": {"b": None, "the c": [1, {"d": 2}]},
    "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}],
    "": 3,
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("$", [DOCUMENT]),
        ("$.a.b", [None]),
        ("$['a']['the c'][0]", [1]),
        ("$.a['the c'][-1].d", [2]),
        ("$['']", [3]),
        ("$.list[?@.n == 'y'].v", [2]),
        ("$.list[*].v", [1, 2]),
        ("$.missing", []),
        ("$.a.b.c", []),
        ("$.list[2]", []),
        ("$.list.n", []),
    ],
)
def test_a_path_selects_values(path: str, values: list[Any]) -> None:
    assert values_at(path, DOCUMENT) == values


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "expected 'TOKEN_ROOT'"),
        ("a.b", "expected 'TOKEN_ROOT'"),
        (" $.a", "unexpected leading whitespace"),
        ("$.a.", "expected a shorthand selector"),
        ("$.a[", "unexpected end of query"),
        ("$.a | $.b", "unexpected token '|'"),
        ("$[99999999999999999999]", "index out of range"),
    ],
)
def test_what_is_no_path_is_refused(path: str, problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(JsonPath).validate_python(path)
    (error,) = caught.value.errors()
    start = f"Value error, {path!r} is not a JSON path such as $.clients.total: {problem}"
    assert error["msg"].startswith(start)


@pytest.mark.parametrize(
    ("path", "document", "found"),
    [
        ("$.a", {}, None),
        ("$.a.b", {"a": {}}, None),
        ("$.a.b", {"a": None}, None),
        ("$.a[0]", {"a": []}, None),
        ("$.a.b", {"a": []}, "$['a'] is a list"),
        ("$.a.b.c", {"a": "x"}, "$['a'] is a string"),
        ("$.a[0].b", {"a": [1.5]}, "$['a'][0] is a number"),
        ("$.a", [], "$ is a list"),
        ("$.a", False, "$ is true or false"),
        ("$..a", [], None),
        ("$.list[?@.n == 'z'].v", DOCUMENT, None),
    ],
)
def test_what_stands_in_the_way_is_named(path: str, document: Any, found: str | None) -> None:
    assert values_at(path, document) == []
    assert obstacle(path, document) == found


def test_kinds() -> None:
    values: list[Any] = [None, True, 1, 1.5, "x", [], {}]
    assert [kind_of(value) for value in values] == [
        "null", "true or false", "a number", "a number", "a string", "a list", "an object",
    ]  # fmt: skip
