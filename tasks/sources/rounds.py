"""Rounds in an answer of the history: dated, assigned to runs, and made into rows."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self, TypeGuard

from tasks.core.history import HistoryFact, KnownRun
from tasks.core.json_path import kind_of
from tasks.core.measurement import Measurement
from tasks.core.window import EPOCH, LATEST
from tasks.sources.http import Request
from tasks.sources.json_body import MISSING
from tasks.sources.json_rows import JsonRows
from tasks.sources.json_values import tag_text

LARGEST_NUMBER = 2**53
# counted as drawn only, when a service uses another word
STATES: tuple[HistoryFact, ...] = ("reported", "late", "dropped")
TERMS: tuple[HistoryFact, ...] = ("delta", "sampling_rate", "noise_multiplier", "epsilon_budget")
NUMBERS: tuple[HistoryFact, ...] = ("seconds", "loss", "accuracy", "epsilon")
Named = Sequence[tuple[str, "HistoryRound"]]


@dataclass(frozen=True)
class HistoryRound:
    """One round as the service reports it, its number and its start (UTC)."""

    number: int
    started: datetime
    item: dict[str, Any]

    @classmethod
    def of(cls, item: dict[str, Any]) -> Self | None:
        """Build the round; None without a number or a start that a store can hold."""
        number, started = item.get("round"), _moment(item.get("started"))
        if not _is_number(number) or started is None:
            return None
        is_whole = 0 <= number < LARGEST_NUMBER and float(number).is_integer()
        return cls(int(number), started, item) if is_whole else None


def _moment(found: Any) -> datetime | None:
    """Parse a time in ISO 8601, by default UTC."""
    if not isinstance(found, str):
        return None
    try:
        moment = datetime.fromisoformat(found)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if EPOCH <= moment < LATEST else None


def dated(items: Iterable[dict[str, Any]]) -> list[HistoryRound]:
    """Return rounds with number and start, by start; equal starts keep their order."""
    found = [HistoryRound.of(item) for item in items]
    return sorted((each for each in found if each is not None), key=lambda each: each.started)


def runs_of(
    rounds: Sequence[HistoryRound], run_id: str | None, known: KnownRun | None
) -> list[str]:
    """Return the run of each round: the service's own name, else by the counter.

    A counter that goes back to the first round begins a new run, named by its start; one that goes
    back less is a return to a checkpoint. Rounds that are known already, or that continue the known
    ones, are of the known run.
    """
    if run_id is not None:
        return [run_id] * len(rounds)
    named: list[str] = []
    before = first = -1
    for each in rounds:
        if not named:
            goes_on = known is not None and _belong(rounds, known)
            name = known.run_id if known and goes_on else run_name(each.started)
            first = min(n for n, _ in known.rounds) if known and goes_on else each.number
        elif each.number < before and each.number <= max(1, first):
            name, first = run_name(each.started), each.number
        else:
            name = named[-1]
        named.append(name)
        before = each.number
    return named


def _belong(rounds: Sequence[HistoryRound], known: KnownRun) -> bool:
    """Return whether the first of the rounds are of the known run."""
    number, started = known.last
    if any((each.number, each.started) in known.rounds for each in rounds):
        return True
    return rounds[0].number > number and rounds[0].started > started


def run_name(started: datetime) -> str:
    """Name a run, unnamed by its service, by the start of its first seen round."""
    return f"run-{started:%Y%m%dT%H%M%S.%fZ}"


def count_undated(rows: JsonRows, items: Sequence[dict[str, Any]]) -> None:
    """Count the values of rounds without number or start, which have no time."""
    if not items:
        return
    rows.dropped["undated"] += sum(_is_number(item.get(fact)) for item in items for fact in NUMBERS)
    rows.warnings.append(
        f"{len(items)} rounds are dropped: they have no whole number (round), or no start in "
        "ISO 8601 (started)"
    )


def _is_number(found: Any) -> TypeGuard[float]:
    return isinstance(found, int | float) and not isinstance(found, bool)


def fill_rounds(
    rows: JsonRows, measurement: Measurement, named: Named, body: dict[str, Any]
) -> None:
    """Add one row a round, with the body's common terms of privacy."""
    terms: dict[HistoryFact, Any] = {fact: body.get(fact, MISSING) for fact in TERMS}
    strange: Counter[str] = Counter()
    for run_id, each in named:
        facts: dict[HistoryFact, Any] = {"round": each.number, **terms}
        facts |= {fact: each.item.get(fact, MISSING) for fact in NUMBERS}
        facts |= _of_clients(each.item.get("clients", MISSING), strange)
        facts |= {"not_finite": _not_finite(facts), "superseded": None}
        rows.add(each.started, (run_id,), _fields(measurement, facts))
    for state, count in strange.items():
        rows.warnings.append(
            f"{count} clients have the state {state!r}, which is not one of {', '.join(STATES)}: "
            "they are counted as drawn only"
        )


