"""The one sentence on a run, for command line, report, Prefect and channels."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tasks.core.severity import Severity
from tasks.core.units import counted

if TYPE_CHECKING:
    from tasks.core.finding import Finding
    from tasks.core.receipt import Receipt


def sentence_of(receipt: "Receipt") -> str:
    """Return what is wrong, worst first, or that all is well."""
    grave, warnings = _findings(receipt)
    if receipt.details is not None:
        parts = [receipt.details.sentence, *_failures(receipt)]
        return "; ".join(reversed(parts) if receipt.status == "failed" else parts)
    wrong = [grave[0], *_more(len(grave) - 1, "problem")] if grave else []
    if receipt.values.quarantined:
        wrong.append(f"{counted(receipt.values.quarantined, 'value')} quarantined")
    undone = [*_failures(receipt), *_left(receipt)]
    parts = [*undone, *wrong] if receipt.status == "failed" else [*wrong, *undone]
    if parts:
        return "; ".join([*parts, *(_more(len(warnings), "warning", "") if warnings else ())])
    if not warnings:
        return f"{_calm(receipt)}: {_moved(receipt)}"
    return f"{counted(len(warnings), 'warning')}: {warnings[0]}"


def worst_first(receipt: "Receipt") -> list["Finding"]:
    """Return the findings from warning on: the worst first, those that still hold before others."""
    found = [each for each in receipt.findings if each.severity is not Severity.INFO]
    return sorted(found, key=lambda one: (one.severity.rank, one.evidence.get("holds") is False))


def reason_of(problem: str, measurement: str) -> str:
    """Return a problem without its fix and the name of its measurement."""
    return problem.removeprefix(f"{measurement}: ").split(". Fix: ")[0].rstrip(".")


def _findings(receipt: "Receipt") -> tuple[list[str], list[str]]:
    found = worst_first(receipt)
    grave = [each.sentence.rstrip(".") for each in found if each.severity.is_grave]
    return grave, [each.sentence.rstrip(".") for each in found[len(grave) :]]


def _more(number: int, noun: str, more: str = "more ") -> Iterator[str]:
    if number:
        yield counted(number, f"{more}{noun}")


def _calm(receipt: "Receipt") -> str:
    if receipt.status == "no_data":
        return "no data"
    # a part that no measurement stands for, such as a plugin or a delivery
    return "all well" if receipt.status == "ok" else "part of the work was not done"


def failures_of(receipt: "Receipt") -> dict[tuple[str, str], list[str]]:
    """Return the measurements that failed or were refused, by state and reason."""
    alike: dict[tuple[str, str], list[str]] = {}
    for line in receipt.measurements:
        if line.state in ("failed", "refused"):
            reason = reason_of((line.problems or ("unknown reason",))[0], line.name)
            alike.setdefault((line.state, reason), []).append(line.name)
    return alike


def _failures(receipt: "Receipt") -> Iterator[str]:
    """Yield the most common reason of failures, and the number of others."""
    failed = {
        why: names for (state, why), names in failures_of(receipt).items() if state == "failed"
    }
    if not failed:
        yield from ["failed"] if receipt.status == "failed" else []
        return
    reason, names = max(failed.items(), key=lambda each: len(each[1]))
    who = names[0] if len(names) == 1 else counted(len(names), "measurement")
    yield f"{'nothing landed' if receipt.status == 'failed' else f'{who} failed'}: {reason}"
    yield from _more(sum(map(len, failed.values())) - len(names), "failed measurement")


def _left(receipt: "Receipt") -> Iterator[str]:
    for name, counts in receipt.sinks.items():
        for number, what in ((counts.pending, "pending for"), (counts.refused, "refused by")):
            if number:
                yield f"{counted(number, 'value')} {what} {name}"
    states = Counter(line.state for line in receipt.measurements)
    unloaded = any(counts.pending for counts in receipt.sinks.values())
    for state in ("pending", "lost"):
        if states[state] and not (state == "pending" and unloaded):
            yield f"{counted(states[state], 'measurement')} {state}"


def _moved(receipt: "Receipt") -> str:
    if receipt.status == "no_data":
        number = len(receipt.measurements)
        return f"{counted(number, 'measurement')} without values" if number else "none was asked"
    landed = receipt.values.landed
    parts = [f"{counted(landed, 'value')} landed"] if landed else []
    loaded = [(name, counts.loaded) for name, counts in receipt.sinks.items() if counts.loaded]
    parts += [f"{number:,} loaded into {name}" for name, number in loaded]
    skipped = ((name, counts.skipped_by_rule) for name, counts in receipt.sinks.items())
    parts += [f"{number:,} skipped by rule for {name}" for name, number in skipped if number]
    empty = sum(line.state == "no_data" for line in receipt.measurements)
    if 2 * empty > len(receipt.measurements):
        parts.append(f"{empty} of {len(receipt.measurements)} measurements without data")
    return ", ".join(parts) or "nothing new"
