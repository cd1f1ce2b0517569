"""Trainings read back from the lake: a service's runs, and its state at each poll."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from operator import itemgetter
from typing import Any

from tasks.core.catalogue import Catalogue
from tasks.core.history import CLIENT_TAGS, ROUND_TAGS
from tasks.core.measurement import Measurement
from tasks.core.returns import in_force
from tasks.core.snapshots import Repeat, Snapshot, Watched
from tasks.core.training import ClientRound, PrivacyTerms, Round, TrainingRun
from tasks.core.window import EPOCH, Window
from tasks.lake.tables import Lake
from tasks.training.companion_files import NO_TERMS, first_terms
from tasks.training.files import NUMBERS

OF_HISTORY, OF_PROGRESS = "lake: history", "lake: progress"
# measurements with snapshots as rows, by the catalogue's names
SNAPSHOTS = ("fl_progress", "fl_participation", "fl_privacy")
# parts of a snapshot that differ in name from their field
PARTS: Mapping[tuple[str, str], str] = {
    ("fl_progress", "completed_rounds"): "current_round",
    ("fl_progress", "planned_rounds"): "total_rounds",
    ("fl_progress", "accuracy_ratio"): "accuracy",
    ("fl_participation", "active_clients"): "participating_clients",
    ("fl_participation", "data_quality_ratio"): "data_quality",
    ("fl_privacy", "delta_used"): "delta",
    ("fl_privacy", "sampling_ratio"): "sampling_rate",
}
KNOWN_PARTS = frozenset(part.name for part in fields(Snapshot)) - {"time"}
WHOLE = ("current_round", "total_rounds")
EVER = Window(EPOCH, EPOCH + timedelta(days=292 * 365))
MOMENT = timedelta(microseconds=1)
Row = dict[str, Any]


def training_runs(
    lake: Lake, environment: str, catalogue: Catalogue, runs_with_clients: int = 1
) -> list[TrainingRun]:
    """Read all runs of the environment, by the start of their first round.

    Of a round that ran twice in one run the later start counts. Only the newest `runs_with_clients`
    have their clients, by far the most rows. A run whose service offers no history has the rounds
    seen by polls, without start or loss (source "lake: progress").
    """
    return list(watched(lake, environment, catalogue, runs_with_clients).runs)


def watched(
    lake: Lake, environment: str, catalogue: Catalogue, runs_with_clients: int = 1
) -> Watched:
    """Read runs as training_runs does, all snapshots, and the rounds that ran twice."""
    snapshots = _snapshots(lake, environment, catalogue)
    rounds, clients = _measurement(catalogue, ROUND_TAGS), _measurement(catalogue, CLIENT_TAGS)
    by_run = [] if rounds is None else list(_by_run(_reported(lake, environment, rounds, EVER)))
    history = _completed([_run(rows) for rows in by_run], snapshots)
    begun = [(_began(run), run) for run in history]
    begun += _seen_in_passing(snapshots, history)
    runs = [run for _, run in sorted(begun, key=lambda each: each[0])]
    if clients is not None and runs_with_clients > 0:
        newest = runs[-runs_with_clients:]
        runs[-runs_with_clients:] = [_with_clients(r, lake, environment, clients) for r in newest]
    repeats = tuple(repeat for rows in by_run for repeat in _repeats(rows))
    return Watched(tuple(runs), tuple(snapshots), repeats)


def _measurement(catalogue: Catalogue, tags: tuple[str, ...]) -> Measurement | None:
    found = (m for m in catalogue.values() if m.field_of("round") and m.tags == tags)
    return next(found, None)


def _reported(
    lake: Lake, environment: str, measurement: Measurement, window: Window
) -> Iterator[Row]:
    """Yield each landed row by facts, with its time and its tags; None for null."""
    names = {**{tag: tag for tag in measurement.tags}}
    names |= {spec.history: n for n, spec in measurement.fields.items() if spec.history is not None}
    return _rows(lake, environment, measurement, window, names)


def _rows(
    lake: Lake, environment: str, measurement: Measurement, window: Window, names: Mapping[str, str]
) -> Iterator[Row]:
    frame = lake.read(measurement, environment, window)
    columns = [frame[column].astype("object").tolist() for column in names.values()]
    for time, *cells in zip(frame["time"], *columns, strict=True):
        yield {"time": _moment(time), **dict(zip(names, map(_plain, cells), strict=True))}


def _moment(time: Any) -> datetime:
    moment: datetime = time.to_pydatetime()
    return moment.astimezone(UTC)


def _plain(value: Any) -> Any:
    """Return the value as a Python object, None for any kind of null."""
    # pandas has three kinds; NaN is the one that is a float
    is_reported = isinstance(value, str | int | float) and value == value
    return value if is_reported else None


def _by_run(rows: Iterable[Row]) -> list[list[Row]]:
    runs: dict[str, list[Row]] = {}
    for row in sorted(rows, key=itemgetter("time")):
        if row["round"] is not None and row["run_id"] is not None:
            runs.setdefault(row["run_id"], []).append(row)
    return list(runs.values())


def _run(rows: Sequence[Row]) -> TrainingRun:
    found = in_force([row["round"] for row in rows])
    last = {rows[place]["round"]: rows[place] for place in found.runs[-1]}
    return TrainingRun(
        run_id=rows[0]["run_id"],
        rounds=tuple(_round(last[number]) for number in sorted(last)),
        total_rounds=None,
        privacy=_terms(rows[-1]),
        source=OF_HISTORY,
    )


def _round(row: Row) -> Round:
    odd = set((row.get("not_finite") or "").split(","))
    numbers = {fact: math.nan if fact in odd else row.get(fact) for fact in NUMBERS}
    return Round(round=row["round"], started=row["time"], clients=None, **numbers)


def _terms(row: Row) -> PrivacyTerms | None:
    terms = PrivacyTerms(**{part.name: row.get(part.name) for part in fields(PrivacyTerms)})
    return None if terms == NO_TERMS else terms


def _repeats(rows: Sequence[Row]) -> Iterator[Repeat]:
    starts: dict[int, list[datetime]] = {}
    for row in rows:
        starts.setdefault(row["round"], []).append(row["time"])
    kept = {rows[place]["round"] for place in in_force([row["round"] for row in rows]).runs[-1]}
    for number, times in sorted(starts.items()):
        if len(times) > 1 or number not in kept:
            yield Repeat(rows[0]["run_id"], number, tuple(times))


def _began(run: TrainingRun) -> datetime:
    return min((r.started for r in run.rounds if r.started is not None), default=EPOCH)


def _completed(runs: list[TrainingRun], snapshots: Sequence[Snapshot]) -> list[TrainingRun]:
    """Add to runs the facts of snapshots alone: the plan, and the remaining budget."""
    starts = [_began(run) for run in runs] + [EVER.stop]
    return [
        _complete(run, [s for s in snapshots if is_about(s, run, start, stop)])
        for run, (start, stop) in zip(runs, pairwise(starts), strict=True)
    ]


def is_about(snapshot: Snapshot, run: TrainingRun, start: datetime, stop: datetime) -> bool:
    """Return whether the snapshot is of the run, which lasted from start to stop."""
    if snapshot.run_id is not None and run.source == OF_HISTORY:
        return snapshot.run_id == run.run_id
    return start <= snapshot.time < stop


def _complete(run: TrainingRun, about: Sequence[Snapshot]) -> TrainingRun:
    known = [s for s in about if s.epsilon_remaining is not None or s.epsilon_budget is not None]
    planned = [s.total_rounds for s in about if s.total_rounds is not None]
    return replace(
        run,
        total_rounds=planned[-1] if planned else None,
        privacy=first_terms(run.privacy, known[-1]) if known else run.privacy,
    )


def _with_clients(
    run: TrainingRun, lake: Lake, environment: str, measurement: Measurement
) -> TrainingRun:
    starts = [r.started for r in run.rounds if r.started is not None]
    if not starts:
        return run
    window = Window(min(starts), max(starts) + MOMENT)
    found: dict[tuple[int, datetime], list[ClientRound]] = {}
    for row in _reported(lake, environment, measurement, window):
        if row["run_id"] == run.run_id and row["round"] is not None:
            found.setdefault((row["round"], row["time"]), []).append(_client(row))
    if not found:
        return run
    rounds = (
        replace(r, clients=tuple(found.get((r.round, r.started), ()))) if r.started else r
        for r in run.rounds
    )
    return replace(run, rounds=tuple(rounds))


def _client(row: Row) -> ClientRound:
    examples = row.get("examples")
    return ClientRound(
        id=row["client"],
        examples=None if examples is None else int(examples),
        **{fact: row.get(fact) for fact in ("accuracy", "seconds", "state", "data_quality")},
    )


def _snapshots(lake: Lake, environment: str, catalogue: Catalogue) -> list[Snapshot]:
    slots: dict[datetime, Row] = {}
    for entry in (catalogue[name] for name in SNAPSHOTS if name in catalogue):
        names = {PARTS.get((entry.name, name), name): name for name in entry.fields}
        known = {part: name for part, name in names.items() if part in KNOWN_PARTS}
        for row in _rows(lake, environment, entry, EVER, known):
            slots.setdefault(row.pop("time"), {}).update(row)
    return [_snapshot(time, slots[time]) for time in sorted(slots)]


def _snapshot(time: datetime, facts: Row) -> Snapshot:
    whole = {part: int(facts[part]) for part in WHOLE if facts.get(part) is not None}
    return Snapshot(time=time, **{**facts, **whole})


def _seen_in_passing(
    snapshots: Sequence[Snapshot], runs: Sequence[TrainingRun]
) -> list[tuple[datetime, TrainingRun]]:
    """Make runs of the rounds that polls saw; a falling counter begins a new run."""
    named = {run.run_id for run in runs}
    began = _began(runs[0]) if runs else EVER.stop
    groups: list[list[Snapshot]] = []
    for snapshot in snapshots:
        if snapshot.current_round is None or _has_history(snapshot, named, began):
            continue
        if groups and _goes_on(groups[-1][-1], snapshot):
            groups[-1].append(snapshot)
        else:
            groups.append([snapshot])
    return [(group[0].time, run) for group in groups if (run := _run_of(group)).rounds]


def _has_history(snapshot: Snapshot, named: set[str], began: datetime) -> bool:
    return snapshot.run_id in named if snapshot.run_id is not None else snapshot.time >= began


def _goes_on(before: Snapshot, after: Snapshot) -> bool:
    if before.run_id is not None and after.run_id is not None:
        return before.run_id == after.run_id
    return (after.current_round or 0) >= (before.current_round or 0)


def _run_of(group: Sequence[Snapshot]) -> TrainingRun:
    seen = {s.current_round: s for s in group if s.current_round}
    run = TrainingRun(
        run_id=next((s.run_id for s in group if s.run_id), f"run-{group[0].time:%Y%m%dT%H%M%SZ}"),
        rounds=tuple(
            Round(number, None, None, None, seen[number].accuracy, None, None)
            for number in sorted(seen)
        ),
        total_rounds=None,
        privacy=None,
        source=OF_PROGRESS,
    )
    return _complete(run, group)
