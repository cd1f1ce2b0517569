"""Histories as Python and Flower print them."""

import ast
import re
from typing import Any

MOST_CHARACTERS = 5 * 1024**2
"""A literal takes a hundred times its text in memory."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_HEADING = re.compile(
    r"History \((loss|metrics), (centralized|distributed)(, fit)?(?:, evaluate)?\)"
)
_ATTRIBUTE = re.compile(r"app_fit: ((?:losses|metrics)_\w+) (.*)")
_LEVEL = re.compile(r"^\s*(?:[A-Z]+ *:)?\s*")
_ROUND = re.compile(r"round (\d{1,18}): (\S+)")
# numbers that are no literals
_NUMPY = re.compile(r"\b(?:(?:np|numpy)\.\w+|array|tensor)\(([^()]*)\)")
_ODD = re.compile(r"(?<![\w'\"])(nan|inf)(?![\w'\"])")


def history_of(text: str) -> dict[str, Any] | None:
    """Return a History from Flower's log or its str(), by its attributes; else None."""
    if not (_HEADING.search(text) or _ATTRIBUTE.search(text)):
        return None
    found: dict[str, Any] = {}
    key, written = "", ""
    for line in _COLOUR.sub("", text).splitlines():
        heading, attribute = _HEADING.search(line), _ATTRIBUTE.search(line)
        bare = _LEVEL.sub("", line).strip()
        one = _ROUND.fullmatch(bare)
        if attribute:
            found[attribute[1]] = literal(attribute[2])
        elif heading:
            kind = "losses" if heading[1] == "loss" else "metrics"
            key, written = f"{kind}_{heading[2]}{'_fit' if heading[3] else ''}", ""
        elif key and one:
            found.setdefault(key, []).append([int(one[1]), one[2]])
        elif key and (written or bare.startswith("{")):
            # a long dict takes several lines
            written += bare
            found[key] = literal(written)
    return {name: value for name, value in found.items() if value}


def literal(text: str) -> Any:
    """Return a Python literal, with lists for tuples; None where it is none."""
    if len(text) > MOST_CHARACTERS:
        return None
    plain = _ODD.sub(r"'\1'", _NUMPY.sub(r"\1", text))
    try:
        return _listed(ast.literal_eval(plain.strip()))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _listed(one) for name, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, list | tuple) else value
