"""The benchmark's own parts, and small statistical checks of what docs/science.md promises."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import science
from benchmarks.science_forecasts import SHARES, Point, crps, own_changes, points, summary
from benchmarks.science_pool import on_all_cores, one_by_one
from benchmarks.science_runs import CONFIGURATIONS, SEEDS, designs, frame, rows
from benchmarks.science_sets import folder_runs, own_runs, synthetic_runs
from benchmarks.science_synthetic import TEST_SEED, TRAINING_SEED, make
from benchmarks.science_verdicts import breaks, first_shown, truth, verdicts
from tasks.analysis.curve import from_arrays

EARLY_SEED = TRAINING_SEED + 50_000


def test_the_own_runs_are_all_there() -> None:
    runs = own_runs()

    assert len(runs) == CONFIGURATIONS * SEEDS == 240
    assert len({run.group for run in runs}) == CONFIGURATIONS
    assert {len(run.curve) for run in runs} == {40, 60, 80, 100}


def test_a_design_can_be_trained_again() -> None:
    design = designs()[0]
    short = type(design)(design.number, {**design.settings, "rounds": 3.0, "clients": 20.0})

    made = frame(rows(short, 0))

    assert made["round"].tolist() == [1, 2, 3]
    assert made["epsilon"].is_monotonic_increasing


def test_a_seed_makes_the_same_curve() -> None:
    assert np.array_equal(make(7).observed, make(7).observed)
    assert not np.array_equal(make(7).observed[:40], make(8).observed[:40])


def test_tuning_and_testing_share_no_seed() -> None:
    assert TEST_SEED - TRAINING_SEED >= 100_000


def test_the_truth_of_a_collapse() -> None:
    curve = next(one for seed in range(500) if (one := make(seed, 0.005)).kind == "collapse")
    assert curve.onset is not None

    assert truth(curve, 5) == ("too_short",)
    assert truth(curve, curve.onset) == ("collapsed",)


def test_a_break_shows_where_the_definitions_say_so() -> None:
    curve = next(one for seed in range(500) if (one := make(seed, 0.02)).kind == "divergence")
    shows = first_shown(curve)
    assert shows is not None
    assert curve.onset is not None

    assert shows >= curve.onset
    assert truth(curve, shows) in (("collapsed",), ("diverging",))
    assert truth(curve, shows - 1) not in (("collapsed",), ("diverging",))


def test_what_has_no_break_shows_none() -> None:
    curve = next(one for seed in range(500) if (one := make(seed, 0.02)).kind == "growth")

    assert first_shown(curve) is None


@pytest.mark.slow
def test_all_cores_find_what_one_finds() -> None:
    with on_all_cores() as each:
        spread = verdicts(EARLY_SEED, 3, 0.02, each)

    assert spread == verdicts(EARLY_SEED, 3, 0.02, one_by_one)


def test_the_score_of_a_sure_and_right_forecast_is_nothing() -> None:
    assert crps(np.full(100, 0.5), 0.5) == 0.0
    assert crps(np.full(100, 0.5), 0.7) == pytest.approx(0.2)
    assert crps(np.array([0.0, 1.0]), 0.5) == pytest.approx(0.25)


def test_a_summary_compares_with_the_better_simple_forecaster() -> None:
    point = Point(0.1, True, 0.1, 0.01, 0.04, 0.02, 0.01, 0.05, 0.1, 0.02)

    said = summary([point, point])

    assert (said.points, said.coverage) == (2, 1.0)
    assert said.ratio == pytest.approx(0.5)
    assert said.crps_to_history == pytest.approx(0.2)
    assert said.crps_to_curves == pytest.approx(0.1)
    assert said.crps_to_own == pytest.approx(0.5)


def test_own_changes_are_those_over_the_rounds_left_or_half_of_those_seen() -> None:
    seen = from_arrays("line", np.arange(1, 11), np.arange(10, dtype=np.float64) / 10.0)

    assert own_changes(seen, 2)[-1] == pytest.approx(0.2)
    assert len(own_changes(seen, 2)) == 8
    assert own_changes(seen, 90)[-1] == pytest.approx(0.5)
    assert len(own_changes(seen, 90)) == 5


def test_a_folder_of_histories_is_read(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("round,loss,accuracy\n0,2.3,0.1\n1,1.0,0.5\n")

    (run,) = folder_runs(tmp_path)

    assert (run.group, run.curve.values.tolist()) == ("one", [0.1, 0.5])


def test_the_tables_go_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{science.BEGIN}\nold\n{science.END}\nbelow\n")

    science.write(page, "new")

    assert page.read_text() == f"above\n{science.BEGIN}\nnew\n{science.END}\nbelow\n"


@pytest.mark.slow
def test_intervals_hold_on_synthetic_curves() -> None:
    runs = synthetic_runs(EARLY_SEED, 60)

    said = summary(points(runs, (), runs, runs))

    # 360 forecasts of 60 curves: the standard error is some 4 %
    assert 0.70 <= said.coverage <= 0.94
    assert said.ratio <= 0.85


@pytest.mark.slow
def test_history_halves_the_error_on_own_runs() -> None:
    runs = own_runs()

    found = points(runs[::40], runs, runs, runs)

    early = summary([point for point in found if point.share <= 0.5])
    assert len(found) == 6 * len(SHARES)
    assert early.ratio <= 0.55


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "right"), [(0.005, 0.9), (0.02, 0.8)])
def test_verdicts_are_right(noise: float, right: float) -> None:
    said = verdicts(EARLY_SEED, 40, noise)

    assert np.mean([one.right for one in said]) >= right
    assert np.mean([one.misled for one in said if one.tempting]) < 0.03


@pytest.mark.slow
def test_breaks_are_found_in_time_and_rarely_where_there_are_none() -> None:
    found = breaks(EARLY_SEED, 200, 0.005)

    assert len(found.late) >= 4
    assert found.in_time >= 0.75
    assert found.false_per_1000 <= 1.0
