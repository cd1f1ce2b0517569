"""Participation: drop-outs, stragglers, fairness, data quality, and progress."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.analysis import robust
from tasks.analysis.client_columns import DROPPED, LATE, REPORTED, UNKNOWN, Columns, columns
from tasks.analysis.curve import Curve, Floats
from tasks.analysis.fairness import (
    ClientAccuracies,
    Fairness,
    client_accuracies,
    client_interval,
    fairness,
)
from tasks.analysis.interval import Interval
from tasks.analysis.wording import share_text
from tasks.core.training import Round

LEVEL = 0.8
STRAGGLER_SPREADS = 3.0
LEAST_IN_A_ROUND = 4
LEAST_SPREAD = 0.05  # a round's spread of seconds counts as at least this share of its median
MOST_IN_THE_MAP = 60
SURE = 0.95


@dataclass(frozen=True)
class Counts:
    """The clients of one round as mere counts; None for a value not reported."""

    round: int
    drawn: float | None
    reported: float | None
    data_quality: float | None = None


@dataclass(frozen=True)
class Client:
    """One client over the run. Shares are 0 to 1, seconds and examples medians.

    badness orders the table, worst first: how often it is lost or late, and its accuracy's distance
    below the mean."""

    id: str
    drawn: int
    dropped: int
    late: int
    drop_outs: Interval | None
    stragglers: Interval | None
    accuracy: Interval | None
    accuracy_now: float | None
    examples: float | None
    seconds: float | None
    data_quality: float | None
    badness: float


@dataclass(frozen=True)
class Effect:
    """How progress goes along with participation: an association, not a cause.

    correlation is Spearman's, without what both owe to the round; gain what the metric's gain of a
    round (on the scale 0 to 1) is higher by with one more client.
    """

    correlation: Interval
    gain: Interval | None
    n: int
    sentence: str


@dataclass(frozen=True, eq=False)
class HeatMap:
    """States of shape (clients, rounds): -1 not drawn, else as in client_columns."""

    ids: tuple[str, ...]
    rounds: tuple[int, ...]
    states: NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Participation:
    """Participation in a run; every number that is None has its reason in why_not.

    drop_outs and stragglers are shares of the clients drawn; share_trend is the change of the share
    of clients that report, quality_trend that of the mean data quality, each a round. clients is the
    table, worst first; it is empty when clients are reported as counts only.
    """

    sentence: str
    rounds: int
    clients_seen: int
    a_round: float | None
    drop_outs: Interval | None
    stragglers: Interval | None
    share_trend: Interval | None
    quality_trend: Interval | None
    fairness: Fairness | None
    effect: Effect | None
    clients: tuple[Client, ...]
    heat_map: HeatMap | None
    why_not: Mapping[str, str]


def participation(
    rounds: Sequence[Round],
    curve: Curve | None = None,
    counts: Sequence[Counts] = (),
    level: float = LEVEL,
) -> Participation | None:
    """Analyse participation; counts stand in for unnamed clients; None without either."""
    table = columns(rounds)
    if len(table):
        return _named(table, curve, level)
    if counts:
        return _counted(counts, curve, level)
    return None


def _named(table: Columns, curve: Curve | None, level: float) -> Participation:
    slow = stragglers(table)
    now = client_accuracies(table)
    reported, gone, has_states = table.state != UNKNOWN, table.state == DROPPED, table.has_states
    timed = np.isfinite(table.seconds) | (table.state == LATE)
    drawn, reported = table.of_rounds(), table.of_rounds(table.state == REPORTED)
    numbers = table.numbers.astype(np.float64)
    part = Participation(
        sentence="",
        rounds=len(table.numbers),
        clients_seen=len(table.ids),
        a_round=float(np.mean(drawn)),
        drop_outs=robust.share(float(gone.sum()), float(reported.sum()), level)
        if has_states
        else None,
        stragglers=robust.share(float(slow.sum()), float(timed.sum()), level),
        share_trend=_trend(numbers, reported / np.maximum(drawn, 1.0)) if has_states else None,
        quality_trend=_trend(numbers, _quality(table)),
        fairness=fairness(table, now, level),
        effect=effect(curve, numbers, reported) if has_states else None,
        clients=_clients(table, now, slow, level, has_states),
        heat_map=None,
        why_not={},
    )
    return _reported(replace(part, heat_map=_heat_map(table, part.clients) if has_states else None))


def _counted(counts: Sequence[Counts], curve: Curve | None, level: float) -> Participation:
    def column(name: str) -> Floats:
        return np.array([getattr(one, name) for one in counts], dtype=np.float64)

    numbers, drawn, reported = column("round"), column("drawn"), column("reported")
    both = np.isfinite(drawn) & np.isfinite(reported) & (drawn > 0) & (reported <= drawn)
    active = reported if np.isfinite(reported).any() else drawn
    part = Participation(
        sentence="",
        rounds=len(counts),
        clients_seen=int(np.nanmax(drawn)) if np.isfinite(drawn).any() else 0,
        a_round=float(np.nanmean(active)) if np.isfinite(active).any() else None,
        drop_outs=robust.share(
            float((drawn - reported)[both].sum()), float(drawn[both].sum()), level
        ),
        stragglers=None,
        share_trend=_trend(numbers[both], (reported / np.where(both, drawn, 1.0))[both]),
        quality_trend=_trend(numbers, column("data_quality")),
        fairness=None,
        effect=effect(curve, numbers, active),
        clients=(),
        heat_map=None,
        why_not={"clients": "clients are reported as counts only"},
    )
    return _reported(part)


def stragglers(table: Columns) -> NDArray[np.bool_]:
    """Return which entries were late, by the service or by their seconds.

    Late are those beyond the round's median plus so many of its robust standard deviations (rounds
    with four timed clients and more; Iglewicz and Hoaglin, "How to detect and handle outliers" 1993,
    for median and MAD).
    """
    slow: NDArray[np.bool_] = table.state == LATE
    timed = np.isfinite(table.seconds) & (table.state != DROPPED)
    at, seconds = table.round[timed], table.seconds[timed]
    count = len(table.numbers)
    medians = robust.group_medians(at, seconds, count)
    spread = np.maximum(robust.group_spreads(at, seconds, medians), LEAST_SPREAD * np.abs(medians))
    enough = np.bincount(at, minlength=count) >= LEAST_IN_A_ROUND
    limit = np.where(enough, medians + STRAGGLER_SPREADS * spread, np.inf)
    slow[timed] |= seconds > limit[at]
    return slow


def effect(curve: Curve | None, numbers: Floats, taking_part: Floats) -> Effect | None:
    """Associate rounds' gains with the number of clients, both without their trends.

    By ranks, and by running medians in Theil-Sen's slope; None for too few rounds or no variation.
    """
    if curve is None:
        return None
    # gain of each round over the one right before it
    steps = np.where(np.diff(curve.rounds) == 1, np.diff(curve.values), np.nan)
    gains = dict(zip(curve.rounds[1:].tolist(), steps, strict=True))
    known = np.array([gains.get(int(n), np.nan) for n in numbers])
    correlation = robust.partial_spearman(taking_part, known, numbers, SURE)
    if correlation is None:
        return None
    finite = np.isfinite(known) & np.isfinite(taking_part)
    slope = robust.theil_sen(_detrended(taking_part[finite]), _detrended(known[finite]), SURE)
    sentence = "No association of progress with participation can be distinguished from chance."
    if correlation.low > 0.0 or correlation.high < 0.0:
        word = "more" if correlation.estimate > 0 else "less"
        sentence = (
            f"Rounds with more clients gained {word} (correlation {correlation.estimate:.2f}, "
            f"{correlation.low:.2f} to {correlation.high:.2f}): an association, not a cause."
        )
    return Effect(correlation, slope, int(finite.sum()), sentence)


def _detrended(values: Floats) -> Floats:
    from scipy.ndimage import median_filter

    return np.asarray(values - median_filter(values, size=11, mode="nearest"))


def _trend(numbers: Floats, values: Floats) -> Interval | None:
    return robust.theil_sen(numbers, values, SURE)


def _quality(table: Columns) -> Floats:
    """Return each round's mean data quality, weighted by examples if all have them."""
    known = np.isfinite(table.quality)
    weights = np.where(np.isfinite(table.examples) & (table.examples > 0), table.examples, np.nan)
    weights = weights if np.isfinite(weights[known]).all() else np.ones(len(table))
    count = len(table.numbers)
    sums = np.bincount(table.round[known], (table.quality * weights)[known], count)
    whole = np.bincount(table.round[known], weights[known], count)
    return np.where(whole > 0, sums / np.where(whole > 0, whole, 1.0), np.nan)


