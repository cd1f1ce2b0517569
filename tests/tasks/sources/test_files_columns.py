"""Which column and which rows of a file count: units, sets, directions, several accuracies."""

import re
from pathlib import Path

import pytest

from tasks.core.errors import RunFileInvalid
from tasks.sources.files import read_file
from tasks.sources.run_files.words import Better, MetricOptions, Unit
from tests.support.run_files_bench import complaint, csv_file, kinds, only, reported


def rounds_with(values: list[float], name: str = "acc") -> str:
    rows = [f"{n},{value!r}" for n, value in enumerate(values)]
    return "\n".join([f"round,{name}", *rows])


@pytest.mark.promise("Training: most values decide on the unit of an accuracy, never one of them")
@pytest.mark.parametrize(
    ("values", "unit", "shares"),
    [
        ([0.5, 0.9, 1.0000001, 0.95], None, [0.5, 0.9, 1.0, 0.95]),
        ([50, 90, 100.00001], None, [0.5, 0.9, 1.0]),
        ([0.4, 0.6, 3, 30, 45, 50, 55, 60], None, [0.004, 0.006, 0.03, 0.3, 0.45, 0.5, 0.55, 0.6]),
        ([85, 86, 87, 0.1, 88], None, [0.85, 0.86, 0.87, 0.001, 0.88]),
        ([0.2, 0.5, 0.9], "percent", [0.002, 0.005, 0.009]),
        ([0.2, 0.5, 0.9], None, [0.2, 0.5, 0.9]),
    ],
)
def test_most_values_decide_on_the_unit(
    tmp_path: Path, values: list[float], unit: Unit | None, shares: list[float]
) -> None:
    (run,) = read_file(csv_file(tmp_path, rounds_with(values)), MetricOptions(unit=unit)).runs

    assert [r.accuracy for r in run.rounds] == pytest.approx(shares, abs=1e-12)


@pytest.mark.parametrize(
    ("values", "unit", "problem"),
    [
        ([0.5, 0.6, 0.7, 1.3], None, "line 5, column acc: 1.3 is not a share as a fraction"),
        ([0.5, 90, 91], "ratio", "line 3, column acc: 90 is not a share as a fraction"),
        ([83, 84, 85, 85, 0.86], None, "line 6, column acc: percent is mixed with fractions (85,"),
    ],
)
def test_one_value_of_another_unit_is_named(
    tmp_path: Path, values: list[float], unit: Unit | None, problem: str
) -> None:
    with pytest.raises(RunFileInvalid, match=re.escape(problem)) as refused:
        read_file(csv_file(tmp_path, rounds_with(values)), MetricOptions(unit=unit))
    assert "--unit" in str(refused.value)


@pytest.mark.promise("Training: of two values for one round neither is dropped without a finding")
@pytest.mark.parametrize(
    ("text", "runs"),
    [
        # methods, also with seeds, interleaved or one after the other
        ("round,method,acc\n1,a,.1\n1,b,.3\n2,a,.2\n2,b,.4\n", {"method a": 0.2, "method b": 0.4}),
        ("round,method,acc\n1,a,.1\n2,a,.2\n1,b,.3\n2,b,.4\n", {"method a": 0.2, "method b": 0.4}),
        (
            "round,alg,seed,acc\n1,a,0,.1\n1,a,1,.3\n1,b,0,.5\n1,b,1,.7\n",
            {
                "alg a, seed 0": 0.1,
                "alg a, seed 1": 0.3,
                "alg b, seed 0": 0.5,
                "alg b, seed 1": 0.7,
            },
        ),
        # a fold for each client of a round
        (
            "round,client,fold,acc\n1,x,1,.1\n1,y,1,.3\n1,x,2,.5\n1,y,2,.7\n",
            {"fold 1": 0.2, "fold 2": 0.6},
        ),
        # test before validation before training, also where the test set has fewer rounds
        ("round,phase,acc\n1,train,.1\n1,val,.3\n2,train,.2\n2,val,.4\n", {"run": 0.4}),
        ("round,split,acc\n1,valid,.9\n1,test,.1\n2,valid,.9\n2,test,.2\n", {"run": 0.2}),
        ("round,set,acc\n1,train,.5\n2,train,.6\n2,test,.1\n3,train,.9\n", {"run": None}),
    ],
)
def test_a_column_that_distinguishes_the_rows_of_a_round(
    tmp_path: Path, text: str, runs: dict[str, float | None]
) -> None:
    read = read_file(csv_file(tmp_path, text))

    last = {run.run_id: run.rounds[-1].accuracy for run in read.runs}
    assert last == {name: None if v is None else pytest.approx(v) for name, v in runs.items()}
    assert {each.kind for each in read.findings} & {"several_runs", "set_chosen"}


