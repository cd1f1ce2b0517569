"""`fedvitals convergence`: analyse a training's convergence from its files."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.commands.options import AsJson, EnvironmentName, Output, Target, TotalRounds

if TYPE_CHECKING:
    from tasks.analysis.comparison import Comparison
    from tasks.core.training import TrainingRun
    from tasks.sources.run_files.words import MetricOptions
    from tasks.training.convergence import Analysed


Metric = Annotated[
    str | None,
    typer.Option(help="Metric to judge by: accuracy, loss, or a column of the files."),
]
Unit = Annotated[
    Literal["percent", "ratio"] | None,
    typer.Option(help="Unit of the accuracies in the files; by default that of most values."),
]
Better = Annotated[
    Literal["higher", "lower"] | None,
    typer.Option(help="Direction of --metric, where neither its name nor its values show it."),
]
History = Annotated[Path | None, typer.Option(help="Folder with files of earlier runs.")]
NoLake = Annotated[bool, typer.Option("--no-lake", help="Ignore the runs in the lake.")]


def convergence(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files of training runs.")],
    total_rounds: TotalRounds = None,
    target: Target = None,
    metric: Metric = None,
    unit: Unit = None,
    better: Better = None,
    history: History = None,
    no_lake: NoLake = False,
    environment: EnvironmentName = None,
    output: Output = None,
    json: AsJson = False,
) -> None:
    """Report whether a training converges, reaches a target, and should continue.

    It reads CSV (columns round, loss, accuracy, epsilon, client and the like, in any order), JSON
    and JSON lines, fl-progress.json with its companion files, Flower's history, NVFlare's
    cross-site validation and TensorBoard's event files (one, or a folder), and compares runs. Earlier runs, from --history and the lake,
    sharpen the forecast. Exit code 1 when a run has collapsed or diverges, or its epsilon grew.

    Examples:

        fedvitals convergence run.csv

        fedvitals convergence run.csv --total-rounds 200 --target 90% --output report

        fedvitals convergence a.csv b.json --history earlier --no-lake --json
    """
    from tasks.core.addresses import check_output
    from tasks.core.settings import load_settings
    from tasks.reports.convergence.build import write_convergence
    from tasks.runs.convergence import ConvergenceOptions, analyse_all, read_runs_of
    from tasks.sources.run_files.words import MetricOptions

    check_output(output)
    asked = MetricOptions(metric, unit, better)
    runs = read_runs_of(files, asked)
    earlier, notes = _history(history, files, replace(asked, unit=None), no_lake, environment)
    for note in notes:
        print(f"fedvitals: {note}", file=sys.stderr)
    done, comparisons = analyse_all(runs, earlier, ConvergenceOptions(metric, total_rounds, target))
    zone = load_settings().timezone
    _show(done, comparisons, json)
    if output is not None:
        written = write_convergence(done, comparisons, output, notes=notes, zone=zone)
        print(f"report: {written.html}", file=sys.stderr if json else sys.stdout)
    found = [finding for one in done for finding in (*one.findings, *one.analysis.findings)]
    raise typer.Exit(int(any(finding.severity.is_grave for finding in found)))


def _show(done: Sequence["Analysed"], comparisons: Sequence["Comparison"], as_json: bool) -> None:
    from flows.commands.show import print_clean, print_json
    from tasks.reports.convergence.build import document_of

    if as_json:
        print_json(document_of(done, comparisons))
        return
    print_clean("\n\n".join(_text(one) for one in done))
    if comparisons:
        print_clean("\n" + "\n".join(one.sentence for one in comparisons))


def _history(
    folder: Path | None,
    files: Sequence[Path],
    options: "MetricOptions",
    no_lake: bool,
    environment: str | None,
) -> tuple[list["TrainingRun"], list[str]]:
    from tasks.core.settings import load_settings
    from tasks.runs.convergence import history_of_folder, history_of_lake

    runs, notes = ([], []) if folder is None else history_of_folder(folder, files, options)
    if no_lake:
        return runs, notes
    of_lake, more = history_of_lake(load_settings(), environment)
    return [*runs, *of_lake], [*notes, *more]


def _text(one: "Analysed") -> str:
    """Format one run: the verdict first, then the forecast, then the advice."""
    from tasks.reports.convergence.build import section_of

    section = section_of(one)
    lines = [f"{section.source}: {section.name}", section.sentence]
    lines += [_line(number) for number in section.numbers]
    lines += [section.forecast_note or ""]
    parts: list[Any] = [section.time, section.privacy, section.participation]
    lines += [part.sentence for part in parts if part is not None]
    lines += [f"! {finding.sentence}" for finding in section.findings]
    lines += [f"! {note}" for note in section.notes]
    lines += [" ".join(filter(None, (section.advice, section.advice_further)))]
    return "\n".join(line for line in lines if line)


def _line(number: Any) -> str:
    value = number.value or f"– ({number.why_not})"
    return f"  {number.label}: {value}{f', {number.interval}' if number.interval else ''}"
