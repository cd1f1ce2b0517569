"""The rows of a table as rounds, or as one client's part of a round."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from tasks.core.training import ClientRound, Round
from tasks.sources.run_files.names import ClientPart, Roles
from tasks.sources.run_files.shares import shares_of
from tasks.sources.run_files.table import MOST_ROUNDS, Table, is_count, moment, number, text, whole
from tasks.sources.run_files.words import Unit

SERVERS = {"server", "global", "central", "centralized", "centralised", "aggregated", "all"}
Shares = Mapping[str, Sequence[float | None]]
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Row:
    """One row of the table; client is None for the server's own."""

    index: int
    place: str
    run: str | None
    facts: Round
    client: ClientRound | None
    remaining: float | None

    @property
    def value(self) -> float | None:
        """Return the accuracy of the server or the client."""
        return self.facts.accuracy if self.client is None else self.client.accuracy


class _Cells(Protocol[T_co]):
    """A column by its rows."""

    def __getitem__(self, row: int, /) -> T_co: ...


@dataclass(frozen=True)
class _Asked(Generic[T]):
    """A column with bad cells, each of which matters only when its row is read."""

    look: Callable[[int], T]

    def __getitem__(self, row: int, /) -> T:
        return self.look(row)


@dataclass(frozen=True)
class _Columns:
    """The columns of a table by role; all None where there is none."""

    round: _Cells[int | None]
    run: _Cells[str | None]
    started: _Cells[datetime | None]
    seconds: _Cells[float | None]
    loss: _Cells[float | None]
    accuracy: _Cells[float | None]
    epsilon: _Cells[float | None]
    remaining: _Cells[float | None]
    client: _Cells[str | None]
    examples: _Cells[int | None]
    state: _Cells[str | None]
    data_quality: _Cells[float | None]
    wide: tuple[tuple[str, ClientPart, _Cells[float | None]], ...]


def rows_of(table: Table, roles: Roles, unit: Unit | None = None) -> Iterator[Row]:
    """Yield the rows that have a round, in the file's order."""
    columns = _columns(table, roles, unit)
    for index, place in enumerate(table.places):
        number = columns.round[index]
        if number is None:
            continue
        yield Row(
            index,
            place,
            columns.run[index],
            Round(
                number,
                columns.started[index],
                columns.seconds[index],
                columns.loss[index],
                columns.accuracy[index],
                columns.epsilon[index],
                _wide(columns, index) if columns.wide else None,
            ),
            _client(columns, index),
            columns.remaining[index],
        )


def rounds_of(table: Table, roles: Roles) -> _Cells[int | None]:
    """Return the round of each row; without such a column each row counts as one."""
    if roles.round is None:
        return range(1, len(table.places) + 1)
    return _whole(table, roles.round, "a round")


def _columns(table: Table, roles: Roles, unit: Unit | None) -> _Columns:
    single = roles.single
    wide = [column for column, _, part in roles.wide if part == "accuracy"]
    shares = {name: shares_of(table, name, unit, wide) for name in wide}
    if roles.accuracy is not None:
        shares[roles.accuracy] = shares_of(table, roles.accuracy, unit)
    nothing: Sequence[None] = [None] * len(table.places)
    started, examples = single.get("started"), single.get("examples")
    return _Columns(
        round=rounds_of(table, roles),
        run=_texts(table, roles.run),
        started=nothing if started is None else list(map(moment, table.columns[started])),
        seconds=_lengths(table, single.get("seconds")),
        loss=_numbers(table, roles.loss),
        accuracy=nothing if roles.accuracy is None else shares[roles.accuracy],
        epsilon=_numbers(table, single.get("epsilon")),
        remaining=_numbers(table, single.get("epsilon_remaining")),
        client=_texts(table, roles.client),
        examples=nothing if examples is None else _whole(table, examples, "a number of examples"),
        state=_texts(table, single.get("state")),
        data_quality=_numbers(table, single.get("data_quality")),
        wide=tuple(
            (client, part, shares[column] if part == "accuracy" else _numbers(table, column))
            for column, client, part in roles.wide
        ),
    )


def _texts(table: Table, name: str | None) -> Sequence[str | None]:
    rows = range(len(table.places))
    return [None] * len(rows) if name is None else [text(table, name, row) for row in rows]


def _numbers(table: Table, name: str | None) -> _Cells[float | None]:
    if name is None:
        return [None] * len(table.places)
    known = table.numbers(name)
    return known if known is not None else _Asked(lambda row: number(table, name, row))


def _lengths(table: Table, name: str | None) -> _Cells[float | None]:
    """Return lengths in seconds; one below 0 is none."""
    cells = _numbers(table, name)
    return _Asked(lambda row: _length(cells[row]))


def _length(seconds: float | None) -> float | None:
    return seconds if seconds is not None and seconds >= 0.0 else None


def _whole(table: Table, name: str, what: str) -> _Cells[int | None]:
    known = table.numbers(name)
    if known is not None and all(one is None or is_count(one) for one in known):
        return [None if one is None else int(one) for one in known]
    return _Asked(lambda row: whole(table, name, row, what))


def _client(columns: _Columns, index: int) -> ClientRound | None:
    name = columns.client[index]
    if name is None or name.lower() in SERVERS:
        return None
    return ClientRound(
        name,
        columns.examples[index],
        columns.accuracy[index],
        columns.seconds[index],
        columns.state[index],
        columns.data_quality[index],
    )


def _wide(columns: _Columns, index: int) -> tuple[ClientRound, ...]:
    """Return the clients whose columns have a value in this row."""
    found: dict[str, dict[str, float]] = {}
    for client, part, cells in columns.wide:
        value = cells[index]
        if value is not None:
            found.setdefault(client, {})[part] = value
    return tuple(_wide_client(client, parts) for client, parts in found.items())


def _wide_client(client: str, parts: dict[str, float]) -> ClientRound:
    raw = parts.get("examples", -1.0)
    examples = int(raw) if 0 <= raw <= MOST_ROUNDS else None
    return ClientRound(client, examples, parts.get("accuracy"), parts.get("seconds"), None, None)
