"""`fedvitals convergence`: files in, a verdict out; and one clear answer to whatever is wrong."""

import json
import math
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from tests.support.installation import Installation, Ran

pytestmark = pytest.mark.timeout(300)


def saturating(rounds: int, end: float = 0.9, pace: float = 12.0) -> list[float]:
    """A learning curve with a small ripple, so that it has a noise."""
    return [
        end * (1 - math.exp(-n / pace)) + 0.002 * math.sin(7.3 * n) for n in range(1, rounds + 1)
    ]


def write_csv(folder: Path, name: str, accuracies: list[float], first: int = 1) -> str:
    lines = [f"{n},{value:.5f}" for n, value in enumerate(accuracies, first)]
    (folder / name).write_text("\n".join(["round,accuracy", *lines]) + "\n", "utf-8")
    return name


def judged(installation: Installation, *arguments: str) -> Ran:
    with chdir(installation.folder):
        return installation.here("convergence", *arguments)


def run_of(ran: Ran) -> dict[str, Any]:
    (run,) = ran.document["runs"]
    return dict(run)


@pytest.fixture
def folder(bare: Installation) -> Path:
    return bare.folder


def test_the_document_has_what_is_promised(bare: Installation, folder: Path) -> None:
    name = write_csv(folder, "run.csv", saturating(30))
    ran = judged(bare, name, "--total-rounds", "60", "--target", "85%", "--json")

    assert (ran.code, ran.err) == (0, "")
    assert ran.document["comparison"] is None
    run = run_of(ran)
    assert (run["file"], run["rounds_seen"], run["metric"]) == ("run.csv", 30, "accuracy")
    assert run["verdict"] == "improving"
    assert isinstance(run["evidence"], dict)
    assert set(run["forecast"]["final"]) == {"estimate", "low", "high", "level"}
    assert set(run["forecast"]["rounds_to_target"]) == {
        "estimate",
        "low",
        "high",
        "level",
        "probability",
    }
    final = run["forecast"]["final"]
    assert final["low"] < 0.9 < final["high"]
    assert {"time", "participation", "privacy", "advice"} <= set(run)
    assert (run["participation"], run["privacy"]) == (None, None)


def test_people_read_the_verdict_first(bare: Installation, folder: Path) -> None:
    ran = judged(bare, write_csv(folder, "run.csv", saturating(30)))

    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0] == "run.csv: run"
    assert lines[1].startswith("Improving by ")
    assert "No forecast: the planned number of rounds is unknown" in ran.out
    assert lines[-1].startswith("Go on: ")


def test_a_collapse_ends_with_1(bare: Installation, folder: Path) -> None:
    ran = judged(bare, write_csv(folder, "run.csv", [*saturating(60), *[0.1] * 12]), "--json")

    assert (ran.code, run_of(ran)["verdict"]) == (1, "collapsed")


@pytest.mark.parametrize(("epsilon", "code"), [(0.5, 1), (3.5, 0)])
def test_an_epsilon_that_came_back_ends_with_1(
    bare: Installation, folder: Path, epsilon: float, code: int
) -> None:
    lines = [f"{n},{value:.5f},{n / 10}" for n, value in enumerate(saturating(30), 1)]
    text = "\n".join(["round,accuracy,epsilon", *lines, f"31,0.9,{epsilon}"])
    (folder / "run.csv").write_text(text, "utf-8")
    ran = judged(bare, "run.csv", "--json")

    grew = [f["severity"] for f in run_of(ran)["findings"] if f["kind"] == "epsilon_grew"]
    assert (ran.code, grew) == (code, ["high"] * code)


def test_the_report_is_written(bare: Installation, folder: Path) -> None:
    name = write_csv(folder, "run.csv", saturating(30))
    ran = judged(bare, name, "--total-rounds", "60", "--output", "out", "--json")

    assert ran.err == "report: out/convergence-report.html\n"
    assert sorted(p.name for p in (folder / "out").iterdir()) == [
        "convergence-analysis.json", "convergence-chart.png", "convergence-report.html",
    ]  # fmt: skip
    assert (
        json.loads((folder / "out" / "convergence-analysis.json").read_text("utf-8"))
        == ran.document
    )


def test_files_are_compared_in_their_order(bare: Installation, folder: Path) -> None:
    worse = write_csv(folder, "worse.csv", saturating(40, 0.6))
    better = write_csv(folder, "better.csv", saturating(40, 0.9))
    ran = judged(bare, worse, better, "--json")

    assert [run["file"] for run in ran.document["runs"]] == ["worse.csv", "better.csv"]
    ((comparison),) = ran.document["comparison"]
    assert comparison["better"] == "better"
    assert comparison["level"]["low"] > 0.2


