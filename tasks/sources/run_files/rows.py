"""The rows of a table as rounds, or as one client's part of a round."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.core.training import ClientRound, Round
from tasks.sources.run_files.names import Roles
from tasks.sources.run_files.shares import shares_of
from tasks.sources.run_files.table import Table, moment, number, text, whole

SERVERS = {"server", "global", "central", "centralized", "centralised", "aggregated", "all"}
Shares = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class Row:
    """One row of the table; client is None for the server's own."""

    place: str
    run: str | None
    told: Round
    client: ClientRound | None
    remaining: float | None


def rows_of(table: Table, roles: Roles) -> Iterator[Row]:
    """The rows that have a round, in the file's order.

    Raises:
        RunFileInvalid: for a cell that is not what its column is.
    """
    columns = [column for column, _, part in roles.wide if part == "accuracy"]
    columns += [roles.accuracy] if roles.accuracy is not None else []
    shares = {name: shares_of(table, name) for name in columns}
    for index in range(len(table.places)):
        told = index + 1 if roles.round is None else whole(table, roles.round, index, "a round")
        if told is None:
            continue
        yield Row(
            place=table.places[index],
            run=None if roles.run is None else text(table, roles.run, index),
            told=_round(table, roles, shares, index, told),
            client=_client(table, roles, shares, index),
            remaining=_single(table, roles, "epsilon_remaining", index),
        )


def _round(table: Table, roles: Roles, shares: Shares, index: int, told: int) -> Round:
    started = roles.single.get("started")
    return Round(
        round=told,
        started=None if started is None else moment(table.columns[started][index]),
        seconds=_length(table, roles.single.get("seconds"), index),
        loss=None if roles.loss is None else number(table, roles.loss, index),
        accuracy=None if roles.accuracy is None else shares[roles.accuracy][index],
        epsilon=_single(table, roles, "epsilon", index),
        clients=_wide(table, roles, shares, index),
    )


def _client(table: Table, roles: Roles, shares: Shares, index: int) -> ClientRound | None:
    name = None if roles.client is None else text(table, roles.client, index)
    if name is None or name.lower() in SERVERS:
        return None
    examples, state = roles.single.get("examples"), roles.single.get("state")
    return ClientRound(
        id=name,
        examples=None
        if examples is None
        else whole(table, examples, index, "a number of examples"),
        accuracy=None if roles.accuracy is None else shares[roles.accuracy][index],
        seconds=_length(table, roles.single.get("seconds"), index),
        state=None if state is None else text(table, state, index),
        data_quality=_single(table, roles, "data_quality", index),
    )


def _wide(table: Table, roles: Roles, shares: Shares, index: int) -> tuple[ClientRound, ...] | None:
    """The clients whose columns have a value in this row; None when the file has no such columns."""
    found: dict[str, dict[str, float]] = {}
    for column, client, part in roles.wide:
        told = shares[column][index] if part == "accuracy" else number(table, column, index)
        if told is not None:
            found.setdefault(client, {})[part] = told
    if not roles.wide:
        return None
    return tuple(
        ClientRound(
            id=client,
            examples=int(parts["examples"]) if parts.get("examples", -1.0) >= 0 else None,
            accuracy=parts.get("accuracy"),
            seconds=parts.get("seconds"),
            state=None,
            data_quality=None,
        )
        for client, parts in found.items()
    )


def _single(table: Table, roles: Roles, role: str, index: int) -> float | None:
    name = roles.single.get(role)
    return None if name is None else number(table, name, index)


def _length(table: Table, name: str | None, index: int) -> float | None:
    """Seconds; a length below 0 is none."""
    told = None if name is None else number(table, name, index)
    return told if told is not None and told >= 0.0 else None
