"""Files as real users bring them, each judged as its expected result says."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.analysis.convergence import Verdict, judge
from tasks.analysis.curve import Curve, curve_of
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