def test_two_runs_in_one_file_are_two_and_said_so(bare: Installation, folder: Path) -> None:
    write_csv(folder, "run.csv", [*saturating(20), *saturating(20, 0.5)])
    text = (folder / "run.csv").read_text("utf-8").splitlines()
    restarted = [*text[:21], *(f"{n},{line.split(',')[1]}" for n, line in enumerate(text[21:], 1))]
    (folder / "run.csv").write_text("\n".join(restarted), "utf-8")
    ran = judged(bare, "run.csv", "--json")

    assert [run["rounds_seen"] for run in ran.document["runs"]] == [20, 20]
    (said,) = [f for f in ran.document["runs"][0]["findings"] if f["kind"] == "several_runs"]
    assert said["sentence"].startswith("The file holds 2 runs")


def test_a_history_gives_the_plan(bare: Installation, folder: Path) -> None:
    earlier = folder / "earlier"
    for end in (0.85, 0.9, 0.95):
        (earlier / str(end)).mkdir(parents=True)
        write_csv(earlier / str(end), "run.csv", saturating(80, end))
    (earlier / "notes.txt").write_text("nothing of use", "utf-8")
    name = write_csv(folder, "run.csv", saturating(20))
    ran = judged(bare, name, "--history", "earlier", "--json")

    assert run_of(ran)["forecast"] is not None
    assert run_of(ran)["planned_rounds"] == 80
    assert len(run_of(ran)["forecast"]["similar_runs"]) == 3
    assert ran.err.startswith("fedvitals: skipped in the history: earlier/notes.txt: ")
    assert judged(bare, name, "--json").document["runs"][0]["forecast"] is None


@pytest.mark.parametrize(
    ("first", "total", "said"),
    [
        (1, 400, "final level (round 400, the last of 400)"),
        (0, 400, "final level (round 399, the last of 400)"),
        (0, 410, "final level (round 409, the last of 410)"),
    ],
)
def test_both_ways_to_count_rounds_reach_the_end_of_the_plan(
    bare: Installation, folder: Path, first: int, total: int, said: str
) -> None:
    name = write_csv(folder, "run.csv", saturating(400), first)

    ran = judged(bare, name, "--total-rounds", str(total))

    assert said in ran.out
    assert ("! round 0 is the first of" in ran.out) == (first == 0)
    run = run_of(judged(bare, name, "--total-rounds", str(total), "--json"))
    assert run["time"]["rounds_left"] == total - 400


@pytest.mark.parametrize("command", ["convergence", "federated"])
def test_the_help_says_what_total_rounds_are(bare: Installation, command: str) -> None:
    bare.variables["COLUMNS"] = "300"
    assert "400 for rounds 1 to 400 or 0 to 399" in bare.here(command, "--help").out


def test_few_rounds_are_too_short(bare: Installation, folder: Path) -> None:
    ran = judged(bare, write_csv(folder, "run.csv", [0.1, 0.2, 0.3]), "--json")

    run = run_of(ran)
    assert (ran.code, run["verdict"], run["forecast"]) == (0, "too_short", None)
    assert run["sentence"] == "Too short to judge: 3 rounds seen, 8 are needed."


def test_rounds_that_are_no_number_and_flat_curves_are_answered(
    bare: Installation, folder: Path
) -> None:
    flat = write_csv(folder, "flat.csv", [0.5] * 30)
    (folder / "nan.csv").write_text(
        "round,loss\n" + "".join(f"{n},{2 / n if n < 20 else math.nan}\n" for n in range(1, 31)),
        "utf-8",
    )
    assert judged(bare, flat, "--total-rounds", "60", "--json").code == 0
    ran = judged(bare, "nan.csv", "--total-rounds", "60", "--json")

    assert (ran.code, run_of(ran)["verdict"]) == (1, "diverging")
    assert "NaN" not in ran.out


def test_a_target_that_is_reached_needs_no_round(bare: Installation, folder: Path) -> None:
    name = write_csv(folder, "run.csv", saturating(60))
    run = run_of(judged(bare, name, "--target", "0.5", "--total-rounds", "80", "--json"))

    reach = run["forecast"]["rounds_to_target"]
    assert (reach["estimate"], reach["probability"]) == (0.0, 1.0)
    assert run["advice"]["action"] == "stop"


