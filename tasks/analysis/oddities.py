"""Anomalies in a training's reported numbers, by plain comparisons.

No value is quarantined for them; they are reported beside the data.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from tasks.analysis.wording import share_text
from tasks.core.finding import Finding
from tasks.core.severity import Severity
from tasks.core.snapshots import Repeat, Snapshot, Watched
from tasks.core.training import Round, TrainingRun
from tasks.core.window import iso

SHARE_TOLERANCE = 0.005 + 1e-9  # shares are often reported with two digits
# epsilons come from sums of floats
EPSILON_TOLERANCE = 1e-9
MOST_NAMED = 10


def oddities(watched: Watched) -> list[Finding]:
    """Return anomalies of the newest run, its snapshots and its start, worst first."""
    run = watched.current
    if run is None:
        return []
    before = watched.runs[-2] if len(watched.runs) > 1 else None
    snapshots = _of_run(watched.snapshots, run)
    found = [
        *_begun_anew(before, run),
        *_counter(snapshots),
        *_missing_rounds(run),
        *_repeated_rounds(run, watched.repeats),
        *_order(run),
        *_spent_epsilon(run),
        *_remaining_epsilon(snapshots),
        *_plan(run),
        *_totals(snapshots),
        *_budget(snapshots),
        *_history_and_progress(run, snapshots),
    ]
    return sorted(found, key=lambda finding: finding.severity.rank)


def _of_run(snapshots: Sequence[Snapshot], run: TrainingRun) -> list[Snapshot]:
    """Return the snapshots of the run: by its id, else since its first round."""
    began = min((r.started for r in run.rounds if r.started is not None), default=None)
    return [
        s
        for s in snapshots
        if (s.run_id == run.run_id if s.run_id is not None else began is None or s.time >= began)
    ]


def _begun_anew(before: TrainingRun | None, run: TrainingRun) -> Iterator[Finding]:
    if before is None or not before.rounds:
        return
    reached, planned = before.rounds[-1].round, before.total_rounds
    is_cut = planned is not None and reached < before.final_round(planned)
    of_plan = (
        f"{'' if is_cut else ', the last'} of {planned} planned" if planned is not None else ""
    )
    sentence = (
        f"The run {run.run_id} began after {before.run_id} had got to round {reached}{of_plan}."
    )
    evidence = {"run_id": run.run_id, "before": before.run_id, "reached": reached}
    severity = Severity.WARNING if is_cut else Severity.INFO
    yield Finding("run_began", severity, sentence, {**evidence, "planned": planned})


def _counter(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    known = [(s.time, s.current_round) for s in snapshots if s.current_round is not None]
    is_named = any(s.run_id is not None for s in snapshots)
    where = " within one run" if is_named else ", in a service that does not name runs"
    for (earlier, before), (later, after) in pairwise(known):
        if after < before:
            sentence = (
                f"The round counter went back from {before} to {after}{where}, "
                f"between {iso(earlier)} and {iso(later)}."
            )
            evidence = {"before": before, "after": after, "from": iso(earlier), "to": iso(later)}
            yield Finding("counter_went_back", Severity.WARNING, sentence, evidence)


def _missing_rounds(run: TrainingRun) -> Iterator[Finding]:
    """Find holes in the numbers, and rounds before the first one seen."""
    numbers = [r.round for r in run.rounds]
    missing = sorted(set(range(1, max(numbers, default=0))) - set(numbers))
    if not missing:
        return
    is_history = run.rounds[0].started is not None
    why = (
        "its history does not have them"
        if is_history
        else "its service offers no history, so rounds between two polls are not seen"
    )
    count = len(missing)
    sentence = (
        f"{_counted(count, 'round')} of {run.run_id} up to round {numbers[-1]} "
        f"{'is' if count == 1 else 'are'} missing ({_named(missing)}): {why}."
    )
    evidence = {"run_id": run.run_id, "missing": count, "rounds": missing[:MOST_NAMED]}
    severity = Severity.WARNING if is_history else Severity.INFO
    yield Finding("rounds_missing", severity, sentence, evidence, float(count), n=len(numbers))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"


def _named(numbers: Sequence[int]) -> str:
    """Format numbers as ranges, 3, 5 to 8; the first ones of many."""
    cuts = [place for place, (a, b) in enumerate(pairwise(numbers), 1) if b != a + 1]
    ranges = [(numbers[a], numbers[b - 1]) for a, b in pairwise([0, *cuts, len(numbers)])]
    texts = [str(a) if a == b else f"{a} to {b}" for a, b in ranges[:MOST_NAMED]]
    return ", ".join(texts) + (", …" if len(ranges) > MOST_NAMED else "")


def _repeated_rounds(run: TrainingRun, repeats: Sequence[Repeat]) -> Iterator[Finding]:
    mine = [repeat for repeat in repeats if repeat.run_id == run.run_id]
    if not mine:
        return
    numbers = sorted(repeat.round for repeat in mine)
    sentence = (
        f"{_counted(len(mine), 'round')} of {run.run_id} ({_named(numbers)}) ran more than once, or "
        "came after a checkpoint that the run returned to: the newest try counts."
    )
    starts = {str(r.round): [iso(s) for s in r.starts] for r in mine[:MOST_NAMED]}
    evidence = {"run_id": run.run_id, "rounds": numbers[:MOST_NAMED], "starts": starts}
    kind, count = "rounds_repeated", float(len(mine))
    yield Finding(kind, Severity.WARNING, sentence, evidence, count, n=len(run.rounds))


def _order(run: TrainingRun) -> Iterator[Finding]:
    dated = [(r.round, r.started) for r in run.rounds if r.started is not None]
    odd = [after for (_, first), (after, second) in pairwise(dated) if second < first]
    if odd:
        sentence = (
            f"{_counted(len(odd), 'round')} of {run.run_id} started before the one with the "
            f"number below it ({_named(odd)})."
        )
        evidence = {"run_id": run.run_id, "rounds": odd[:MOST_NAMED]}
        yield Finding("rounds_out_of_order", Severity.WARNING, sentence, evidence)


def _spent_epsilon(run: TrainingRun) -> Iterator[Finding]:
    known = [(r.round, r.epsilon) for r in run.rounds if r.epsilon is not None]
    for (earlier, before), (later, after) in pairwise(known):
        if after < before - EPSILON_TOLERANCE:
            sentence = (
                f"The epsilon that {run.run_id} has spent fell from {before:.6g} after round "
                f"{earlier} to {after:.6g} after round {later}: spent epsilon cannot come back."
            )
            numbers = {"rounds": [earlier, later], "spent": [before, after]}
            evidence = {"run_id": run.run_id, **numbers}
            yield Finding("epsilon_grew", Severity.HIGH, sentence, evidence)
    budget = run.privacy.epsilon_budget if run.privacy is not None else None
    if known and budget is not None and known[-1][1] > budget + EPSILON_TOLERANCE:
        number, spent = known[-1]
        sentence = f"After round {number}, {run.run_id} has spent epsilon {spent:.6g} of a budget of {budget:.6g}."
        over = {"run_id": run.run_id, "round": number, "spent": spent, "budget": budget}
        yield Finding("epsilon_overspent", Severity.HIGH, sentence, over, spent - budget)


def _remaining_epsilon(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    known = [(s.time, s.epsilon_remaining) for s in snapshots if s.epsilon_remaining is not None]
    for (earlier, before), (later, after) in pairwise(known):
        if after > before + EPSILON_TOLERANCE:
            sentence = (
                f"The epsilon that is left grew from {before:.6g} to {after:.6g} within one run, "
                f"between {iso(earlier)} and {iso(later)}: spent epsilon cannot come back."
            )
            evidence = {"remaining": [before, after], "from": iso(earlier), "to": iso(later)}
            yield Finding("epsilon_grew", Severity.HIGH, sentence, evidence)
    if known and known[-1][1] < -EPSILON_TOLERANCE:
        time, left = known[-1]
        sentence = (
            f"At {iso(time)} the service said that epsilon {left:.6g} is left: less than none."
        )
        below = {"time": iso(time), "remaining": left}
        yield Finding("epsilon_overspent", Severity.HIGH, sentence, below, -left)


def _plan(run: TrainingRun) -> Iterator[Finding]:
    if run.rounds and run.total_rounds is not None and run.rounds[-1].round > run.total_rounds:
        last = run.rounds[-1].round
        sentence = (
            f"{run.run_id} has got to round {last}, and {run.total_rounds} rounds were planned."
        )
        evidence = {"what": "rounds and plan", "last": last, "planned": run.total_rounds}
        yield Finding("totals_disagree", Severity.WARNING, sentence, evidence)


def _totals(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """Compare the newest snapshot's client numbers with each other."""
    last = snapshots[-1] if snapshots else None
    if last is None or last.total_clients is None:
        return
    total = last.total_clients
    counts = {"participation": last.participating_clients, "progress": last.active_clients}
    for what, active in counts.items():
        if active is not None and active > total:
            sentence = (
                f"The service's {what} reports {active:g} active clients of {total:g} in all."
            )
            yield _disagreement(last, sentence, what=what, active=active, total=total)
    share, active = last.participation_ratio, last.participating_clients
    if share is None or active is None or total <= 0:
        return
    if abs(share - active / total) > SHARE_TOLERANCE:
        sentence = (
            f"The service reports that {share_text(share)} of the clients take part, but {active:g} of "
            f"{total:g} are {share_text(active / total)}."
        )
        evidence = {"share": share, "active": active, "total": total}
        yield _disagreement(last, sentence, what="participation", **evidence)


