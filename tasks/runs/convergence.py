"""Analysis of runs from files beside earlier ones of a folder and the lake."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.analysis.analyse import analyse, compare
from tasks.analysis.comparison import Comparison
from tasks.analysis.curve import Metric
from tasks.analysis.participation import Counts
from tasks.analysis.run_analysis import AnalysisSettings
from tasks.core.catalogue import Catalogue
from tasks.core.errors import FedvitalsError, RunFileInvalid, UsageInvalid
from tasks.core.finding import Finding
from tasks.core.goal import TARGET_FIX, target_of
from tasks.core.settings import Settings
from tasks.core.training import TrainingRun
from tasks.sources.files import NO_OPTIONS, read_file
from tasks.sources.run_files.words import MetricOptions
from tasks.training.companion_files import counts_beside, terms_beside
from tasks.training.convergence import Analysed
from tasks.training.files import PARTICIPATION_FILE, PRIVACY_FILE, PROGRESS_FILE

COMPANIONS = (PRIVACY_FILE, PARTICIPATION_FILE)


@dataclass(frozen=True)
class FileRun:
    """A run and its file; counts are its clients where the file names none, kind is that of
    the requested metric."""

    path: Path
    run: TrainingRun
    findings: tuple[Finding, ...]
    in_percent: bool
    counts: tuple[Counts, ...] = ()
    kind: Metric | None = None


@dataclass(frozen=True)
class ConvergenceOptions:
    """Options: metric is accuracy, loss or a column's name, target as written."""

    metric: str | None = None
    total_rounds: int | None = None
    target: str | None = None


def read_runs_of(paths: Sequence[Path], options: MetricOptions = NO_OPTIONS) -> list[FileRun]:
    """Read the runs of all files in their order; raise RunFileInvalid."""
    found = []
    for path in paths:
        read = read_file(path, options)
        for place, run in enumerate(read.runs):
            terms, of_privacy = terms_beside(path, run)
            counts, of_clients = counts_beside(path, run)
            # a file's warnings go to its first run only
            odd = (*(read.findings if place == 0 else ()), *of_privacy, *of_clients)
            complete = replace(run, privacy=terms)
            found.append(FileRun(path, complete, odd, read.in_percent, counts, read.kind))
    return found


def history_of_folder(
    folder: Path, but: Sequence[Path], options: MetricOptions = NO_OPTIONS
) -> tuple[list[TrainingRun], list[str]]:
    """Read the folder's runs but for the files `but`; add notes on unreadable ones.

    Raises UsageInvalid when it is not a folder, or has no run.
    """
    argument = f"--history {folder}"
    if not folder.is_dir():
        fix = "Name a folder of earlier runs"
        raise UsageInvalid(argument=argument, problem="it is not a folder", fix=fix)
    left_out = {path.resolve() for path in but}
    files = [path for path in _files(folder) if path.resolve() not in left_out]
    runs: list[TrainingRun] = []
    notes = []
    for path in files:
        try:
            found = read_file(path, options).runs
        except RunFileInvalid as error:
            notes.append(f"skipped in the history: {error}")
            continue
        # equal names of files are distinct runs
        about = str(path.relative_to(folder))
        runs += [replace(run, run_id=f"{about}: {run.run_id}") for run in found]
    if not runs:
        bad = f"none of its {len(files)} files is a run ({notes[0]})" if files else "it is empty"
        fix = "Name a folder with files of earlier runs, or leave the option out"
        raise UsageInvalid(argument=argument, problem=bad, fix=fix)
    return runs, notes


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        # companion files of a run's progress are no further runs
        is_companion = path.name in COMPANIONS and path.with_name(PROGRESS_FILE).exists()
        if path.is_file() and not path.name.startswith(".") and not is_companion:
            yield path


def history_of_lake(
    settings: Settings, environment: str | None
) -> tuple[list[TrainingRun], list[str]]:
    """Read the environment's runs in the lake; add a note when it cannot be read."""
    name = settings.environment(environment).name
    if "://" not in settings.lake_url and not Path(settings.lake_url).is_dir():
        return [], []
    from tasks.lake.tables import Lake
    from tasks.training.history import training_runs

    try:
        catalogue = Catalogue.read(settings.config / "metrics.yaml")
        return training_runs(Lake(settings.lake_url), name, catalogue, 0), []
    except FedvitalsError as error:
        return [], [f"the lake's runs were skipped: {error}"]


def analyse_all(
    runs: Sequence[FileRun], history: Sequence[TrainingRun], options: ConvergenceOptions
) -> tuple[list[Analysed], tuple[Comparison, ...]]:
    """Analyse each run beside the history and compare all; raise UsageInvalid."""
    names = [one.run.run_id for one in runs]
    done = []
    for one in runs:
        analysis = analyse(one.run, history, _settings(one, options), one.counts)
        # files distinguish runs of one name
        if names.count(one.run.run_id) > 1:
            analysis = replace(analysis, run_id=f"{one.run.run_id} ({one.path})")
        named = options.metric if options.metric not in ("accuracy", "loss") else None
        done.append(Analysed(one.run, analysis, str(one.path), one.findings, named))
    return done, compare([one.analysis for one in done])


def _settings(one: FileRun, options: ConvergenceOptions) -> AnalysisSettings:
    metric = one.kind
    is_share = metric != "loss" and any(each.accuracy is not None for each in one.run.rounds)
    if options.target is None:
        return AnalysisSettings(metric, options.total_rounds)
    try:
        target = target_of(options.target, is_share, one.in_percent)
    except ValueError as error:
        argument = f"--target {options.target}"
        raise UsageInvalid(argument=argument, problem=str(error), fix=TARGET_FIX) from None
    return AnalysisSettings(metric, options.total_rounds, target)