def _clients(
    table: Columns, now: ClientAccuracies, slow: NDArray[np.bool_], level: float, has_states: bool
) -> tuple[Client, ...]:
    drawn, late = table.of_clients(), table.of_clients(slow)
    gone, reported = (
        table.of_clients(table.state == DROPPED),
        table.of_clients(table.state != UNKNOWN),
    )
    timed = table.of_clients(np.isfinite(table.seconds) | (table.state == LATE))
    examples, seconds, quality = (
        _medians(table, values) for values in (table.examples, table.seconds, table.quality)
    )
    badness = _badness(gone, late, reported, now)
    order = np.argsort(-badness, kind="stable")
    return tuple(
        Client(
            id=table.ids[i],
            drawn=int(drawn[i]),
            dropped=int(gone[i]),
            late=int(late[i]),
            drop_outs=robust.share(gone[i], reported[i], level) if has_states else None,
            stragglers=robust.share(late[i], timed[i], level),
            accuracy=client_interval(now, i, level),
            accuracy_now=_number(now.accuracy[i]),
            examples=_number(examples[i]),
            seconds=_number(seconds[i]),
            data_quality=_number(quality[i]),
            badness=float(badness[i]),
        )
        for i in order
    )


def _badness(gone: Floats, late: Floats, reported: Floats, now: ClientAccuracies) -> Floats:
    """Return the share of rounds lost or late, shrunk, plus accuracy below the mean."""
    lost = (gone + 0.5 * late) / (reported + 2.0)
    known = np.isfinite(now.accuracy)
    mean = float(now.accuracy[known].mean()) if known.any() else 0.0
    return np.asarray(lost + np.where(known, np.maximum(0.0, mean - now.accuracy), 0.0))


