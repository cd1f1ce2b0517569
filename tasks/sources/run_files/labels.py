"""Columns that distinguish the rows of one round: sets of data, methods, seeds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tasks.core.finding import Finding
from tasks.core.severity import Severity
from tasks.sources.run_files.names import Roles
from tasks.sources.run_files.rows import Row
from tasks.sources.run_files.table import Table, odd, text
from tasks.sources.run_files.words import COUNTERS, FILLERS, PLACES, PLAIN, normal

# columns of numbers that distinguish runs; any column of words may
VARIANTS = {
    "seed", "random_seed", "fold", "cv_fold", "split", "repeat", "repetition", "replica", "rep",
    "lr", "learning_rate", "mu", "alpha", "beta", "batch_size", "num_clients", "method",
    "algorithm", "strategy", "config", "variant",
}  # fmt: skip
DATA = {"data", "dataset", "split", "loader"}
MOST_NAMED = 5
Key = tuple[str | None, str | None, int, str]


def distinguish(
    table: Table, roles: Roles, rows: list[Row]
) -> tuple[list[Row], list[str], list[Finding]]:
    """Return the rows of the set that counts, each with its run; and the columns of runs."""
    labels = _labels(table, roles, rows)
    findings: list[Finding] = []
    for name in list(labels):
        ranks = {cell: _rank(cell) for cell in set(labels[name]) - {None}}
        if None not in ranks.values() and len(set(ranks.values())) > 1:
            findings.append(_set_chosen(table, name, ranks))
            kept = _of_best_set(rows, [ranks.get(cell) for cell in labels.pop(name)])
            chosen = [place for place, row in enumerate(kept) if row is not None]
            rows = [row for row in kept if row is not None]
            labels = {other: [cells[i] for i in chosen] for other, cells in labels.items()}
    rows, columns = _by_variant(rows, labels) if labels else (rows, [])
    return rows, [*([roles.run] if roles.run is not None else []), *columns], findings


def _labels(table: Table, roles: Roles, rows: list[Row]) -> dict[str, list[str | None]]:
    """Return the columns of words, and known ones of numbers, whose values recur."""
    used = {roles.round, roles.run, roles.client, roles.accuracy, roles.loss}
    used |= {*roles.single.values(), *(column for column, _, _ in roles.wide)}
    labels: dict[str, list[str | None]] = {}
    for name in table.columns:
        is_word = table.numbers(name) is None and normal(name) not in COUNTERS
        if name not in used and (is_word or normal(name) in VARIANTS):
            cells = [text(table, name, row.index) for row in rows]
            if 1 < len(set(cells) - {None}) <= max(2, len(cells) // 2):
                labels[name] = cells
    return labels


def _rank(cell: str | None) -> int | None:
    """Return how much a set of data counts, the least number most; None for other words."""
    words = [word for word in normal(cell or "").split("_") if word not in FILLERS | DATA]
    ranks = [PLACES.get(word) for word in words]
    known = [rank for rank in ranks if rank is not None]
    return min(known) if known and len(known) == len(ranks) else None


def _of_best_set(rows: Sequence[Row], ranks: Sequence[int | None]) -> list[Row | None]:
    """Keep accuracy and loss of the best set that has each; of clients, its rows alone."""
    plain = [PLAIN if rank is None else rank for rank in ranks]
    pairs = list(zip(rows, plain, strict=True))
    accuracy = min((rank for row, rank in pairs if row.value is not None), default=PLAIN)
    loss = min((rank for row, rank in pairs if row.facts.loss is not None), default=PLAIN)
    kept: list[Row | None] = []
    for row, rank in pairs:
        facts = replace(
            row.facts,
            accuracy=row.facts.accuracy if rank == accuracy else None,
            loss=row.facts.loss if rank == loss else None,
        )
        of_other = row.client is not None and rank != min(accuracy, loss)
        kept.append(None if of_other else replace(row, facts=facts))
    return kept


def _set_chosen(table: Table, name: str, ranks: Mapping[str | None, int | None]) -> Finding:
    sets = sorted((cell for cell in ranks if cell), key=lambda cell: (ranks[cell] or 0, cell))
    sentence = (
        f"Column {name} of {table.about.source} has {', '.join(sets)}: the rows of {sets[0]} count."
    )
    return odd("set_chosen", sentence, Severity.INFO, column=name, sets=sets)


def _by_variant(
    rows: list[Row], labels: Mapping[str, Sequence[str | None]]
) -> tuple[list[Row], list[str]]:
    """Name runs by the columns that differ between the rows of one round, if it has several."""
    by_key: dict[Key, list[int]] = {}
    for place, row in enumerate(rows):
        for key in keys_of(row):
            by_key.setdefault(key, []).append(place)
    several = [places for places in by_key.values() if len(places) > 1]
    chosen = [
        name
        for name, cells in labels.items()
        if any(len({cells[place] for place in places}) > 1 for places in several)
    ]
    found = [", ".join(f"{name} {labels[name][i]}" for name in chosen) for i in range(len(rows))]
    start = max(1, min(row.facts.round for row in rows))
    firsts: dict[str, int] = {}
    for row, label in zip(rows, found, strict=True):
        firsts[label] = min(row.facts.round, firsts.get(label, row.facts.round))
    # what begins later is a later try of one run
    if not chosen or any(first > start for first in firsts.values()):
        return rows, []
    named = [
        replace(row, run=": ".join(filter(None, (row.run, label))))
        for row, label in zip(rows, found, strict=True)
    ]
    return named, chosen


def keys_of(row: Row) -> Iterator[Key]:
    """Yield a key for each value of the row, by run, client and round."""
    client = None if row.client is None else row.client.id
    for name, value in (("accuracy", row.value), ("loss", row.facts.loss)):
        if value is not None:
            yield row.run, client, row.facts.round, name


def repeated(name: str, rows: Sequence[Row]) -> Iterator[Finding]:
    """Report values of one round, client and metric of which only the last counts."""
    if len({row.facts.round for row in rows}) == len(rows):
        return
    places: dict[Key, list[str]] = {}
    for row in rows:
        for key in keys_of(row):
            places.setdefault(key, []).append(row.place)
    several = {key: each for key, each in places.items() if len(each) > 1}
    if not several:
        return
    rounds = len({key[2] for key in several})
    first = next(iter(several.values()))
    named = ", ".join(first[:MOST_NAMED]) + (", …" if len(first) > MOST_NAMED else "")
    more = f" and {rounds - 1} more rounds" if rounds > 1 else ""
    sentence = f"{name} has several values for a round ({named}{more}): the last one counts."
    yield odd("values_repeated", sentence, rounds=rounds, places=first[:MOST_NAMED])
