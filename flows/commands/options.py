"""Options shared by several commands."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tasks.core.training import MOST_ROUNDS

AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON to stdout, everything else to stderr.")
]
EnvironmentName = Annotated[
    str | None, typer.Option("--environment", "-e", help="Environment of config/environments.yaml.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for written files.")]
Target = Annotated[
    str | None, typer.Option(help="Level to reach, such as 0.9, 90% or, for a loss, 0.25.")
]
TotalRounds = Annotated[
    int | None,
    typer.Option(
        help="Planned number of rounds: 400 for rounds 1 to 400, and for rounds 0 to 399. "
        "For a service that does not report it.",
        min=1,
        max=MOST_ROUNDS,
    ),
]
FailOnOption = Annotated[
    Literal["critical", "high", "warning", "never"],
    typer.Option("--fail-on", help="Lowest severity in the data that sets exit code 1."),
]
MetricTypes = Annotated[
    Literal["all", "performance", "business", "security"],
    typer.Option("--type", help="Which measurements."),
]
Measurements = Annotated[
    list[str] | None, typer.Option("--measurement", help="Only this measurement; may be repeated.")
]
Start = Annotated[str | None, typer.Option(help="ISO 8601 (UTC) or relative, such as -24h.")]
Stop = Annotated[str | None, typer.Option(help="ISO 8601 (UTC), relative, or now.")]
