"""Forms of histories as loggers and Python write them."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.run_files_bench import (
    Reported,
    complaint,
    csv_file,
    json_file,
    kinds,
    only,
    reported,
)

WANTED: Reported = [(1, 0.9, 0.5), (2, 0.7, 0.625)]
FIRST, SECOND = '{"round": 1, "loss": 0.9, "acc": 0.5}', '{"round": 2, "loss": 0.7, "acc": 0.625}'


@pytest.mark.parametrize(
    ("text", "name", "found"),
    [
        (f"{FIRST}\n\n{SECOND}\n", "run.ndjson", []),
        (f"{FIRST}\n{SECOND}\n", "run.json", []),
        (f'{FIRST}\n{SECOND}\n{{"round": 3, "lo', "run.log", ["line_cut_off"]),
        ("{'round': (1, 2), 'loss': [0.9, np.float64(0.7)], 'acc': (0.5, 0.625)}", "run.txt", []),
        (
            "\x1b[92mINFO \x1b[0m:      \tHistory (loss, distributed):\n"
            "\x1b[92mINFO \x1b[0m:      \t\tround 1: 0.9\nINFO :      \t\tround 2: 0.7\n"
            "INFO :      \tHistory (metrics, distributed, evaluate):\n"
            "INFO :      \t{'accuracy': [(1, 0.5),\nINFO :      \t              (2, 0.625)]}\n",
            "flower.log",
            [],
        ),
        ("round,loss,acc\n1,0.9,0.5\nround,acc,lr,loss\n2,0.625,0.1,0.7\n", "run.csv", []),
        (" epoch , step, loss, acc\n0.5,1,0.9,0.5\n1.0,2,0.7,0.625\n", "run.csv", []),
    ],
)
def test_one_run_in_other_forms(tmp_path: Path, text: str, name: str, found: list[str]) -> None:
    path = csv_file(tmp_path, text, name)

    assert reported(only(path)) == WANTED
    assert kinds(path) == found


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ({"loss": [[1, 0.9], [2, 0.7]], "acc": [[1, 0.5], [2, 0.625]]}, WANTED),
        (
            {"log_history": [{"epoch": 0.1, "step": n, "loss": x, "acc": y} for n, x, y in WANTED]},
            WANTED,
        ),
        (
            {"round": [1, 2, 3], "loss": [0.9, 0.7, 0.6], "eval_round": [1, 3], "acc": [0.5, 0.8]},
            [(1, 0.9, 0.5), (2, 0.7, None), (3, 0.6, 0.8)],
        ),
    ],
)
def test_one_run_in_other_json(tmp_path: Path, content: Any, wanted: Reported) -> None:
    assert reported(only(json_file(tmp_path, content))) == wanted


@pytest.mark.parametrize(
    ("text", "name", "problem"),
    [
        (f"{FIRST}\n{{'round'\n{SECOND}\n", "run.jsonl", "run.jsonl: line 2: "),
        ("{'round': open('x')}", "run.json", "run.json: line 1, column 2: "),
        ("round,loss,acc\n1,.9,.5\nround,acc\n2,.6\n", "run.csv", "run.csv: line 3 has 2 cells"),
        ("\x80\x04}.", "run.pkl", "run.pkl: it is a pickle, which runs code."),
    ],
)
def test_what_cannot_be_read_has_its_place(
    tmp_path: Path, text: str, name: str, problem: str
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))

    assert complaint(path).startswith(problem)


def test_the_times_of_rounds_give_their_seconds(tmp_path: Path) -> None:
    times = [0, 60, 121, 180, 4000, 4060, 4180]
    rows = [f"{n},{1.7e9 + t},0.5" for n, t in zip([1, 2, 3, 4, 5, 6, 8], times, strict=True)]
    path = csv_file(tmp_path, "\n".join(["round,timestamp,acc", *rows]))

    # the pause before round 5 is no round, and round 8 is two after round 6
    assert [r.seconds for r in only(path).rounds] == [None, 60, 61, 59, None, 60, 60]