def _not_finite(facts: dict[HistoryFact, Any]) -> str | None:
    odd = [n for n in NUMBERS if isinstance(facts[n], float) and not math.isfinite(facts[n])]
    return ",".join(odd) or None


def _of_clients(found: Any, strange: Counter[str]) -> dict[HistoryFact, Any]:
    """Return the number of clients, by state, and the mean of their data quality."""
    facts: tuple[HistoryFact, ...] = ("drawn", *STATES, "data_quality")
    if not isinstance(found, list):
        # null means unknown; the measurement of the clients rejects other types
        return dict.fromkeys(facts, MISSING if found is MISSING else None)
    clients = [client for client in found if isinstance(client, dict)]
    states = Counter(str(client.get("state")) for client in clients if client.get("state"))
    strange.update({state: n for state, n in states.items() if state not in STATES})
    qualities = (client.get("data_quality") for client in clients)
    quality: list[float] = [each for each in qualities if _is_number(each) and math.isfinite(each)]
    counts: dict[HistoryFact, Any] = {"drawn": len(clients)}
    has_states = bool(states) or not clients
    counts |= {state: states[state] if has_states else MISSING for state in STATES}
    counts["data_quality"] = sum(quality) / len(quality) if quality else None
    return counts


def fill_clients(rows: JsonRows, measurement: Measurement, named: Named, request: Request) -> None:
    """Add one row a client of each round; raise AnswerInvalid for a bad one."""
    without = 0
    for run_id, each in named:
        clients = each.item.get("clients")
        if clients is None:
            without += 1
            continue
        if not isinstance(clients, list):
            raise request.invalid(
                f"clients of round {each.number} is {kind_of(clients)}, not a list"
            )
        for client in clients:
            name, facts = _client(client, each, request)
            facts |= {"run_id": run_id, "round": each.number, "superseded": None}
            rows.add(each.started, (name,), _fields(measurement, facts))
    if without:
        warning = f"clients: not offered by this service in {without} of {len(named)} rounds"
        rows.warnings.append(warning)


def _client(found: Any, each: HistoryRound, request: Request) -> tuple[str, dict[HistoryFact, Any]]:
    if not isinstance(found, dict):
        raise request.invalid(f"a client of round {each.number} is {kind_of(found)}, not an object")
    try:
        name = tag_text(found.get("id"))
    except TypeError as error:
        raise request.invalid(f"the id of a client of round {each.number} is {error}") from error
    if not name:
        raise request.invalid(f"a client of round {each.number} has no id")
    facts: tuple[HistoryFact, ...] = ("examples", "accuracy", "seconds", "state", "data_quality")
    return name, {fact: found.get(fact, MISSING) for fact in facts}


def _fields(measurement: Measurement, facts: dict[HistoryFact, Any]) -> dict[str, Any]:
    named = measurement.fields.items()
    return {name: facts[spec.history] for name, spec in named if spec.history is not None}
