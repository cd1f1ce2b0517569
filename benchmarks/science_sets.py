"""Sets of runs for the science: own, synthetic, and any folder of histories."""

from pathlib import Path

import numpy as np

from benchmarks.science_forecasts import Run
from benchmarks.science_runs import RUNS_FILE
from benchmarks.science_synthetic import make
from tasks.analysis.curve import from_arrays


def own_runs() -> list[Run]:
    """Return the demo service's runs, grouped by configuration."""
    import pandas as pd

    frame = pd.read_parquet(RUNS_FILE)
    return [
        Run(
            f"configuration {key[0]}",
            from_arrays(
                f"configuration {key[0]}, seed {key[1]}",
                part["round"].to_numpy(),
                part["accuracy"].to_numpy(dtype=np.float64),
            ),
        )
        for key, part in frame.groupby(["configuration", "seed"])
    ]


def synthetic_runs(first_seed: int, count: int) -> list[Run]:
    """Build synthetic curves, each a group of its own."""
    return [Run(str(index), make(first_seed + index).curve) for index in range(count)]


def folder_runs(folder: Path) -> list[Run]:
    """Return every CSV of the folder (round, loss, accuracy), each a group of its own."""
    import pandas as pd

    found = []
    for path in sorted(folder.glob("*.csv")):
        frame = pd.read_csv(path)
        loss = frame["loss"].to_numpy(dtype=np.float64) if "loss" in frame else None
        accuracy = frame["accuracy"].to_numpy(dtype=np.float64)
        curve = from_arrays(path.stem, frame["round"].to_numpy(), accuracy, loss)
        found.append(Run(path.stem, curve))
    return found
