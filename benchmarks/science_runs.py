"""The demo service's own FedAvg runs, on which the science is measured.

`python -m benchmarks.science_runs`: trains 30 settings times 8 seeds with the federation code of
the demo service (one process, some 15 minutes) and writes benchmarks/data/fedavg_runs.parquet:
a row a round with configuration (number), seed, round, loss, accuracy, epsilon and seconds.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deployments.services.fl_server.federation import run
from deployments.services.fl_server.settings import FederationSettings

if TYPE_CHECKING:
    import pandas as pd

RUNS_FILE = Path(__file__).parent / "data" / "fedavg_runs.parquet"
CONFIGURATIONS = 30
SEEDS = 8
DESIGN_SEED = 20_240_301
# the budget must not end a run: its length is computed from finished runs
NO_BUDGET = 1e6
CHOICES: dict[str, tuple[float, ...]] = {
    "clients": (60, 100, 200, 300),
    "rounds": (40, 60, 80, 100),
    "label_concentration": (0.1, 0.5, 5.0),
    "sampling_rate": (0.2, 0.4, 0.6),
    "dropout_rate": (0.0, 0.06, 0.2),
    "local_steps": (1, 3, 5),
    "learning_rate": (0.05, 0.2, 0.5, 2.0),
    "clip_norm": (0.3, 1.0, 3.0),
    "noise_multiplier": (0.6, 1.1, 2.2, 4.0),
}
WHOLE = ("clients", "rounds", "local_steps")


@dataclass(frozen=True)
class Design:
    """The settings of one configuration, without the seed."""

    number: int
    settings: dict[str, float]

    def seeded(self, seed: int) -> FederationSettings:
        """Return these settings for one run."""
        whole: dict[str, Any] = {
            name: int(value) if name in WHOLE else value for name, value in self.settings.items()
        }
        return FederationSettings(
            seed=1000 * self.number + seed, round_seconds=0, epsilon_budget=NO_BUDGET, **whole
        )


def designs() -> list[Design]:
    """Return the configurations: each setting drawn evenly, by a fixed seed."""
    rng = np.random.default_rng(DESIGN_SEED)
    columns = {}
    for name, choices in CHOICES.items():
        evenly = np.resize(np.array(choices), CONFIGURATIONS)
        columns[name] = rng.permutation(evenly)
    return [
        Design(number, {name: float(column[number]) for name, column in columns.items()})
        for number in range(CONFIGURATIONS)
    ]


def rows(design: Design, seed: int) -> list[dict[str, float]]:
    """Run one design, a row a round."""
    return [
        {
            "configuration": design.number,
            "seed": seed,
            "round": result.round,
            "loss": result.loss,
            "accuracy": result.accuracy,
            "epsilon": result.epsilon,
            "seconds": result.seconds,
        }
        for result in run(design.seeded(seed))
    ]


def frame(rows_of_runs: list[dict[str, float]]) -> "pd.DataFrame":
    """Return the rows for the file: small types, in order."""
    import pandas as pd

    kept = pd.DataFrame(rows_of_runs).astype("float32")
    whole = {name: "int16" for name in ("configuration", "seed", "round")}
    return kept.astype(whole).sort_values(["configuration", "seed", "round"], ignore_index=True)


def main() -> None:
    """Train all runs and write the file anew."""
    found: list[dict[str, float]] = []
    # seeds in the outer loop, so that an interrupted run has some of each configuration
    for seed in range(SEEDS):
        for design in designs():
            found.extend(rows(design, seed))
        print(f"seed {seed + 1} of {SEEDS} done", file=sys.stderr)
        RUNS_FILE.parent.mkdir(exist_ok=True)
        frame(found).to_parquet(RUNS_FILE, compression="zstd", index=False)


if __name__ == "__main__":
    main()
