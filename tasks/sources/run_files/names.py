"""Roles of columns, by the usual names."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tasks.core.finding import Finding
from tasks.sources.run_files.metrics import candidates, direction_of, passed_over
from tasks.sources.run_files.table import Table, invalid, is_count
from tasks.sources.run_files.words import (
    ACCURACY,
    CLIENTS,
    FILLERS,
    LOSS,
    PLACES,
    ROUNDS,
    RUNS,
    SINGLE,
    Kind,
    MetricOptions,
    metric_kind,
    normal,
)

ClientPart = Literal["accuracy", "examples", "seconds", "state", "data_quality"]
_CLIENT = re.compile(r"(?:client|site|node|worker|party|silo)_?(\d+|[a-z]\d*)")
_WORDS: dict[str, ClientPart] = {
    **dict.fromkeys(ACCURACY, "accuracy"),
    **dict.fromkeys(("examples", "samples", "n"), "examples"),
    **dict.fromkeys(("seconds", "time", "duration"), "seconds"),
}


@dataclass(frozen=True)
class Roles:
    """Columns by role; `client` has the clients of rows, `wide` those of columns as
    (column, client, part). `kind` is that of the requested metric."""

    round: str | None
    run: str | None
    client: str | None
    accuracy: str | None
    loss: str | None
    kind: Kind | None = None
    single: dict[str, str] = field(default_factory=dict)
    wide: tuple[tuple[str, str, ClientPart], ...] = ()
    findings: tuple[Finding, ...] = ()


def roles_of(table: Table, options: MetricOptions) -> Roles:
    """Assign roles to columns; raise RunFileInvalid where the metric is missing or unclear."""
    metric = options.metric
    words = {name: normal(name) for name in table.columns}
    wide = tuple(found for name in words if (found := _wide(name, words[name])) is not None)
    others = [name for name in words if name not in {column for column, _, _ in wide}]
    accuracies = candidates(table, {name: words[name] for name in others}, ACCURACY)
    losses = candidates(table, {name: words[name] for name in others}, LOSS)
    accuracy, loss, kind = accuracies.best, losses.best, metric_kind(metric)
    findings: list[Finding] = []
    if metric not in (None, "accuracy", "loss"):
        chosen = _column(table, others, str(metric))
        kind, findings = direction_of(table, chosen, options.better)
        accuracy, loss = (accuracy, chosen) if kind == "loss" else (chosen, loss)
    elif metric != "loss":
        is_alone = loss is None and not any(part == "accuracy" for _, _, part in wide)
        accuracy = accuracy or (accuracies.alike[0] if is_alone and accuracies.alike else None)
        findings = list(passed_over(accuracies, accuracy, loss))
    single = [(role, _first(others, words, names)) for role, names in SINGLE.items()]
    roles = Roles(
        round=_counter(table, others, words),
        run=_first(others, words, RUNS),
        client=_first(others, words, CLIENTS),
        accuracy=None if metric == "loss" else accuracy,
        loss=loss,
        kind=kind,
        single={role: column for role, column in single if column is not None},
        wide=wide,
        findings=tuple(findings),
    )
    _check(table, roles, metric, accuracy)
    return roles


def _check(table: Table, roles: Roles, metric: str | None, accuracy: str | None) -> None:
    of_clients = any(part == "accuracy" for _, _, part in roles.wide)
    lacking = {"accuracy": accuracy is None and not of_clients, "loss": roles.loss is None}
    if metric in lacking:
        if lacking[metric]:
            raise _without(table, f"it has no {metric}")
    elif all(lacking.values()):
        raise _without(table, "no column is an accuracy or a loss by its name")


def _without(table: Table, problem: str) -> Exception:
    fix = f"Name the column with --metric; there are {', '.join(table.columns) or 'none'}"
    return invalid(table.about.source, problem, fix)


def _column(table: Table, names: Sequence[str], metric: str) -> str:
    alike = [name for name in names if normal(name) == normal(metric)]
    found = [name for name in names if name == metric] or alike
    if not found:
        raise _without(table, f"there is no column {metric}")
    return found[0]


def _counter(table: Table, names: Sequence[str], words_of: dict[str, str]) -> str | None:
    """Return the column of rounds: the first known one without fractions."""
    known = [name for each in ROUNDS for name in names if words_of[name] == each]
    return next((name for name in known if _is_whole(table, name)), next(iter(known), None))


def _is_whole(table: Table, name: str) -> bool:
    numbers = table.numbers(name)
    if numbers is None:
        return True
    known = [each for each in numbers if each is not None]
    return bool(known) and all(map(is_count, known))


def _first(names: Iterable[str], words_of: dict[str, str], known: Sequence[str]) -> str | None:
    by_name = {words_of[name]: name for name in reversed(list(names))}
    return next((by_name[each] for each in known if each in by_name), None)


def _wide(name: str, text: str) -> tuple[str, str, ClientPart] | None:
    """Parse a column of one client: client_3_accuracy, acc_site_1."""
    found = _CLIENT.search(text)
    if found is None:
        return None
    rest = text[: found.start()] + text[found.end() :]
    words = [word for word in rest.split("_") if word and word not in FILLERS | PLACES.keys()]
    part = _WORDS.get(words[0]) if len(words) == 1 else None
    return None if part is None else (name, found[0].replace("_", "-"), part)
