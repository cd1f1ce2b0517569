"""Differences between two suites."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tasks.validation.model import Expectation, Suite
from tasks.validation.wording import limit_of


@dataclass(frozen=True)
class Difference:
    """One check that only one suite has, or that differs between both.

    `old` and `new` describe the difference, or all of a check that the other suite lacks; else None.
    """

    check_id: str
    change: Literal["added", "removed", "changed"]
    old: str | None
    new: str | None


def difference(old: Suite | None, new: Suite) -> tuple[Difference, ...]:
    """Compare by check_id, in the new suite's order, then removals; None for no suite."""
    before = {each.check_id: each for each in old.expectations} if old else {}
    after = {each.check_id: each for each in new.expectations}
    return (*_of_new(before, after), *_removed(before, after))


def _of_new(before: dict[str, Expectation], after: dict[str, Expectation]) -> Iterator[Difference]:
    for check_id, expectation in after.items():
        mine = _facts(expectation)
        if check_id not in before:
            yield Difference(check_id, "added", None, _shown(mine))
            continue
        theirs = _facts(before[check_id])
        other = tuple(name for name in mine if mine[name] != theirs[name])
        # a limit's wording omits rare arguments
        if len(other) > 1 and "arguments" in other:
            other = tuple(name for name in other if name != "arguments")
        if other:
            yield Difference(check_id, "changed", _shown(theirs, other), _shown(mine, other))


def _removed(before: dict[str, Expectation], after: dict[str, Expectation]) -> Iterator[Difference]:
    for check_id, expectation in before.items():
        if check_id not in after:
            yield Difference(check_id, "removed", _shown(_facts(expectation)), None)


def _facts(expectation: Expectation) -> dict[str, str]:
    return {
        "column": ", ".join(expectation.columns) or "the table",
        "limit": limit_of(expectation),
        "severity": expectation.severity.value,
        "origin": expectation.origin,
        "reason": expectation.reason,
        "type": expectation.type,
        "arguments": str(sorted(expectation.arguments.items())),
    }


def _shown(facts: dict[str, str], names: tuple[str, ...] = ("column", "limit", "severity")) -> str:
    """Format the facts, with names but for column and limit."""
    plain = ("column", "limit")
    return "; ".join(facts[name] if name in plain else f"{name} {facts[name]}" for name in names)
