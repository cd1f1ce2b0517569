"""Roles of columns, by the usual names."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tasks.sources.run_files.table import Table, invalid

Kind = Literal["accuracy", "loss"]
ClientPart = Literal["accuracy", "examples", "seconds", "state", "data_quality"]

# the first in a file counts; a round comes before an epoch, an epoch before a step
ROUNDS = (
    "server_round", "round", "fl_round", "global_round", "comm_round", "communication_round",
    "round_number", "round_num", "round_idx", "round_id", "rounds", "rnd", "current_round",
    "communication_rounds", "comm_rounds", "epoch", "global_epoch", "epochs", "step",
    "global_step", "iteration", "iter",
)  # fmt: skip
RUNS = ("run_id", "run", "run_name", "run_uuid", "experiment_id", "experiment", "trial_id", "trial", "job_id")  # fmt: skip
CLIENTS = ("client_id", "client", "cid", "site", "site_id", "site_name", "node_id", "node", "partition_id", "client_name")  # fmt: skip
SINGLE: dict[str, tuple[str, ...]] = {
    "epsilon": ("epsilon", "eps", "epsilon_spent", "spent_epsilon", "dp_epsilon", "privacy_epsilon"),
    "epsilon_remaining": ("epsilon_remaining", "remaining_epsilon", "epsilon_left"),
    "epsilon_budget": ("epsilon_budget", "target_epsilon", "privacy_budget", "epsilon_total"),
    "delta": ("delta", "dp_delta", "target_delta"),
    "noise_multiplier": ("noise_multiplier",),
    "sampling_rate": ("sampling_rate", "sample_rate"),
    "seconds": (
        "seconds", "round_seconds", "round_time", "round_time_s", "round_duration", "duration",
        "duration_s", "duration_seconds", "time_s", "time_seconds",
    ),
    "started": ("started", "started_at", "start_time", "timestamp", "wall_time", "datetime", "time"),
    "total_rounds": ("total_rounds", "num_rounds", "max_rounds", "n_rounds"),
    "examples": ("examples", "num_examples", "n_examples", "samples", "num_samples", "n_samples"),
    "state": ("state", "status"),
    "data_quality": ("data_quality", "quality"),
}  # fmt: skip
ACCURACY = {"accuracy", "acc", "top1", "accuracies"}
LOSS = {"loss", "losses"}
LOWER_IS_BETTER = LOSS | {"error", "err", "mse", "mae", "rmse", "nll", "perplexity", "ppl"}
# data that it was measured on: the least number is preferred
PLACES: dict[str, int] = {
    **dict.fromkeys(("centralized", "centralised", "central", "server", "serverapp", "global", "test"), 0),
    **dict.fromkeys(("val", "valid", "validation", "eval", "evaluate", "evaluation", "dev"), 1),
    **dict.fromkeys(("train", "training", "fit", "local"), 4),
}  # fmt: skip
PLAIN = 2
# words without meaning for a column's role
FILLERS = {
    "mean", "avg", "average", "aggregated", "distributed", "federated", "metrics", "metric", "model",
    "percent", "pct", "clientapp", "weighted", "score", "top", "1", "epoch", "round", "losses",
    "history", "s", "set",
}  # fmt: skip
_CLIENT = re.compile(r"(?:client|site|node|worker|party|silo)_?(\d+|[a-z]\d*)")
_WORDS: dict[str, ClientPart] = {
    **dict.fromkeys(ACCURACY, "accuracy"),
    **dict.fromkeys(("examples", "samples", "n"), "examples"),
    **dict.fromkeys(("seconds", "time", "duration"), "seconds"),
}


@dataclass(frozen=True)
class Roles:
    """Columns by role; `client` has the clients of rows, `wide` those of columns as
    (column, client, part)."""

    round: str | None
    run: str | None
    client: str | None
    accuracy: str | None
    loss: str | None
    single: dict[str, str] = field(default_factory=dict)
    wide: tuple[tuple[str, str, ClientPart], ...] = ()


def normal(name: str) -> str:
    """Normalise a name: lower case, words joined by _, percent signs as a word."""
    spaced = re.sub(r"([a-z\d])([A-Z])", r"\1_\2", name.replace("%", " percent "))
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def roles_of(table: Table, metric: str | None) -> Roles:
    """Assign roles to columns, with `wanted` (accuracy, loss or a name) as the metric."""
    words = {name: normal(name) for name in table.columns}
    wide = tuple(found for name in words if (found := _wide(name, words[name])) is not None)
    others = [name for name in words if name not in {column for column, _, _ in wide}]
    chosen = None if metric in (None, "accuracy", "loss") else _column(table, others, str(metric))
    accuracy, loss = _metric(others, words, ACCURACY), _metric(others, words, LOSS)
    if chosen is not None:
        falls = bool(set(words[chosen].split("_")) & LOWER_IS_BETTER)
        accuracy, loss = (accuracy, chosen) if falls else (chosen, loss)
    single = [(role, _first(others, words, names)) for role, names in SINGLE.items()]
    roles = Roles(
        round=_first(others, words, ROUNDS),
        run=_first(others, words, RUNS),
        client=_first(others, words, CLIENTS),
        accuracy=None if metric == "loss" else accuracy,
        loss=loss,
        single={role: column for role, column in single if column is not None},
        wide=wide,
    )
    _check(table, roles, metric, accuracy)
    return roles


def is_percent(name: str) -> bool:
    """Return whether a column's name says percent."""
    return bool({"percent", "pct"} & set(normal(name).split("_")))


def metric_kind(name: str) -> Kind:
    """Return whether more of a metric is better, or less, as for a loss."""
    return "loss" if set(normal(name).split("_")) & LOWER_IS_BETTER else "accuracy"


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


def _first(names: Iterable[str], words_of: dict[str, str], known: Sequence[str]) -> str | None:
    by_name = {words_of[name]: name for name in reversed(list(names))}
    return next((by_name[each] for each in known if each in by_name), None)


def _metric(names: Iterable[str], words_of: dict[str, str], words: set[str]) -> str | None:
    """Return the column of this metric that was measured on the most independent data."""
    ranked = []
    for place, name in enumerate(names):
        parts = set(words_of[name].split("_"))
        if not parts & words or parts - words - set(PLACES) - FILLERS:
            continue
        ranks = [PLACES[part] for part in parts if part in PLACES]
        ranked.append((min(ranks, default=PLAIN), place, name))
    return min(ranked)[2] if ranked else None


def _wide(name: str, text: str) -> tuple[str, str, ClientPart] | None:
    """Parse a column of one client: client_3_accuracy, acc_site_1."""
    found = _CLIENT.search(text)
    if found is None:
        return None
    rest = text[: found.start()] + text[found.end() :]
    words = [word for word in rest.split("_") if word and word not in FILLERS | PLACES.keys()]
    part = _WORDS.get(words[0]) if len(words) == 1 else None
    return None if part is None else (name, found[0].replace("_", "-"), part)
