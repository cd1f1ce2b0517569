"""Companion files of fl-progress.json: privacy and participation of its run."""

from codecs import BOM_UTF8
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from tasks.analysis.client_columns import DROPPED, STATES
from tasks.analysis.participation import Counts
from tasks.core.finding import Finding
from tasks.core.outside import check_size
from tasks.core.severity import Severity
from tasks.core.training import PrivacyTerms, TrainingRun
from tasks.training.files import PARTICIPATION_FILE, PRIVACY_FILE, PROGRESS_FILE

MOST_BYTES, MOST_VALUES = 16 * 1024**2, 500_000
Reported = Annotated[float | None, Field(allow_inf_nan=False)]


class _Twin(BaseModel):
    run_id: str | None = None


class _Privacy(_Twin):
    epsilon_remaining: Reported = None
    delta: Reported = Field(None, alias="delta_used")
    epsilon_budget: Reported = None
    noise_multiplier: Reported = None
    sampling_rate: Reported = None


class _Drawn(BaseModel):
    round: int
    drawn: int = Field(ge=0)
    states: dict[str, Annotated[int, Field(ge=0)]] = {}


class _Participation(_Twin):
    total_clients: Reported = None
    active_clients: Reported = None
    avg_data_quality: Reported = None
    rounds: tuple[_Drawn, ...] = ()


NO_TERMS = PrivacyTerms(None, None, None, None, None)
Content = TypeVar("Content", bound=_Twin)


class _SkippedError(Exception):
    """The reason why a companion file is skipped."""


def first_terms(*sources: object) -> PrivacyTerms:
    """Take each of the terms from the first source that has it."""
    names = [part.name for part in fields(PrivacyTerms)]
    found = {name: [getattr(source, name, None) for source in sources] for name in names}
    known = {n: next((v for v in values if v is not None), None) for n, values in found.items()}
    return PrivacyTerms(**known)


def terms_beside(path: Path, run: TrainingRun) -> tuple[PrivacyTerms | None, list[Finding]]:
    """Return the run's privacy terms, overridden by fl-privacy.json, and a finding."""
    companion, findings = _beside(path, PRIVACY_FILE, run, _Privacy)
    return (run.privacy if companion is None else first_terms(companion, run.privacy)), findings


def counts_beside(path: Path, run: TrainingRun) -> tuple[tuple[Counts, ...], list[Finding]]:
    """Return each round's clients by fl-participation.json, or totals at the last."""
    companion, findings = _beside(path, PARTICIPATION_FILE, run, _Participation)
    if companion is None:
        return (), findings
    if companion.rounds:
        return tuple(map(_counts, companion.rounds)), findings
    totals = (companion.total_clients, companion.active_clients, companion.avg_data_quality)
    if totals == (None, None, None) or not run.rounds:
        return (), findings
    return (Counts(run.rounds[-1].round, *totals),), findings


def _counts(drawn: _Drawn) -> Counts:
    """Count clients: a late one has not dropped out, one of unknown state may have."""
    states = [(STATES.get(word.lower()), count) for word, count in drawn.states.items()]
    lost = sum(count for state, count in states if state == DROPPED)
    is_known = sum(count for state, count in states if state is not None) == drawn.drawn
    return Counts(drawn.round, drawn.drawn, drawn.drawn - lost if is_known else None)


def _beside(
    path: Path, name: str, run: TrainingRun, model: type[Content]
) -> tuple[Content | None, list[Finding]]:
    companion = path.with_name(name)
    if path.name != PROGRESS_FILE or not companion.exists():
        return None, []
    try:
        content = _read(companion, model)
        if (content.run_id or path.stem) != run.run_id:
            raise _SkippedError(f"it belongs to the run {content.run_id}")
    except _SkippedError as why:
        sentence = f"{name} beside it was skipped: {why}."
        return None, [
            Finding("companion_skipped", Severity.WARNING, sentence, {"file": str(companion)})
        ]
    sentence = f"{name} beside it was read as well."
    return content, [Finding("companion_read", Severity.INFO, sentence, {"file": str(companion)})]


def _read(file: Path, model: type[Content]) -> Content:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise _SkippedError("it is too large")
        content = file.read_bytes().removeprefix(BOM_UTF8)
        check_size(content, most=MOST_VALUES)
        return model.model_validate_json(content)
    except OSError as error:
        raise _SkippedError(error.strerror or str(error)) from error
    except ValidationError as error:
        raise _SkippedError(_problem(error)) from error
    except ValueError as error:
        raise _SkippedError(str(error)) from error


def _problem(error: ValidationError) -> str:
    detail: Any = error.errors()[0]
    where = ".".join(map(str, detail["loc"]))
    return f"{where}: {detail['msg']}" if where else detail["msg"]
