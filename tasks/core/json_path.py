"""JSON paths: JSONPath as RFC 9535 has it, which tells a missing value from a null one."""

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

if TYPE_CHECKING:
    from jsonpath import JSONPath


# names with dots between them, which are paths whatever else RFC 9535 has
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
    # no catalogue without REST has to wait for it
    from jsonpath import JSONPath, JSONPathEnvironment

    path = JSONPathEnvironment(strict=True).compile(text)
    assert isinstance(path, JSONPath), "strict mode knows no compound paths"
    return path


def values_at(path: str, document: Any) -> list[Any]:
    """The values that the path selects in the document, in order; none when it has no such place."""
    return [node.obj for node in _compiled(path).finditer(document)]


def obstacle(path: str, document: Any) -> str | None:
    """What stands on the path's way where an object should, e.g. `$['a'] is a list`; None for nothing.

    Only for a path that selects nothing. An object that merely lacks the name, or a null, is no
    obstacle, and of a path that may select several places nothing can be said.
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
    """What JSON calls a value, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "an object"
