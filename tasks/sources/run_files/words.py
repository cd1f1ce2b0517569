"""The usual names of columns, and what their words mean."""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["accuracy", "loss"]
Unit = Literal["percent", "ratio"]
Better = Literal["higher", "lower"]

# the first in a file counts; a round comes before an epoch, an epoch before a step
ROUNDS = (
    "server_round", "round", "fl_round", "global_round", "comm_round", "communication_round",
    "round_number", "round_num", "round_idx", "round_id", "rounds", "rnd", "current_round",
    "communication_rounds", "comm_rounds", "epoch", "global_epoch", "epochs", "step",
    "global_step", "iteration", "iter",
)  # fmt: skip
COUNTERS = {*ROUNDS, "batch", "batch_idx", "batch_id", "local_epoch", "local_step", "local_round"}
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
HIGHER_IS_BETTER = ACCURACY | {
    "f1", "auc", "auroc", "precision", "recall", "dice", "iou", "miou", "map", "bleu", "kappa",
    "mcc", "sensitivity", "specificity", "ssim", "r2",
}  # fmt: skip
# words of a column that is about an accuracy, but none
STATISTICS = {
    "std", "sd", "var", "variance", "stderr", "se", "ci", "target", "goal", "delta", "diff", "gap",
    "threshold", "best", "max", "min", "change",
}  # fmt: skip
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
    "history", "s", "set", "sparse", "categorical", "binary", "multiclass", "macro", "micro", "balanced",
}  # fmt: skip


@dataclass(frozen=True)
class MetricOptions:
    """The metric (accuracy, loss or a column), its unit and its direction; None to find it."""

    metric: str | None = None
    unit: Unit | None = None
    better: Better | None = None


def normal(name: str) -> str:
    """Normalise a name: lower case, words joined by _, percent signs as a word."""
    spaced = re.sub(r"([a-z\d])([A-Z])", r"\1_\2", name.replace("%", " percent "))
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def is_percent(name: str) -> bool:
    """Return whether a column's name says percent."""
    return bool({"percent", "pct"} & set(normal(name).split("_")))


def metric_kind(name: str | None) -> Kind | None:
    """Return whether more of a metric is better, or less, as for a loss; None if unknown."""
    words = set(normal(name or "").split("_"))
    if words & LOWER_IS_BETTER:
        return "loss"
    return "accuracy" if words & HIGHER_IS_BETTER else None