def _budget(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """Compare the newest snapshot's epsilons with each other."""
    last = snapshots[-1] if snapshots else None
    if last is None:
        return
    left, budget, used = last.epsilon_remaining, last.epsilon_budget, last.budget_utilization
    if left is None or budget is None or budget <= 0:
        return
    if left > budget + EPSILON_TOLERANCE:
        sentence = (
            f"The service reports that epsilon {left:.6g} is left of a budget of {budget:.6g}."
        )
        yield _disagreement(last, sentence, what="budget", remaining=left, budget=budget)
    # a service may stop at nothing left, but have spent more than the budget
    is_floored = left == 0 and used is not None and used >= 1
    if used is not None and not is_floored and abs(used - (1 - left / budget)) > SHARE_TOLERANCE:
        sentence = (
            f"The service reports that {share_text(used)} of the privacy budget is used, but epsilon "
            f"{left:.6g} left of {budget:.6g} makes {share_text(1 - left / budget)}."
        )
        yield _disagreement(last, sentence, what="budget", used=used, remaining=left, budget=budget)


def _history_and_progress(run: TrainingRun, snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """Compare the newest snapshot with the history, which is read after it.

    Only a round that ended before the snapshot's slot can be missing in the history.
    """
    last = snapshots[-1] if snapshots else None
    dated = [r for r in run.rounds if r.started is not None]
    if last is None or last.current_round is None or not dated:
        return
    newest, counted = dated[-1].round, last.current_round
    if counted > newest:
        sentence = f"The service reports that round {counted} is finished, but its history ends with round {newest}."
        yield _disagreement(last, sentence, what="rounds", progress=counted, history=newest)
    ended = [r.round for r in dated if _ended_before(r, last.time)]
    if ended and max(ended) > counted:
        sentence = (
            f"The service reports that round {counted} is the last one, but its history has round "
            f"{max(ended)}, which had ended before."
        )
        yield _disagreement(last, sentence, what="rounds", progress=counted, history=max(ended))
    same = next((r.accuracy for r in dated if r.round == counted), None)
    if same is None or last.accuracy is None:
        return
    if abs(same - last.accuracy) > SHARE_TOLERANCE:
        sentence = (
            f"For round {counted} the service's progress has an accuracy of {share_text(last.accuracy)}, "
            f"and its history {share_text(same)}."
        )
        yield _disagreement(last, sentence, what="accuracy", progress=last.accuracy, history=same)


def _ended_before(each: Round, time: datetime) -> bool:
    # no calendar can hold more seconds
    if each.started is None or each.seconds is None or not 0 <= each.seconds <= 1e9:
        return False
    return each.started + timedelta(seconds=each.seconds) < time


def _disagreement(snapshot: Snapshot, sentence: str, **evidence: Any) -> Finding:
    evidence = {"time": iso(snapshot.time), **evidence}
    return Finding("totals_disagree", Severity.WARNING, sentence, evidence)
