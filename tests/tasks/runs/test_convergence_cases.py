"""Files as real users bring them, each judged as its expected result says."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tasks.analysis.convergence import Verdict, judge
from tasks.analysis.curve import Curve, curve_of
from tasks.core.errors import RunFileInvalid
from tasks.core.finding import Finding
from tasks.sources.files import read_file
from tasks.sources.run_files.words import MetricOptions

CASES = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class Judged:
    curve: Curve
    verdict: Verdict
    findings: tuple[Finding, ...]

    @property
    def kinds(self) -> set[str]:
        return {finding.kind for finding in self.findings}


def judged(name: str, metric: str | None = None) -> Judged:
    """The only run of a file, without the costly forecast."""
    read = read_file(CASES / name, MetricOptions(metric))
    (run,) = read.runs
    curve = curve_of(run, read.kind)
    return Judged(curve, judge(curve), read.findings)


@pytest.mark.parametrize("name", ["run.csv", "run.json"])
def test_a_run_that_went_back_to_a_checkpoint_has_not_collapsed(name: str) -> None:
    one = judged(f"01-resumed-after-collapse/{name}")
    control = judged("01-resumed-after-collapse/control-only-what-counts.csv")

    assert one.curve.rounds.tolist() == control.curve.rounds.tolist() == list(range(1, 25))
    assert one.verdict.kind == control.verdict.kind == "improving"
    (finding,) = one.findings
    assert (finding.kind, finding.evidence["before"], finding.evidence["after"]) == (
        "counter_went_back",
        30,
        16,
    )


@pytest.mark.parametrize("name", ["run.csv", "double.csv"])
def test_a_rounding_error_above_one_is_one(name: str) -> None:
    one = judged(f"03-share-just-above-one/{name}")
    control = judged("03-share-just-above-one/control-clipped.csv")

    assert one.verdict.kind == control.verdict.kind == "converged"
    assert one.curve.values[-1] == pytest.approx(1.0, abs=1e-4)
    assert one.findings == ()


@pytest.mark.parametrize(
    ("name", "metric", "first"),
    [
        ("plain.csv", None, 0.0036),
        ("metrics.csv", "accuracy_test_before", 0.0036),
        ("metrics.csv", "accuracy_test_after", 0.0236),
    ],
)
def test_percent_that_begins_at_chance_is_percent(
    name: str, metric: str | None, first: float
) -> None:
    values = judged(f"13-percent-begins-low/{name}", metric).curve.values

    assert values[:1] == pytest.approx([first])
    assert 0.34 < values[1] < max(values) < 0.92


@pytest.mark.parametrize("name", ["round-and-set.csv", "client-round-and-set.csv"])
def test_of_lines_by_set_those_of_the_test_set_count(name: str) -> None:
    one = judged(f"04-split-column/{name}")
    control = judged("04-split-column/control-test-only.csv")

    assert one.verdict.kind == control.verdict.kind
    assert one.curve.values == pytest.approx(control.curve.values, abs=0.05)
    assert one.kinds == {"set_chosen"}


def test_of_one_line_a_round_and_set_the_result_is_that_of_the_test_set() -> None:
    one = judged("04-split-column/round-and-set.csv")
    control = judged("04-split-column/control-test-only.csv")

    assert one.verdict.sentence == control.verdict.sentence


@pytest.mark.parametrize(
    ("name", "metric", "kind", "now"),
    [
        ("run-fedavg-tag-server_loss.csv", None, "loss", 0.38),
        ("run-fedavg-tag-server_loss.csv", "server_loss", "loss", 0.38),
        ("run-fedavg-tag-server_accuracy.csv", None, "accuracy", 0.85),
    ],
)
def test_a_download_of_tensorboard_has_its_tag_in_its_name(
    name: str, metric: str | None, kind: str, now: float
) -> None:
    one = judged(f"02-tensorboard-ui-csv/{name}", metric)

    assert (one.curve.name, one.curve.metric) == ("fedavg", kind)
    assert one.curve.unscaled(one.curve.values[-1]) == pytest.approx(now, abs=0.02)


def test_a_download_under_another_name_never_takes_a_loss_for_an_accuracy(tmp_path: Path) -> None:
    path = tmp_path / "download.csv"
    path.write_bytes((CASES / "02-tensorboard-ui-csv/run-fedavg-tag-server_loss.csv").read_bytes())

    read = read_file(path, MetricOptions("Value"))
    assert (read.kind, [each.kind for each in read.findings]) == ("loss", ["direction_by_values"])
    assert read_file(path, MetricOptions("Value", better="lower")).findings == ()


@pytest.mark.parametrize("metric", [None, "test/acc"])
def test_each_column_of_a_chart_is_a_run(metric: str | None) -> None:
    read = read_file(CASES / "09-wandb-export/wandb_export_chart.csv", MetricOptions(metric))

    assert {run.run_id: len(run.rounds) for run in read.runs} == {
        "fedavg-lr0.1": 40,
        "fedprox-mu0.01": 30,
    }
    assert read.runs[0].rounds[1].accuracy == 0.13950926655074514


def test_a_metric_a_line_is_one_run_of_the_test_set() -> None:
    one = judged("09-wandb-export/run_history.csv")

    assert (one.curve.metric, len(one.curve)) == ("accuracy", 40)
    assert one.curve.values[1] == 0.1753


def test_the_validation_accuracy_of_keras_is_the_metric() -> None:
    one = judged("12-keras-names/history.json")

    assert one.curve.values[0] == 0.07565711158075626


@pytest.mark.parametrize(
    ("name", "metric", "kind"),
    [
        ("loss-only.csv", None, "diverging"),
        ("loss-and-accuracy.csv", "loss", "diverging"),
        ("loss-and-accuracy.csv", None, "collapsed"),
    ],
)
def test_a_metric_that_ends_before_the_run_is_not_improving(
    name: str, metric: str | None, kind: str
) -> None:
    one = judged(f"23-nan-written-as-empty/{name}", metric)

    assert one.verdict.kind == kind
    (ended,) = one.findings
    assert (ended.kind, ended.evidence["end"], ended.evidence["last"]) == ("metric_ended", 32, 40)


def test_of_a_history_the_accuracy_with_enough_values_counts() -> None:
    one = judged("25-central-every-tenth/history.json")

    assert int(np.isfinite(one.curve.values).sum()) == 50
    assert one.verdict.kind not in ("too_short", "collapsed", "diverging")
    assert one.kinds == {"accuracy_passed_over"}


def test_few_values_in_many_rounds_are_too_few() -> None:
    one = judged("25-central-every-tenth/history.json", "centralized_accuracy")
    control = judged("25-central-every-tenth/control-the-same-6-values.csv")

    assert (one.verdict.kind, control.verdict.kind) == ("too_short", "too_short")
    assert "6 of 51 rounds have a value, 8 are needed" in one.verdict.sentence


def test_a_slope_counts_rounds() -> None:
    one = judged("25-central-every-tenth/every-tenth-line-others-empty.csv")
    control = judged("25-central-every-tenth/every-tenth-line.csv")

    assert one.verdict.trend is not None
    assert control.verdict.trend is not None
    assert one.verdict.trend.estimate == pytest.approx(control.verdict.trend.estimate, rel=1e-3)
    assert one.verdict.trend.estimate == pytest.approx(0.002, rel=0.01)


@pytest.mark.parametrize(
    ("name", "count", "first", "last", "accuracy"),
    [
        ("06-fractional-epoch/log.csv", 40, 10, 400, None),
        ("06-fractional-epoch/log_history.json", 40, 10, 400, 0.785),
        ("06-fractional-epoch/trainer_state.json", 40, 10, 400, 0.785),
        ("07-flower-printed/app_fit.log", 31, 0, 30, 0.771),
        ("07-flower-printed/history.json", 31, 0, 30, 0.771),
        ("07-flower-printed/history.txt", 31, 0, 30, 0.771),
        ("07-flower-printed/server.log", 31, 0, 30, 0.771),
        ("08-lists-of-two-lengths/history-with-rounds.json", 50, 0, 49, None),
        ("10-json-lines/metrics.jsonl", 40, 1, 40, 0.609),
        ("10-json-lines/one-round.jsonl", 1, 1, 1, 0.1),
        ("27-header-again/appended.csv", 40, 1, 40, 0.791),
        ("27-header-again/appended-more-columns.csv", 40, 1, 40, 0.791),
    ],
)
def test_the_forms_that_people_have(
    name: str, count: int, first: int, last: int, accuracy: float | None
) -> None:
    (run,) = read_file(CASES / name).runs

    assert (len(run.rounds), run.rounds[0].round, run.rounds[-1].round) == (count, first, last)
    assert run.rounds[-1].accuracy == (accuracy and pytest.approx(accuracy, abs=5e-4))
    assert run.rounds[-1].loss is not None


def test_lists_of_two_lengths_without_rounds_are_named() -> None:
    with pytest.raises(RunFileInvalid, match=r"\(train_loss 50, test_acc 10\)"):
        read_file(CASES / "08-lists-of-two-lengths/history.json")


@pytest.mark.promise("Training: a pickled history is refused with the line that makes JSON of it")
@pytest.mark.parametrize("name", ["hist.npy", "acc.npy", "run.npz", "results.pkl"])
def test_a_pickle_is_refused_with_the_line_that_makes_json_of_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes((CASES / "24-pickled-history" / name).read_bytes())

    with pytest.raises(RunFileInvalid) as refused:
        read_file(path)
    assert re.search("pickle|numpy", str(refused.value))
    exec(str(refused.value).split('python -c "')[1].rstrip('"'), {})
    assert len(read_file(path.with_suffix(".json")).runs[0].rounds) >= 10
