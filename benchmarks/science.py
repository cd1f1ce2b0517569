"""Quality of verdicts and forecasts: the tables of docs/science.md.

`python -m benchmarks.science [--json] [--histories DIR] [--every N] [--curves N] [--write]`: own
runs (benchmarks/data/fedavg_runs.parquet), synthetic curves with known truth, and every CSV (round,
loss, accuracy) in DIR. Forecasts are made at 10 to 90 % of the rounds; the history of a run is made
of the runs of all other configurations. --every takes each N-th own run (its history stays whole),
--curves sets how many synthetic curves there are, --write puts the tables into docs/science.md and
draws the calibration of the privacy race beside it.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import science_race
from benchmarks.science_forecasts import Point, Run, points, summaries
from benchmarks.science_pool import Each, on_all_cores, one_by_one
from benchmarks.science_sets import folder_runs, own_runs, synthetic_runs
from benchmarks.science_synthetic import TEST_SEED, TRAINING_SEED
from benchmarks.science_verdicts import breaks, verdicts
from tasks.analysis.convergence import judge
from tasks.analysis.curve import Curve, from_arrays
from tasks.analysis.forecast import forecast
from tasks.analysis.onset import collapsed_once, onsets

PAGE = Path(__file__).resolve().parents[1] / "docs" / "science.md"
RACE_PICTURE = PAGE.parent / "pictures" / "race-calibration.png"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
NOISES = (0.005, 0.02)
LONG_ROUNDS, LONG_HISTORY = 1000, 60
REPETITIONS = 5
CURVES_A_RACE = 4
"""One in so many synthetic curves races."""
TEACHERS = 400
"""Synthetic curves that "stays as it is" learns its spread from."""
TEACHERS_SEED = TRAINING_SEED + 500_000


def main() -> None:
    """Measure everything, print it, and write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--histories", type=Path, help="folder of CSV histories; none: left out")
    parser.add_argument("--every", type=int, default=1, help="take each N-th own run")
    parser.add_argument("--curves", type=int, default=2000, help="synthetic curves")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/science.md")
    options = parser.parse_args()
    with on_all_cores() as each:
        figures = measure(options.histories, options.every, options.curves, each)
    text = tables(figures)
    if options.write:
        write(PAGE, text)
        science_race.draw(figures["race"], RACE_PICTURE)
    print(json.dumps(figures, indent=2) if options.json else text)


