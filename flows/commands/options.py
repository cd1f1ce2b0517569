"""Options shared by several commands."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tasks.core.training import MOST_ROUNDS

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print JSON to stdout, everything else to stderr."),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Show every measurement, also those that are good.")
]
EnvironmentName = Annotated[
    str | None,
    typer.Option(
        "--environment",
        "-e",
        help="Environment of config/environments.yaml; its default when not given.",
    ),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the report.")]
Target = Annotated[
    str | None, typer.Option(help="Level to reach: 0.9, 90%, or a loss such as 0.25.")
]
TotalRounds = Annotated[
    int | None,
    typer.Option(
        help="Number of planned rounds: 400 for rounds 1 to 400 or 0 to 399. "
        "A plan that the service reports wins.",
        min=1,
        max=MOST_ROUNDS,
    ),
]
FailOnOption = Annotated[
    Literal["critical", "high", "warning", "never"],
    typer.Option("--fail-on", help="Least severity of a finding that makes the exit code 1."),
]
MetricTypes = Annotated[
    Literal["all", "performance", "business", "security"],
    typer.Option("--type", help="Type of measurements."),
]
Measurements = Annotated[
    list[str] | None,
    typer.Option("--measurement", help="Only this measurement, of any type; may be repeated."),
]
Start = Annotated[
    str | None, typer.Option(help="Start of the window: ISO 8601 (UTC), or relative such as -24h.")
]
Stop = Annotated[
    str | None, typer.Option(help="Stop, not included: ISO 8601 (UTC), relative, or now (default).")
]
