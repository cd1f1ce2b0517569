"""Findings on a run in a file."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tasks.core.finding import Finding
from tasks.core.returns import Return
from tasks.core.severity import Severity
from tasks.core.training import TrainingRun, end_of_values
from tasks.sources.run_files.rows import Row
from tasks.sources.run_files.table import odd

EPSILON_TOLERANCE = 1e-9
MOST_NAMED = 20


def oddness_of(run: TrainingRun, rows: Sequence[Row]) -> Iterator[Finding]:
    """Find missing rounds and a wrong epsilon; rows are in force and in file order."""
    yield from _missing(run)
    yield from _ended(run)
    name = run.run_id
    spent = [(each.round, each.epsilon) for each in run.rounds if each.epsilon is not None]
    for earlier, before, later, after in _steps(spent, -1):
        sentence = f"The epsilon that {name} has spent fell from {before:.6g} after round {earlier} to {after:.6g} after round {later}: spent epsilon cannot come back."
        yield odd(
            "epsilon_grew", sentence, Severity.HIGH, rounds=[earlier, later], spent=[before, after]
        )
    left = [(row.facts.round, row.remaining) for row in rows if row.remaining is not None]
    for earlier, before, later, after in _steps(left, 1):
        sentence = f"The epsilon that is left to {name} grew from {before:.6g} at round {earlier} to {after:.6g} at round {later}: spent epsilon cannot come back."
        yield odd(
            "epsilon_grew",
            sentence,
            Severity.HIGH,
            rounds=[earlier, later],
            remaining=[before, after],
        )


def went_back_of(name: str, rows: Sequence[Row], found: Return) -> Finding:
    """Report a return to a checkpoint; rows are in the order of the file."""
    before, after, place = found.before, found.after, rows[found.at].place
    abandoned = f"round {after}" if before == after else f"rounds {after} to {before}"
    sentence = f"The round counter of {name} goes back from {before} to {after} ({place}): {abandoned} of the earlier try were abandoned and do not count."
    return odd("counter_went_back", sentence, before=before, after=after, place=place)


def _ended(run: TrainingRun) -> Iterator[Finding]:
    numbers = [each.round for each in run.rounds]
    values = {"accuracy": [r.accuracy for r in run.rounds], "loss": [r.loss for r in run.rounds]}
    for metric, cells in values.items():
        end = end_of_values(numbers, [cell is not None for cell in cells])
        if end is not None:
            sentence = (
                f"The {metric} of {run.run_id} ends at round {end}, the run at round {numbers[-1]}."
            )
            yield odd("metric_ended", sentence, metric=metric, end=end, last=numbers[-1])


def _missing(run: TrainingRun) -> Iterator[Finding]:
    numbers = [each.round for each in run.rounds]
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    # a loss evaluated every tenth round, for example
    if len(steps) < 2:
        return
    gaps = [(a + 1, b - 1) for a, b in pairwise(numbers) if b - a > 1]
    count = sum(last - first + 1 for first, last in gaps)
    named = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in gaps[:MOST_NAMED])
    more = ", …" if len(gaps) > MOST_NAMED else ""
    rounds, verb = ("round", "is") if count == 1 else ("rounds", "are")
    sentence = f"{count} {rounds} of {run.run_id} up to round {numbers[-1]} {verb} missing ({named}{more})."
    yield odd("rounds_missing", sentence, Severity.INFO, missing=count)


def _steps(
    points: Sequence[tuple[int, float]], sign: int
) -> Iterator[tuple[int, float, int, float]]:
    """Yield the steps of epsilon in the direction of the sign, beyond rounding."""
    for (earlier, before), (later, after) in pairwise(points):
        if sign * (after - before) > EPSILON_TOLERANCE:
            yield earlier, before, later, after