@pytest.mark.promise("Training: of two values for one round neither is dropped without a finding")
@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("round,acc\n1,.1\n1,.3\n2,.2\n2,.4\n", ["line 2", "line 3"]),
        ("round,client,acc\n1,x,.1\n1,x,.3\n2,x,.2\n", ["line 2", "line 3"]),
    ],
)
def test_values_that_nothing_distinguishes_are_a_finding(
    tmp_path: Path, text: str, places: list[str]
) -> None:
    (finding,) = read_file(csv_file(tmp_path, text)).findings

    assert (finding.kind, finding.evidence["places"]) == ("values_repeated", places)


def test_complementary_cells_merge_although_a_column_differs(tmp_path: Path) -> None:
    text = "round,kind,loss,acc\n1,fit,.9,\n1,score,,.5\n2,fit,.8,\n2,score,,.6\n"
    path = csv_file(tmp_path, text)

    assert reported(only(path)) == [(1, 0.9, 0.5), (2, 0.8, 0.6)]
    assert kinds(path) == []


FALLING, RISING = [0.9, 0.7, 0.5, 0.4, 0.3, 0.25], [0.1, 0.3, 0.5, 0.6, 0.7, 0.75]


@pytest.mark.promise("Training: a loss is never judged as an accuracy; the verdict states it")
@pytest.mark.parametrize(
    ("name", "values", "better", "kind", "findings"),
    [
        ("Value", FALLING, None, "loss", ["direction_by_values"]),
        ("quality", RISING, None, "accuracy", ["direction_by_values"]),
        ("quality", FALLING, "higher", "accuracy", []),
        ("objective", [3.0, 2.5, 2.0, 1.5], None, "loss", ["direction_by_values"]),
        ("val_f1", FALLING, None, "accuracy", []),
        ("perplexity", RISING, None, "loss", []),
    ],
)
def test_the_direction_of_a_column(
    tmp_path: Path, name: str, values: list[float], better: Better, kind: str, findings: list[str]
) -> None:
    path = csv_file(tmp_path, rounds_with(values, name))
    read = read_file(path, MetricOptions(name, better=better))

    assert (read.kind, [each.kind for each in read.findings]) == (kind, findings)


def test_a_direction_that_nothing_shows_is_asked_for(tmp_path: Path) -> None:
    path = csv_file(tmp_path, rounds_with([0.5, 0.9, 0.1, 0.6, 0.5, 0.5], "Value"))

    assert complaint(path, "Value") == (
        "run.csv: neither the name nor the values of Value show whether more or less is better. "
        "Fix: state it with --better higher or --better lower"
    )


@pytest.mark.parametrize(
    ("header", "row", "judged", "others"),
    [
        ("round,loss,fancy_accuracy", "{n},.9,.5", "loss", ["fancy_accuracy"]),
        (
            "round,accuracy_before,accuracy_after",
            "{n},.4,.5",
            "accuracy_before",
            ["accuracy_after"],
        ),
        ("round,loss,accuracy_std", "{n},.9,.5", None, []),
        ("round,test_acc,train_acc", "{n},,.5", "train_acc", ["test_acc"]),
        ("round,test_acc,train_acc", "{n},.9,.5", None, []),
    ],
)
def test_a_column_that_looks_like_an_accuracy_is_not_passed_over_silently(
    tmp_path: Path, header: str, row: str, judged: str | None, others: list[str]
) -> None:
    lines = [header, *(row.format(n=n) for n in range(1, 10))]
    found = read_file(csv_file(tmp_path, "\n".join(lines))).findings

    assert [(each.evidence["judged"], each.evidence["others"]) for each in found] == (
        [] if judged is None else [(judged, others)]
    )


def test_a_column_with_too_few_values_gives_way(tmp_path: Path) -> None:
    lines = ["round,test_acc,val_acc"]
    lines += [f"{n},{0.5 if n % 10 == 0 else ''},{n / 100}" for n in range(1, 51)]
    path = csv_file(tmp_path, "\n".join(lines))

    assert only(path).rounds[0].accuracy == 0.01
    assert only(path, "test_acc").rounds[0].accuracy is None
    (finding,) = read_file(path).findings
    assert (finding.kind, finding.evidence["others"]) == ("accuracy_passed_over", ["test_acc"])
