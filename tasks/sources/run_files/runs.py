"""Training runs from a table: one row a round, or a client and round."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from statistics import median
from typing import TypeVar

from tasks.core.finding import Finding
from tasks.core.returns import in_force
from tasks.core.severity import Severity
from tasks.core.training import PrivacyTerms, Round, TrainingRun
from tasks.sources.run_files.labels import distinguish, repeated
from tasks.sources.run_files.names import Roles, roles_of
from tasks.sources.run_files.oddness import oddness_of, went_back_of
from tasks.sources.run_files.rows import Row, rows_of
from tasks.sources.run_files.shares import in_percent
from tasks.sources.run_files.table import NO_ROUND, RunFile, Table, all_numbers, invalid, odd
from tasks.sources.run_files.words import MetricOptions

Group = tuple[str, list[Row]]
T = TypeVar("T")
PAUSE = 10.0
"""What takes so many times the median is a pause."""
MOST_ANALYSED = 200_000
"""More rounds would take a minute and a gigabyte."""


def runs_of(table: Table, options: MetricOptions) -> RunFile:
    """Return the runs with their metric; raise RunFileInvalid."""
    roles = roles_of(table, options)
    _check_count(table, roles)
    rows = list(rows_of(table, roles, options.unit))
    if not rows:
        raise invalid(table.about.source, *NO_ROUND)
    rows, columns, labelled = distinguish(table, roles, rows)
    groups, findings = _groups(table, columns, rows)
    counted = odd("rounds_counted", "No column is named like a round: each row counts as one.")
    found = [*table.findings, *roles.findings, *labelled]
    found += [*([counted] if roles.round is None else []), *findings]
    runs = []
    for name, members in groups:
        run = _run(table, roles, name, members)
        # a file's total does not apply to one of several runs
        runs.append(run if len(groups) == 1 else replace(run, total_rounds=None))
        found += [*repeated(name, members), *oddness_of(run, members)]
    percent = roles.accuracy is not None and in_percent(table, roles.accuracy, options.unit)
    return RunFile(tuple(runs), tuple(found), percent, roles.kind)


def _check_count(table: Table, roles: Roles) -> None:
    """Check before reading that the rounds can be analysed in seconds.

    Skipping some here would change noise and trend a round, on which the verdict rests.
    """
    rounds = table.numbers(roles.round) if roles.round is not None else range(len(table.places))
    count = 0 if rounds is None else len(set(rounds) - {None})
    if count > MOST_ANALYSED:
        problem = f"it has {count:,} rounds, at most {MOST_ANALYSED:,} are analysed"
        fix = f"Keep one round in {math.ceil(count / MOST_ANALYSED)}"
        raise invalid(table.about.source, problem, fix)


def _groups(table: Table, columns: list[str], rows: list[Row]) -> tuple[list[Group], list[Finding]]:
    """Return the rows in force of each run, in the order in which the runs begin."""
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row.run or table.about.run_id, []).append(row)
    groups: list[Group] = []
    went_back: list[Finding] = []
    restarts: list[str] = []
    for name, members in by_name.items():
        members = _oldest_first(members)
        found = in_force([row.facts.round for row in members], partial(_streams, members))
        many = len(found.runs) > 1
        for place, run in enumerate(found.runs, 1):
            groups.append((f"{name} ({place})" if many else name, [members[i] for i in run]))
        restarts += [members[each.at].place for each in found.returns if each.to_start]
        went_back += [went_back_of(name, members, r) for r in found.returns if not r.to_start]
    if len(groups) == 1:
        return groups, went_back
    how = [f"by column {' and '.join(columns)}"] if len(by_name) > 1 else []
    how += [f"the round counter starts anew at {', '.join(restarts)}"] if restarts else []
    sentence = f"The file holds {len(groups)} runs ({'; '.join(how)}); each is analysed by itself."
    several = odd("several_runs", sentence, Severity.INFO, runs=[name for name, _ in groups])
    return groups, [several, *went_back]


def _oldest_first(rows: list[Row]) -> list[Row]:
    steps = {later.facts.round - row.facts.round for row, later in pairwise(rows)}
    return rows[::-1] if steps and max(steps) <= 0 and min(steps) < 0 else rows


def _streams(rows: Sequence[Row], place: int) -> list[tuple[str | None, str]]:
    """Return what a row has a value of, by client."""
    row = rows[place]
    client = None if row.client is None else row.client.id
    values = {"accuracy": row.value, "loss": row.facts.loss, "clients": row.facts.clients or None}
    return [(client, name) for name, value in values.items() if value is not None]


def _run(table: Table, roles: Roles, name: str, rows: list[Row]) -> TrainingRun:
    by_round: dict[int, list[Row]] = {}
    for row in rows:
        by_round.setdefault(row.facts.round, []).append(row)
    return TrainingRun(
        run_id=name,
        rounds=_timed([_merged(by_round[number]) for number in sorted(by_round)]),
        total_rounds=table.about.total_rounds or _plan(table, roles),
        privacy=table.about.privacy or _terms(table, roles),
        source=table.about.source,
    )


def _timed(rounds: list[Round]) -> tuple[Round, ...]:
    """Fill the seconds of rounds, where none has them, by the times of their neighbours."""
    if any(each.seconds is not None or each.started is None for each in rounds):
        return tuple(rounds)
    lengths = [
        (each.started - before.started).total_seconds() / (each.round - before.round)
        for before, each in pairwise(rounds)
        if each.started is not None and before.started is not None
    ]
    # a pause is no round
    most = PAUSE * median(lengths) if lengths else 0.0
    timed = (
        replace(each, seconds=length) if 0.0 < length <= most else each
        for each, length in zip(rounds[1:], lengths, strict=True)
    )
    return (*rounds[:1], *timed)


def _plan(table: Table, roles: Roles) -> int | None:
    total = _newest(table, roles, "total_rounds")
    return int(total) if total is not None and 0 < total < float("inf") else None


def _terms(table: Table, roles: Roles) -> PrivacyTerms | None:
    """Return the terms by the last row that has each."""
    return PrivacyTerms.of(lambda role: _newest(table, roles, role))


def _newest(table: Table, roles: Roles, role: str) -> float | None:
    name = roles.single.get(role)
    return None if name is None else _last(all_numbers(table, name))


def _merged(rows: Sequence[Row]) -> Round:
    """Merge the rows of one round; of repeated values the last counts."""
    if len(rows) == 1 and rows[0].client is None and not rows[0].facts.clients:
        return rows[0].facts
    own = [row.facts for row in rows if row.client is None]
    clients = [row.client for row in rows if row.client is not None]
    first = rows[0].facts
    merged = Round(
        round=first.round,
        started=_last([row.started for row in own]) or first.started,
        seconds=_last([row.seconds for row in own]),
        loss=_last([row.loss for row in own]),
        accuracy=_last([row.accuracy for row in own]),
        epsilon=_last([row.facts.epsilon for row in rows]),
        clients=tuple(clients) if clients else _last([row.clients for row in own]),
    )
    return _with_means(merged, rows) if clients or merged.clients else merged


def _with_means(merged: Round, rows: Sequence[Row]) -> Round:
    """Fill missing values of the server with means over clients, weighted by examples."""
    of_clients = [(row.facts.loss, row.client.examples) for row in rows if row.client is not None]
    accuracies = [(client.accuracy, client.examples) for client in merged.clients or ()]
    lengths = [c.seconds for c in merged.clients or () if c.seconds is not None]
    return replace(
        merged,
        accuracy=_mean(accuracies) if merged.accuracy is None else merged.accuracy,
        loss=_mean(of_clients) if merged.loss is None else merged.loss,
        seconds=max(lengths, default=None) if merged.seconds is None else merged.seconds,
    )


def _mean(values: Iterable[tuple[float | None, int | None]]) -> float | None:
    known = [(value, weight) for value, weight in values if value is not None]
    if not known:
        return None
    weights = [1 if weight is None else weight for _, weight in known]
    if any(weight is None for _, weight in known) or not sum(weights):
        weights = [1] * len(known)
    weighted = zip(known, weights, strict=True)
    return sum(value * weight for (value, _), weight in weighted) / sum(weights)


def _last(values: Sequence[T | None]) -> T | None:
    return next((each for each in reversed(values) if each is not None), None)
