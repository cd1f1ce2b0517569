"""fl-progress.json, as written by flow `federated`, or by the service alone."""

from collections.abc import Mapping
from typing import Any

from tasks.core.training import PrivacyTerms
from tasks.sources.run_files.table import NO_ROUND, About, Table, invalid

SEED_KEYS = {"current_round", "global_accuracy"}


def is_progress(content: Any) -> bool:
    """Return whether this is the progress of a training."""
    return isinstance(content, Mapping) and (
        content.keys() >= SEED_KEYS
        or ("current_round" in content and isinstance(content.get("rounds"), list))
    )


def table_of(content: Mapping[str, Any], file: str, run_id: str) -> Table:
    """Return the rounds, or one of the totals; RunFileInvalid for no list of objects."""
    name = content.get("run_id")
    total = content.get("total_rounds")
    about = About(
        run_id=name if isinstance(name, str) and name else run_id,
        source=file,
        total_rounds=int(total) if isinstance(total, int | float) and 0 < total < 1e9 else None,
        privacy=_terms(content),
    )
    rounds = content.get("rounds") or []
    if not isinstance(rounds, list) or not all(isinstance(one, Mapping) for one in rounds):
        raise invalid(file, "rounds is not a list of objects", "Each has round, loss and accuracy")
    if not rounds and content.get("current_round") is None:
        raise invalid(file, *NO_ROUND)
    if not rounds:
        totals = {"round": content["current_round"], "accuracy": content.get("global_accuracy")}
        return Table(about, {name: [cell] for name, cell in totals.items()}, ["current_round"])
    names = ("round", "started", "seconds", "loss", "accuracy", "epsilon")
    columns = {name: [_cell(one, name) for one in rounds] for name in names}
    return Table(about, columns, [f"rounds[{place}]" for place in range(len(rounds))])


def _cell(one: Mapping[str, Any], name: str) -> Any:
    """Return the value, NaN for one listed apart, since JSON has no NaN."""
    odd = one.get("not_finite")
    return float("nan") if isinstance(odd, list) and name in odd else one.get(name)


def _terms(content: Mapping[str, Any]) -> PrivacyTerms | None:
    def value_of(name: str) -> float | None:
        value = content.get("delta_used" if name == "delta" else name)
        return float(value) if isinstance(value, int | float) else None

    return PrivacyTerms.of(value_of)
