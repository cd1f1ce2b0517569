"""The column of a metric: which of several, and whether more of it is better."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from tasks.core.finding import Finding
from tasks.core.severity import Severity
from tasks.core.training import LEAST_VALUES
from tasks.sources.run_files.table import Table, invalid, odd
from tasks.sources.run_files.words import (
    FILLERS,
    PLACES,
    PLAIN,
    STATISTICS,
    Better,
    Kind,
    metric_kind,
    normal,
)

CLEAR = 0.3
"""A column whose last third is so much of its range above the first one rises."""


@dataclass(frozen=True)
class Candidates:
    """Columns of one metric: `known` by their names, those on the most independent data first,
    and others that look `alike`. `best` is the first with enough values for a verdict."""

    known: tuple[str, ...]
    alike: tuple[str, ...]
    best: str | None
    counts: Mapping[str, int]


def candidates(table: Table, words_of: Mapping[str, str], words: set[str]) -> Candidates:
    """Return the columns of this metric by the words of their names."""
    ranked, alike = [], []
    for place, (name, text) in enumerate(words_of.items()):
        parts = set(text.split("_"))
        if not parts & words or parts & STATISTICS:
            continue
        if parts - words - set(PLACES) - FILLERS:
            alike.append(name)
            continue
        ranked.append((_rank(text), place, name))
    known = tuple(name for _, _, name in sorted(ranked))
    counts = {name: _count(table, name) for name in (*known, *alike)}
    enough = (name for name in known if counts[name] >= LEAST_VALUES)
    return Candidates(known, tuple(alike), next(enough, next(iter(known), None)), counts)


def _rank(text: str) -> int:
    return min((PLACES[part] for part in text.split("_") if part in PLACES), default=PLAIN)


def _count(table: Table, name: str) -> int:
    numbers = table.numbers(name)
    cells = table.columns[name] if numbers is None else numbers
    return sum(cell is not None and cell == cell for cell in cells)


def passed_over(found: Candidates, accuracy: str | None, loss: str | None) -> Iterator[Finding]:
    """Report columns that look like an accuracy, or have more values, and are not judged."""
    judged = accuracy or loss
    if judged is None:
        return
    counts, mine = found.counts, found.counts.get(judged, 0)
    others = [name for name in found.alike if name != judged]
    # that the training has more values than the test is usual
    tests = [name for name in found.known if name != judged and _rank(normal(name)) <= PLAIN]
    others += [name for name in tests if counts[name] > mine or name == found.known[0]]
    if not others:
        return
    named = ", ".join(f"{name} ({counts[name]} values)" for name in others)
    few = f" ({mine} values)" if judged in counts else ""
    verb = "looks like an accuracy" if len(others) == 1 else "look like accuracies"
    sentence = (
        f"Judged by {judged}{few}; {named} {verb} too. To judge by another: --metric {others[0]}."
    )
    yield odd("accuracy_passed_over", sentence, Severity.INFO, judged=judged, others=others)


def direction_of(table: Table, name: str, better: Better | None) -> tuple[Kind, list[Finding]]:
    """Return whether more or less of a column is better: as stated, by its name or its values.

    Raises RunFileInvalid where none of these shows it.
    """
    if better is not None:
        return ("loss" if better == "lower" else "accuracy"), []
    kind = metric_kind(name)
    if kind is not None:
        return kind, []
    values = [each for each in table.numbers(name) or () if each is not None and each == each]
    third = max(1, len(values) // 3)
    spread = max(values, default=0.0) - min(values, default=0.0)
    step = median(values[-third:]) - median(values[:third]) if len(values) > 1 else 0.0
    if not spread or abs(step) < CLEAR * spread:
        problem = f"neither the name nor the values of {name} show whether more or less is better"
        raise invalid(
            table.about.source, problem, "State it with --better higher or --better lower"
        )
    goes, kind = ("rises", "accuracy") if step > 0.0 else ("falls", "loss")
    more, other = ("More", "lower") if step > 0.0 else ("Less", "higher")
    sentence = f"{more} of {name} counts as better, since it {goes} over the run; otherwise state --better {other}."
    return kind, [odd("direction_by_values", sentence, Severity.INFO, column=name, better=kind)]
