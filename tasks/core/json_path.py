"""JSONPath by RFC 9535, with a missing value distinguished from a null."""

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

if TYPE_CHECKING:
    from jsonpath import JSONPath


# dotted names, which are paths beside those of RFC 9535
_PLAIN = re.compile(r"\$(\.[A-Za-z_][A-Za-z0-9_]*)+")


def _check_path(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    from jsonpath.exceptions import JSONPathError

    try:
        _compiled(text)
    except JSONPathError as error:
        # its own str fails on some errors
        problem = error.args[0] if error.args else type(error).__name__
        raise ValueError(
            f"{text!r} is not a JSON path such as $.clients.total: {problem}"
        ) from error
    return text


JsonPath = Annotated[str, AfterValidator(_check_path)]


@lru_cache(maxsize=1024)
def _compiled(text: str) -> "JSONPath":
    # imported late: only a catalogue with REST needs it
    from jsonpath import JSONPath, JSONPathEnvironment

    path = JSONPathEnvironment(strict=True).compile(text)
    assert isinstance(path, JSONPath), "strict mode knows no compound paths"
    return path


def values_at(path: str, document: Any) -> list[Any]:
    """Return the values that the path selects in the document, in order."""
    return [node.obj for node in _compiled(path).finditer(document)]


def obstacle(path: str, document: Any) -> str | None:
    """Return what blocks the path, e.g. `$['a'] is a list`; None for nothing.

    Only for a path that selects nothing. An object without the name, or a null, is no obstacle; a
    path that may select several places has none.
    """
    from jsonpath import JSONPath
    from jsonpath.selectors import NameSelector

    whole = _compiled(path)
    if not whole.singular_query():
        return None
    for length, segment in enumerate(whole.segments):
        before = JSONPath(env=whole.env, segments=whole.segments[:length])
        found = next(iter(before.finditer(document)), None)
        if found is None or found.obj is None:
            return None
        is_named = isinstance(segment.selectors[0], NameSelector)
        if is_named and not isinstance(found.obj, dict):
            return f"{before} is {kind_of(found.obj)}"
    return None


def kind_of(value: Any) -> str:
    """Return JSON's name of a value, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "an object"
