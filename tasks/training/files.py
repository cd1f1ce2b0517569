"""The training as three JSON files: progress, participation, and privacy budget."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from tasks.core.errors import ReportNotWritten
from tasks.core.finding import Finding
from tasks.core.snapshots import Snapshot, Watched
from tasks.core.training import Round, TrainingRun
from tasks.core.whole_file import replace_json
from tasks.core.window import iso

PROGRESS_FILE, PARTICIPATION_FILE = "fl-progress.json", "fl-participation.json"
PRIVACY_FILE = "fl-privacy.json"
# keys of each file by the service's names, and the part of a snapshot
PROGRESS_KEYS: Mapping[str, str] = {
    "current_round": "current_round",
    "total_rounds": "total_rounds",
    "active_clients": "active_clients",
    "global_accuracy": "accuracy",
    "convergence_rate": "convergence_rate",
}
PARTICIPATION_KEYS: Mapping[str, str] = {
    "total_clients": "total_clients",
    "active_clients": "participating_clients",
    "participation_rate": "participation_ratio",
    "avg_data_quality": "data_quality",
}
PRIVACY_KEYS: Mapping[str, str] = {
    "epsilon_remaining": "epsilon_remaining",
    "delta_used": "delta",
    "privacy_budget_utilization": "budget_utilization",
    "epsilon_budget": "epsilon_budget",
    "noise_multiplier": "noise_multiplier",
    "sampling_rate": "sampling_rate",
}
NUMBERS = ("seconds", "loss", "accuracy", "epsilon")


def documents(
    watched: Watched, findings: Sequence[Finding], environment: str
) -> dict[str, dict[str, Any]]:
    """Return each file's content: shares 0 to 1, times in UTC, null if unknown."""
    run = watched.current
    rounds = run.rounds if run is not None else ()
    about = {"environment": environment, "run_id": _run_id(run, watched)}
    return {
        PROGRESS_FILE: {
            **_totals(watched, PROGRESS_KEYS),
            **about,
            "rounds": [_round(each) for each in rounds],
            "findings": [_finding(each) for each in findings],
        },
        PARTICIPATION_FILE: {
            **_totals(watched, PARTICIPATION_KEYS),
            **about,
            "rounds": [_clients(each) for each in rounds if each.clients is not None],
        },
        PRIVACY_FILE: {
            **_totals(watched, PRIVACY_KEYS),
            **about,
            "rounds": [
                {"round": each.round, "epsilon": _number(each.epsilon)}
                for each in rounds
                if each.epsilon is not None
            ],
        },
    }


def write_documents(folder: Path, contents: Mapping[str, Mapping[str, Any]]) -> tuple[Path, ...]:
    """Write the files into the folder atomically; raise ReportNotWritten."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tuple(replace_json(folder / name, content) for name, content in contents.items())
    except OSError as error:
        raise ReportNotWritten(folder=folder, problem=error.strerror or str(error)) from error


def _run_id(run: TrainingRun | None, watched: Watched) -> str | None:
    if run is not None:
        return run.run_id
    return watched.snapshots[-1].run_id if watched.snapshots else None


def _totals(watched: Watched, keys: Mapping[str, str]) -> dict[str, Any]:
    last = watched.snapshots[-1] if watched.snapshots else None
    known = {field.name: getattr(last, field.name, None) for field in fields(Snapshot)}
    values = {key: _whole(key, known[part]) for key, part in keys.items()}
    return {
        **values,
        "time": iso(last.time) if last is not None else None,
        "not_offered": [key for key, value in values.items() if value is None],
    }


def _whole(key: str, value: Any) -> Any:
    is_count = key.endswith("_clients") and value is not None and float(value).is_integer()
    return int(value) if is_count else value


def _round(each: Round) -> dict[str, Any]:
    odd = [name for name in NUMBERS if _is_odd(getattr(each, name))]
    return {
        "round": each.round,
        "started": iso(each.started) if each.started is not None else None,
        **{name: _number(getattr(each, name)) for name in NUMBERS},
        **({"not_finite": odd} if odd else {}),
    }


def _clients(each: Round) -> dict[str, Any]:
    states = Counter(client.state or "unknown" for client in each.clients or ())
    return {"round": each.round, "drawn": states.total(), "states": dict(sorted(states.items()))}


def _finding(each: Finding) -> dict[str, Any]:
    return {
        "kind": each.kind,
        "severity": each.severity.value,
        "sentence": each.sentence,
        "evidence": dict(each.evidence),
    }


def _is_odd(value: float | None) -> bool:
    return value is not None and not math.isfinite(value)


def _number(value: float | None) -> float | None:
    """Return None for NaN, which JSON lacks."""
    return None if _is_odd(value) else value
