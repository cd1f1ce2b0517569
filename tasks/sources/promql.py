"""Syntax check of a catalogue's PromQL, without a server."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import promql_parser

from tasks.core.errors import ConfigurationInvalid
from tasks.core.measurement import Measurement

RANGES = (promql_parser.MatrixSelector, promql_parser.SubqueryExpr)


def check_queries(entries: Iterable[Measurement], path: Path) -> None:
    """Raise ConfigurationInvalid naming each bad query at `path`, also of ranges.

    The parser may lag behind a Prometheus with experimental syntax, so runs do not use it.
    """
    problems = [
        f"{entry.name}.{name}: {problem}"
        for entry in entries
        for name, spec in entry.fields.items()
        if spec.query is not None
        for problem in _problems(spec.query)
    ]
    if problems:
        raise ConfigurationInvalid(
            where=path, problem="; ".join(problems), fix="Correct the queries named here"
        )


def _problems(query: str) -> Iterator[str]:
    try:
        parsed = promql_parser.parse(query)
    except ValueError as error:
        yield f"{query!r} is not PromQL: {error}"
        return
    if isinstance(parsed, RANGES):
        yield f"{query!r} returns ranges, not values (rate() makes values of them)"