def _medians(table: Columns, values: Floats) -> Floats:
    finite = np.isfinite(values)
    return robust.group_medians(table.client[finite], values[finite], len(table.ids))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _heat_map(table: Columns, clients: Sequence[Client]) -> HeatMap:
    ids = tuple(client.id for client in clients[:MOST_IN_THE_MAP])
    row = np.array([ids.index(name) if name in ids else -1 for name in table.ids])
    kept = row[table.client] >= 0
    states = np.full((len(ids), len(table.numbers)), -1, dtype=np.int8)
    states[row[table.client[kept]], table.round[kept]] = table.state[kept]
    return HeatMap(ids, tuple(int(n) for n in table.numbers), states)


REASONS = {
    "drop_outs": "the clients' states are not reported",
    "stragglers": "no seconds and no late clients are reported",
    "share_trend": "at least 6 rounds with the state of their clients are needed",
    "quality_trend": "at least 6 rounds with a data quality are needed",
    "fairness": "at least 3 clients with their accuracy are needed",
    "effect": "at least 10 rounds with a gain and a number of clients that varies are needed",
}


def _reported(part: Participation) -> Participation:
    """Add the sentence, and the reason of each missing number."""
    missing = {name: why for name, why in REASONS.items() if getattr(part, name) is None}
    texts = []
    if part.a_round is not None:
        texts.append(f"{part.a_round:.3g} clients a round over {part.rounds} rounds")
    if part.drop_outs is not None:
        texts.append(f"{share_text(part.drop_outs.estimate)} drop out")
    if part.stragglers is not None:
        texts.append(f"{share_text(part.stragglers.estimate)} straggle")
    if part.fairness is not None:
        worst, mean = (
            share_text(x.estimate) for x in (part.fairness.worst_decile, part.fairness.mean)
        )
        texts.append(f"the worst tenth is at {worst}, the mean at {mean}")
    text = "; ".join(texts) or "Hardly anything is reported about the clients"
    return replace(part, sentence=text + ".", why_not={**part.why_not, **missing})