def test_what_lies_beside_the_progress_is_read_and_said(bare: Installation, folder: Path) -> None:
    progress = {
        "run_id": "run-a", "current_round": 30, "global_accuracy": 0.8, "total_rounds": 60,
        "rounds": [{"round": n, "accuracy": a, "epsilon": n / 10} for n, a in enumerate(saturating(30), 1)],
    }  # fmt: skip
    privacy = {"run_id": "run-a", "epsilon_budget": 5.0}
    participation = {
        "run_id": "run-a",
        "rounds": [{"round": n, "drawn": 9, "states": {"reported": 8, "dropped": 1}} for n in range(1, 31)],
    }  # fmt: skip
    for name, content in (
        ("fl-progress.json", progress),
        ("fl-privacy.json", privacy),
        ("fl-participation.json", participation),
    ):
        (folder / name).write_text(json.dumps(content), "utf-8")
    ran = judged(bare, "fl-progress.json", "--target", "85%", "--json")

    run = run_of(ran)
    assert (ran.code, run["privacy"]["budget"]) == (0, 5.0)
    assert 0.0 <= run["privacy"]["probability"] <= 1.0
    assert run["participation"]["rounds"] == 30
    assert [f["kind"] for f in run["findings"][:2]] == ["companion_read", "companion_read"]

    (folder / "fl-privacy.json").write_text('{"run_id": "run-a", "epsilon', "utf-8")
    ran = judged(bare, "fl-progress.json", "--target", "85%")
    assert ran.code == 0
    (note,) = [line for line in ran.out.splitlines() if "skipped" in line]
    assert note.startswith("! fl-privacy.json beside it was skipped: Invalid JSON")


def test_a_matrix_of_sites_is_fairness_alone(bare: Installation, folder: Path) -> None:
    sites = {f"site-{n}": {"SRV_FL_global_model.pt": {"accuracy": 0.6 + n / 20}} for n in range(4)}
    (folder / "cross_val_results.json").write_text(json.dumps(sites), "utf-8")
    run = run_of(judged(bare, "cross_val_results.json", "--json"))

    assert (run["verdict"], run["rounds_seen"], run["forecast"]) == ("too_short", 0, None)
    assert run["participation"]["fairness"]["worst_client"] == "site-0"


@pytest.mark.promise(
    "Training: an unreadable file of a training run is refused in one line with its place"
)
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["none.csv"], "none.csv: No such file or directory. Fix: name a file of a training run"),
        (["."], ".: it is a folder without event files of TensorBoard. Fix: name the files in it; --history takes a folder of earlier runs"),
        (["run.csv", "--metric", "auc"], "run.csv: there is no column auc. Fix: name the column with --metric; there are round, accuracy"),
        (["run.csv", "--metric", "loss"], "run.csv: it has no loss. Fix: name the column with --metric; there are round, accuracy"),
        (["run.csv", "--target", "1.5"], "--target 1.5: it is out of range: an accuracy is a share, 0 to 1. Fix: give an accuracy such as 0.9 or 90%, or a loss such as 0.25"),
        (["run.csv", "--target", "120%"], "--target 120%: it is out of range: an accuracy is a share, 0 to 1. Fix: give an accuracy such as 0.9 or 90%, or a loss such as 0.25"),
        (["run.csv", "--target", "high"], "--target high: it is not a number. Fix: give an accuracy such as 0.9 or 90%, or a loss such as 0.25"),
        (["run.csv", "--target=-1"], "--target -1: it is out of range. Fix: give an accuracy such as 0.9 or 90%, or a loss such as 0.25"),
        (["run.csv", "--history", "empty"], "--history empty: it is empty. Fix: name a folder with files of earlier runs, or leave the option out"),
        (["run.csv", "--history", "run.csv"], "--history run.csv: it is not a folder. Fix: name a folder of earlier runs"),
        (["run.csv", "--output", "run.csv"], "--output: run.csv is not a writable folder. Fix: name another folder"),
        (["run.csv", "--environment", "mars"], "--environment: there is no environment 'mars'. Fix: use one of: production (config/environments.yaml)"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    bare: Installation, folder: Path, arguments: list[str], complaint: str
) -> None:
    write_csv(folder, "run.csv", saturating(20))
    (folder / "empty").mkdir()
    ran = bare.here("convergence", *[
        # in this process paths are not the installation's
        str(folder / a) if (folder / a).exists() or a == "none.csv" else a for a in arguments
    ])  # fmt: skip

    assert ran.code == 2
    assert ran.complaint.replace(f"{folder}/", "").replace(f"{folder}:", ".:") == complaint


@pytest.mark.parametrize("command", [("convergence", "run.csv"), ("federated",)])
def test_more_rounds_than_can_be_counted_are_refused(
    bare: Installation, command: tuple[str, ...]
) -> None:
    ran = bare.here(*command, "--total-rounds", "99999999999999999999")

    assert (ran.code, ran.out) == (2, "")
    assert "Invalid value for '--total-rounds'" in ran.err
