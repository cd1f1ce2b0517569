"""Fairness of the model across clients: spread and worst decile of their accuracy."""

from dataclasses import dataclass

import numpy as np

from tasks.analysis.client_columns import DROPPED, Columns
from tasks.analysis.curve import Floats, Ints
from tasks.analysis.interval import Interval
from tasks.analysis.robust import student_quantile

WORST_SHARE = 0.1
LEAST_CLIENTS = 3
DRAWS = 400
SEED = 0
RECENT_SHARE = 0.5
LEAST_RECENT = 8
SWEEPS = 30
SETTLED = 1e-7


@dataclass(frozen=True)
class Fairness:
    """Accuracy across clients, weighted by examples if is_weighted, else equally.

    mean, spread (standard deviation), worst_decile (mean of the worst tenth of the examples) and gap
    (best less worst client) are shares, 0 to 1; n is the number of clients with an accuracy.
    """

    mean: Interval
    spread: Interval
    worst_decile: Interval
    gap: float
    worst_client: str
    is_weighted: bool
    n: int


@dataclass(frozen=True, eq=False)
class ClientAccuracies:
    """Clients' accuracies now: estimate, standard error (NaN if unknown), number of
    rounds behind it, and examples."""

    accuracy: Floats
    error: Floats
    rounds: Floats
    examples: Floats


def client_accuracies(table: Columns) -> ClientAccuracies:
    """Estimate clients' accuracy at the last rounds, whatever their own rounds.

    Accuracy grows over the rounds, which would put early clients at a disadvantage: a client's is the
    level of the last rounds plus its distance from its own rounds' level, over the second half of the
    run (the additive model of clients and rounds, fitted by alternating means: Friedman and
    Stuetzle, "Projection pursuit regression", JASA 1981, for backfitting).
    """
    clients = len(table.ids)
    examples = _mean_by(table.client, table.examples, clients)
    recent = max(LEAST_RECENT, int(np.ceil(RECENT_SHARE * len(table.numbers))))
    keep = np.isfinite(table.accuracy) & (table.state != DROPPED)
    keep &= table.round >= len(table.numbers) - recent
    client, at, value = table.client[keep], table.round[keep], table.accuracy[keep]
    if not len(value):
        nothing = np.full(clients, np.nan)
        return ClientAccuracies(nothing, nothing, np.zeros(clients), examples)
    count = np.bincount(client, minlength=clients).astype(np.float64)
    of_client: Floats = np.zeros(clients)
    of_round: Floats = np.zeros(len(table.numbers))
    for _ in range(SWEEPS):
        of_round = np.nan_to_num(_mean_by(at, value - of_client[client], len(of_round)))
        fresh = np.nan_to_num(_mean_by(client, value - of_round[at], clients))
        of_client, before = fresh, of_client
        if float(np.abs(fresh - before).max(initial=0.0)) < SETTLED:
            break
    reported_rounds = np.unique(at)
    level = float(of_round[reported_rounds[-max(1, LEAST_RECENT // 2) :]].mean())
    squares = _mean_by(client, (value - of_client[client] - of_round[at]) ** 2, clients)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan)
    accuracy = np.where(count > 0, np.clip(level + of_client, 0.0, 1.0), np.nan)
    return ClientAccuracies(accuracy, error, count, examples)


def _mean_by(groups: Ints, values: Floats, count: int) -> Floats:
    """Return the mean of the finite values of each group, NaN without any."""
    finite = np.isfinite(values)
    sums = np.bincount(groups[finite], values[finite], count)
    sizes = np.bincount(groups[finite], minlength=count)
    return np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan)


def client_interval(now: ClientAccuracies, index: int, level: float) -> Interval | None:
    """Return a client's accuracy with Student's interval; None below two rounds."""
    if not np.isfinite(now.error[index]) or now.rounds[index] < 2:
        return None
    middle = float(now.accuracy[index])
    reach = float(now.error[index]) * student_quantile(level, float(now.rounds[index]) - 1.0)
    return Interval(middle, max(0.0, middle - reach), min(1.0, middle + reach), level)


def fairness(table: Columns, now: ClientAccuracies, level: float) -> Fairness | None:
    """Return the fairness of a run; None below three clients with an accuracy.

    Spread and worst tenth are the usual measures of fair federated learning (Li, Sanjabi,
    Beirami and Smith, "Fair resource allocation in federated learning", ICLR 2020). Intervals by the
    bootstrap over clients (Efron and Tibshirani, "An introduction to the bootstrap" 1993, 13.3).
    """
    known = np.flatnonzero(np.isfinite(now.accuracy))
    if len(known) < LEAST_CLIENTS:
        return None
    accuracy, examples = now.accuracy[known], now.examples[known]
    is_weighted = bool(np.isfinite(examples).all() and (examples > 0).all())
    weights = examples if is_weighted else np.ones(len(known))
    rng = np.random.default_rng(SEED)
    picks = rng.integers(0, len(known), size=(DRAWS, len(known)))
    draws = np.stack([_figures(accuracy[one], weights[one]) for one in picks])
    whole = _figures(accuracy, weights)
    lows, highs = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    ends = zip(whole, np.minimum(whole, lows), np.maximum(whole, highs), strict=True)
    mean, spread, worst = (Interval(float(e), float(a), float(b), level) for e, a, b in ends)
    return Fairness(
        mean, spread, worst,
        float(accuracy.max() - accuracy.min()), table.ids[known[int(np.argmin(accuracy))]],
        is_weighted, len(known),
    )  # fmt: skip


def _figures(accuracy: Floats, weights: Floats) -> Floats:
    """Return weighted mean, standard deviation, and mean of the worst tenth."""
    total = weights.sum()
    mean = float(accuracy @ weights / total)
    spread = float(np.sqrt((accuracy - mean) ** 2 @ weights / total))
    order = np.argsort(accuracy, kind="stable")
    before = np.cumsum(weights[order]) - weights[order]
    # the client on the border counts with the part that is below it
    part = np.clip(WORST_SHARE * total - before, 0.0, weights[order])
    return np.array([mean, spread, float(accuracy[order] @ part / part.sum())])
