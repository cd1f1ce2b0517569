"""Suites and their expectations."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.severity import Severity

ROW_COUNT = "expect_table_row_count_to_be_between"
UNIQUE = "expect_compound_columns_to_be_unique"
BETWEEN = "expect_column_values_to_be_between"
NOT_NULL = "expect_column_values_to_not_be_null"
NULL = "expect_column_values_to_be_null"
IN_SET = "expect_column_values_to_be_in_set"
NOT_IN_SET = "expect_column_values_to_not_be_in_set"
PAIR = "expect_column_pair_values_a_to_be_greater_than_b"

# arguments that name columns
ONE_COLUMN = ("column", "column_A", "column_B")
MANY_COLUMNS = ("column_list", "column_set")


def columns_named(kwargs: dict[str, Any]) -> Iterator[str]:
    """Yield the columns that an expectation's arguments name."""
    yield from (kwargs[key] for key in ONE_COLUMN if key in kwargs)
    for key in MANY_COLUMNS:
        yield from kwargs.get(key, ())


@dataclass(frozen=True)
class Expectation:
    """One expectation of a suite, with parameters filled into its `arguments`."""

    check_id: str
    type: str
    arguments: dict[str, Any]
    severity: Severity
    reason: str
    origin: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns it examines; none for an expectation on the whole table."""
        if self.type.startswith("expect_table_"):
            return ()
        return tuple(columns_named(self.arguments))


@dataclass(frozen=True)
class Suite:
    """The expectations of one measurement; `digest` ignores the file's layout."""

    name: str
    path: Path
    content: dict[str, Any]
    digest: str

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the values of its $PARAMETERs."""
        return dict(self.content.get("suite_parameters") or {})

    @property
    def expectations(self) -> tuple[Expectation, ...]:
        """Return its expectations, in the order of the file."""
        return tuple(
            Expectation(
                check_id=each["meta"]["check_id"],
                type=each["type"],
                arguments=_filled_in(each["kwargs"], self.parameters),
                severity=Severity(each["meta"]["severity"]),
                reason=each["meta"]["reason"],
                origin=each["meta"]["origin"],
            )
            for each in self.content["expectations"]
        )


def _filled_in(value: Any, parameters: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_filled_in(nested, parameters) for nested in value]
    if not isinstance(value, dict):
        return value
    if "$PARAMETER" in value:
        return parameters[value["$PARAMETER"]]
    return {key: _filled_in(nested, parameters) for key, nested in value.items()}