def measure(
    histories: Path | None, every: int, curves: int, each: Each = one_by_one
) -> dict[str, Any]:
    """Return all figures, by section."""
    own = own_runs()
    synthetic = synthetic_runs(TEST_SEED, curves)
    teachers = synthetic_runs(TEACHERS_SEED, TEACHERS)
    figures: dict[str, Any] = {"speed": _reported("speed", speed(each))}
    sets: list[tuple[str, Sequence[Run], Sequence[Run], Sequence[Run]]] = [
        ("own runs, with history", own[::every], own, own),
        ("own runs, alone", own[::every], (), own),
        ("synthetic curves, alone", synthetic, (), synthetic[:TEACHERS]),
    ]
    if histories is not None:
        others = folder_runs(histories)
        calm = [run for run in others if not collapsed_once(run.curve)]
        for name, runs in (("other histories", others), ("those that never broke", calm)):
            sets.append((f"{name}, with history", runs, runs, runs))
            sets.append((f"{name}, alone", runs, (), runs))
        figures["onsets"] = _reported("onsets", onsets_of(others))
    figures["forecasts"] = {
        name: _reported(name, _figures(points(runs, past, others, teachers, each)))
        for name, runs, past, others in sets
    }
    of_each = curves // len(NOISES)
    figures["verdicts"] = [
        _reported("verdicts", verdict_figures(TEST_SEED + index * of_each, of_each, noise, each))
        for index, noise in enumerate(NOISES)
    ]
    figures["own onsets"] = own_onsets(own)
    figures["race"] = _reported("race", science_race.measure(every, curves // CURVES_A_RACE, each))
    return figures


def _figures(found: Sequence[Point]) -> dict[str, dict[str, float]]:
    return {share: asdict(one) for share, one in summaries(found).items()}


def _reported(name: str, figures: Any) -> Any:
    print(f"measured: {name}", file=sys.stderr)
    return figures


def verdict_figures(
    first_seed: int, count: int, noise: float, each: Each = one_by_one
) -> dict[str, float]:
    """Measure verdicts and breaks on so many synthetic curves at that noise."""
    said = verdicts(first_seed, count, noise, each)
    found = breaks(first_seed, count, noise)
    tempting = [one for one in said if one.tempting]
    return {
        "noise": noise,
        "verdicts": len(said),
        "right": float(np.mean([one.right for one in said])),
        "misled": float(np.mean([one.misled for one in tempting])),
        "breaks": len(found.late),
        "in_time": found.in_time,
        "false_per_1000": found.false_per_1000,
        "healthy_rounds": found.healthy_rounds,
    }


def onsets_of(runs: Sequence[Run]) -> dict[str, list[dict[str, Any]]]:
    """Return every break found in each run."""
    return {run.group: [asdict(one) for one in onsets(run.curve)] for run in runs}


def own_onsets(runs: Sequence[Run]) -> dict[str, float]:
    """Count onsets in the own runs, none of which was made to break."""
    rounds = sum(len(run.curve) for run in runs)
    found = sum(len(onsets(run.curve)) for run in runs)
    return {"rounds": rounds, "false_per_1000": 1000.0 * found / rounds}


def speed(each: Each = one_by_one) -> dict[str, float]:
    """Return processor seconds of verdict and forecast, and what 60 past runs add.

    Medians of five, for a run of 1,000 rounds at half its way.
    """
    # sequential: parallel work would take time from a measurement
    ((alone,), (more,)) = each(_seconds, [0]), each(_seconds, [LONG_HISTORY])
    return {"alone": alone, "added_by_history": more - alone}


def _long(seed: int) -> Curve:
    rng = np.random.default_rng(seed)
    x = np.arange(1, LONG_ROUNDS + 1)
    level = rng.uniform(0.9, 0.95) - 0.8 * (1 + x / rng.uniform(5, 12)) ** -0.8
    return from_arrays(str(seed), x, level + rng.normal(0.0, 0.004, len(x)))


def _seconds(past_runs: int) -> float:
    took = []
    for _ in range(REPETITIONS):
        # new ones each time, since results of a curve are cached
        curve, *past = (_long(index) for index in range(1 + past_runs))
        half = curve.until(LONG_ROUNDS // 2)
        start = time.process_time()
        judge(half, history=past)
        forecast(half, LONG_ROUNDS, past)
        took.append(time.process_time() - start)
    return float(np.median(took))


def tables(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    parts = [_forecast_table(name, rows) for name, rows in figures["forecasts"].items()]
    race = science_race.table(figures["race"])
    return "\n\n".join([*parts, _verdict_table(figures), race, _speed_line(figures["speed"])])


def _forecast_table(name: str, rows: dict[str, dict[str, float]]) -> str:
    head = (
        f"**Forecasts, {name}**\n\n"
        "| rounds seen | forecasts | 80 % interval holds | width | error | error / stays |"
        " CRPS / stays that knows: other runs | curves as such | its own past |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    lines = [
        f"| {share} | {row['points']} | {row['coverage']:.1%} | {row['width']:.3f} |"
        f" {row['error']:.4f} | {row['ratio']:.2f} | {row['crps_to_history']:.2f} |"
        f" {row['crps_to_curves']:.2f} | {row['crps_to_own']:.2f} |"
        for share, row in rows.items()
    ]
    return "\n".join([head, *lines])


def _verdict_table(figures: dict[str, Any]) -> str:
    head = (
        "**Verdicts and breaks, synthetic curves**\n\n"
        "| noise sd | verdicts | right | converged said wrongly | breaks | found ≤ 5 rounds late |"
        " false onsets / 1,000 healthy rounds |\n|---|---|---|---|---|---|---|"
    )
    lines = [
        f"| {row['noise']} | {row['verdicts']} | {row['right']:.1%} | {row['misled']:.2%} |"
        f" {row['breaks']} | {row['in_time']:.1%} | {row['false_per_1000']:.3f} |"
        for row in figures["verdicts"]
    ]
    own = figures["own onsets"]
    last = (
        f"\nOwn runs: {own['false_per_1000']:.2f} onsets a thousand rounds"
        f" ({own['rounds']} rounds)."
    )
    return "\n".join([head, *lines, last])


def _speed_line(figures: dict[str, float]) -> str:
    return (
        f"**Speed**: verdict and forecast of a run of 1,000 rounds at half its way take"
        f" {figures['alone']:.2f} s of the processor; {LONG_HISTORY} past runs add"
        f" {figures['added_by_history']:.2f} s."
    )


def write(page: Path, text: str) -> None:
    """Put the tables between the page's marks."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
