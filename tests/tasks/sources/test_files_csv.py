"""CSV as people have it: names, orders, separators, units, clients; and what cannot be read."""

import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.training import PrivacyTerms
from tasks.sources.files import read_file
from tests.support.run_files_bench import (
    clients_of,
    complaint,
    csv_file,
    kinds,
    only,
    reported,
)

WANTED = [(1, 0.9, 0.5), (2, 0.7, 0.625), (3, 0.5, 0.75)]


@pytest.mark.parametrize(
    "text",
    [
        "round,loss,accuracy\n1,0.9,0.5\n2,0.7,0.625\n3,0.5,0.75\n",
        "accuracy,round,loss\n0.5,1,0.9\n0.625,2,0.7\n0.75,3,0.5\n",
        "Round;Loss;Accuracy\r\n1;0,9;0,5\r\n2;0,7;0,625\r\n3;0,5;0,75\r\n",
        "server_round\tval_loss\tval_acc\n1\t0.9\t0.5\n2\t0.7\t0.625\n3\t0.5\t0.75",
        "# step, eval_loss, Top-1 Accuracy\n1.0, 0.9, 50\n2.0, 0.7, 62.5\n3.0, 0.5, 75\n",
        "epoch,loss,accuracy (%)\n1,0.9,50\n2,0.7,62.5\n3,0.5,75\n",
        "epoch,loss,accuracy\n1,0.9,50%\n2,0.7,62.5 %\n3,0.5,75%\n",
        "\ufeffround,centralized_loss,centralized_accuracy\n\n1,0.9,0.5\n2,0.7,0.625\n3,0.5,0.75\n\n",
        "round,train_loss,train_acc,testLoss,testAcc\n1,1,.1,0.9,0.5\n2,1,.1,0.7,0.625\n3,1,.1,0.5,0.75\n",
        ",loss,acc\n1,0.9,0.5\n2,0.7,0.625\n3,0.5,0.75\n",
        "round,loss,accuracy\n3,0.5,0.75\n2,0.7,0.625\n1,0.9,0.5\n",
        '"round","loss","accuracy"\n"1","0.9","0.5"\n"2","0.7","0.625"\n"3","0.5","0.75"\n',
    ],
)
def test_one_run_in_many_hands(tmp_path: Path, text: str) -> None:
    run = only(csv_file(tmp_path, text))

    assert reported(run) == WANTED
    assert (run.run_id, run.source, run.total_rounds) == ("run", str(tmp_path / "run.csv"), None)


def test_a_file_of_excel_in_utf16(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_bytes(
        "round\tloss\taccuracy\n1\t0.9\t0.5\n2\t0.7\t0.625\n3\t0.5\t0.75\n".encode("utf-16")
    )

    assert reported(only(path)) == WANTED


def test_a_loss_alone_is_a_run(tmp_path: Path) -> None:
    run = only(csv_file(tmp_path, "round,loss\n0,2.3\n1,1.9\n"))

    assert reported(run) == [(0, 2.3, None), (1, 1.9, None)]


def test_a_number_that_is_none_is_kept_and_an_empty_cell_is_nothing(tmp_path: Path) -> None:
    run = only(csv_file(tmp_path, "round,loss,acc\n1,nan,0.1\n2,,0.2\n3,inf,NA\n"))

    assert math.isnan(run.rounds[0].loss or 0)
    assert (run.rounds[1].loss, run.rounds[2].loss, run.rounds[2].accuracy) == (
        None,
        math.inf,
        None,
    )


def test_a_column_that_is_asked_for_is_the_metric(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path, "round,loss,acc,val_f1,val_perplexity\n1,2,0.5,0.25,9\n2,1,0.6,0.5,7\n"
    )

    assert reported(only(path, "val_f1")) == [(1, 2.0, 0.25), (2, 1.0, 0.5)]
    assert [r.loss for r in only(path, "Val Perplexity").rounds] == [9.0, 7.0]
    assert [r.accuracy for r in only(path, "loss").rounds] == [None, None]
    assert complaint(path, "auc") == (
        "run.csv: there is no column auc. Fix: name the column with --metric; there are round, loss, acc, "
        "val_f1, val_perplexity"
    )


def test_train_and_validation_on_lines_of_their_own_are_one_round(tmp_path: Path) -> None:
    text = "epoch,step,train_loss,val_loss,val_acc\n0,49,1.5,,\n0,49,,1.4,0.5\n1,99,1.1,,\n1,99,,1.0,0.625\n"
    path = csv_file(tmp_path, text)

    assert reported(only(path)) == [(0, 1.4, 0.5), (1, 1.0, 0.625)]
    assert kinds(path) == []


def test_clients_by_line_are_weighted_by_their_examples(tmp_path: Path) -> None:
    text = (
        "round,client_id,num_examples,accuracy,loss,status\n"
        "1,a,300,0.8,1.0,reported\n1,b,100,0.4,2.0,late\n2,a,300,0.9,0.5,reported\n"
    )
    run = only(csv_file(tmp_path, text))

    assert reported(run) == [(1, 1.25, pytest.approx(0.7)), (2, 0.5, 0.9)]
    assert clients_of(run, 0) == {"a": 0.8, "b": 0.4}
    assert [(c.examples, c.state) for c in run.rounds[0].clients or ()] == [
        (300, "reported"),
        (100, "late"),
    ]


def test_the_servers_own_line_is_not_a_client(tmp_path: Path) -> None:
    run = only(
        csv_file(tmp_path, "round,client,acc\n1,server,0.5\n1,a,0.8\n2,server,0.6\n2,a,0.9\n")
    )

    assert [accuracy for _, _, accuracy in reported(run)] == [0.5, 0.6]
    assert clients_of(run) == {"a": 0.9}


def test_clients_by_column(tmp_path: Path) -> None:
    run = only(
        csv_file(tmp_path, "round,accuracy,client_1_acc,client_2_acc\n1,50,40,60\n2,60,50,\n")
    )

    assert clients_of(run, 0) == {"client-1": 0.4, "client-2": 0.6}
    assert clients_of(run, 1) == {"client-1": 0.5}


def test_privacy_and_time_are_read_where_they_are(tmp_path: Path) -> None:
    text = (
        "round,acc,epsilon,target_epsilon,delta,seconds,timestamp\n"
        "1,0.1,0.5,8,1e-5,12.5,2025-03-01T10:00:00Z\n2,0.2,1,8,1e-5,13,1740823220\n"
    )
    run = only(csv_file(tmp_path, text))

    assert [(r.epsilon, r.seconds) for r in run.rounds] == [(0.5, 12.5), (1.0, 13.0)]
    assert run.rounds[0].started == datetime(2025, 3, 1, 10, tzinfo=UTC)
    assert run.rounds[1].started == datetime(2025, 3, 1, 10, 0, 20, tzinfo=UTC)
    assert run.privacy == PrivacyTerms(1e-5, None, None, 8.0, None)


def test_two_runs_by_their_names(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "run_id,round,acc\nx,1,0.1\ny,1,0.3\nx,2,0.2\ny,2,0.4\n")
    first, second = read_file(path).runs

    assert (first.run_id, reported(first)) == ("x", [(1, None, 0.1), (2, None, 0.2)])
    assert (second.run_id, reported(second)) == ("y", [(1, None, 0.3), (2, None, 0.4)])
    (finding,) = read_file(path).findings
    assert (
        finding.sentence == "The file holds 2 runs (by column run_id); each is analysed by itself."
    )


def test_two_runs_where_the_counter_starts_anew(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "round,acc\n1,0.1\n2,0.2\n3,0.3\n1,0.4\n2,0.5\n")
    first, second = read_file(path).runs

    assert [first.run_id, second.run_id] == ["run (1)", "run (2)"]
    assert (len(first.rounds), reported(second)) == (3, [(1, None, 0.4), (2, None, 0.5)])
    (finding,) = read_file(path).findings
    assert finding.sentence == (
        "The file holds 2 runs (the round counter starts anew at line 5); each is analysed by itself."
    )


def test_a_counter_that_goes_back_part_of_the_way_is_one_run(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "round,acc\n1,0.1\n2,0.2\n3,0.3\n2,0.25\n3,0.35\n4,0.4\n")

    assert reported(only(path)) == [
        (1, None, 0.1),
        (2, None, 0.25),
        (3, None, 0.35),
        (4, None, 0.4),
    ]
    (finding,) = read_file(path).findings
    assert finding.sentence == (
        "The round counter of run goes back from 3 to 2 (line 5): rounds 2 to 3 of the earlier try "
        "were abandoned and do not count."
    )


def test_rounds_left_out_are_said_and_every_tenth_is_not(tmp_path: Path) -> None:
    assert kinds(csv_file(tmp_path, "round,acc\n1,0.1\n2,0.2\n5,0.3\n")) == ["rounds_missing"]
    assert kinds(csv_file(tmp_path, "round,acc\n10,0.1\n20,0.2\n30,0.3\n")) == []


@pytest.mark.parametrize(
    ("column", "values", "sentence"),
    [
        ("epsilon", (1, 3, 2), "has spent fell from 3 after round 2 to 2 after round 3"),
        ("epsilon_remaining", (5, 3, 4), "left to run grew from 3 at round 2 to 4 at round 3"),
    ],
)
def test_an_epsilon_that_grows_is_a_finding(
    tmp_path: Path, column: str, values: tuple[int, ...], sentence: str
) -> None:
    rows = "".join(f"{place},0.5,{value}\n" for place, value in enumerate(values, 1))
    (finding,) = read_file(csv_file(tmp_path, f"round,acc,{column}\n{rows}")).findings

    assert (finding.kind, finding.severity.value) == ("epsilon_grew", "high")
    assert sentence in finding.sentence


def test_a_file_that_is_being_written_loses_its_last_line_only(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "round,loss,acc\n1,0.9,0.5\n2,0.7,0.6\n3,0.")

    assert len(only(path).rounds) == 2
    assert kinds(path) == ["line_cut_off"]


def test_without_a_round_each_line_is_one(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "loss,acc\n0.9,0.5\n0.7,0.6\n")

    assert reported(only(path)) == [(1, 0.9, 0.5), (2, 0.7, 0.6)]
    assert kinds(path) == ["rounds_counted"]


@pytest.mark.promise(
    "Training: an unreadable file of a training run is refused in one line with its place"
)
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is empty"),
        ("  \n\n", "it is empty"),
        ("round,accuracy\n", "it has a header and no round"),
        ("1,0.5\n2,0.6\n", "line 1 has numbers where the columns' names should be"),
        ("hello\nworld\n", "line 1 has one column only"),
        ("round,acc,Acc\n1,1,1\n", "line 1: column Acc is repeated, as column 2 and 3"),
        ("round,acc\n1,0.5\n2,high\n", "line 3, column acc: 'high' is not a number"),
        ("round,acc\n1,0.5\n1.5,0.6\n", "line 3, column round: a round cannot be 1.5"),
        ("round,acc\n-1,0.5\n2,0.6\n", "line 2, column round: a round cannot be -1"),
        ("round,acc\n1,0.5,7\n2,0.6\n3,0.6\n", "line 2 has 3 cells where the header names 2 columns"),
        ("round,acc\n1,0.5\n2,120\n", "line 3, column acc: 120 is not a share"),
        ("round,acc\n1,0.5\n2,-0.2\n", "line 3, column acc: -0.2 is not a share"),
        ("round,acc\n1,0.85\n2,86\n3,87\n", "line 3, column acc: percent is mixed with fractions (0.85, then 86)"),
        ("round,acc\n1,85\n2,0.86\n3,0.87\n", "line 3, column acc: percent is mixed with fractions (85, then 0.86)"),
        ("round,width\n1,3\n2,4\n", "no column is an accuracy or a loss by its name"),
        ("round,acc\n,0.5\n,0.6\n", "it has no round"),
        ('round,acc\n1,"0.5\n2,0.6\n', "line 3, column acc: '0.5\\n2,0.6' is not a number"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, problem: str) -> None:
    assert complaint(csv_file(tmp_path, text)).startswith(f"run.csv: {problem}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # of several bad cells the one whose row comes first, of a row the leftmost by its role
        ("round,loss,seconds,accuracy\n1,.9,2,.5\n2,.7,long,.6\nx,low,3,.7\n", "line 3, column seconds: 'long' is not a number"),
        ("round,loss,seconds,accuracy\n1,.9,2,.5\n2,low,long,.6\n3,.5,3,.7\n", "line 3, column seconds: 'long' is not a number"),
        ("round,loss,accuracy\n1.5,.9,.5\n2,low,.6\n", "line 2, column round: a round cannot be 1.5"),
        ("round,loss,accuracy\n1,low,.5\n1.5,.9,.6\n", "line 2, column loss: 'low' is not a number"),
        # an accuracy is looked at as a whole
        ("round,loss,accuracy\nx,.9,.5\n2,.7,good\n", "line 3, column accuracy: 'good' is not a number"),
    ],
)  # fmt: skip
def test_the_first_bad_cell_is_named(tmp_path: Path, text: str, problem: str) -> None:
    assert complaint(csv_file(tmp_path, text)).startswith(f"run.csv: {problem}")


def test_a_bad_cell_in_a_line_without_a_round_does_no_harm(tmp_path: Path) -> None:
    run = only(csv_file(tmp_path, "round,loss,accuracy\n1,.9,.5\n,low,\n2,.7,.625\n"))
    assert reported(run) == [(1, 0.9, 0.5), (2, 0.7, 0.625)]


def test_cells_of_every_kind_in_one_column(tmp_path: Path) -> None:
    text = "round;loss;accuracy\n1;0,9;50%\n2; n/a ;62.5 %\n3;-;75%\n4;nan;80%\n5;.5;\n"
    losses = [loss for _, loss, _ in reported(only(csv_file(tmp_path, text)))]
    assert losses[:3] + losses[4:] == [0.9, None, None, 0.5]
    assert losses[3] is not None
    assert math.isnan(losses[3])


def test_examples_without_end_are_none(tmp_path: Path) -> None:
    text = "round,client_1_acc,client_1_examples\n1,.5,inf\n2,.6,9\n"
    clients = [each.clients or () for each in only(csv_file(tmp_path, text)).rounds]
    assert [[c.examples for c in one] for one in clients] == [[None], [9]]


def test_percent_that_begins_below_one_is_percent(tmp_path: Path) -> None:
    run = only(csv_file(tmp_path, "round,acc\n1,0.8\n2,9.5\n3,20\n"))

    assert [r.accuracy for r in run.rounds] == pytest.approx([0.008, 0.095, 0.2])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=30),
    st.permutations(["round", "loss", "accuracy"]),
)
def test_any_run_of_fractions_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, shares: list[float], order: list[str]
) -> None:
    rows = [{"round": n, "loss": 1 - s, "accuracy": s} for n, s in enumerate(shares)]
    text = "\n".join(
        [",".join(order), *(",".join(repr(row[name]) for name in order) for row in rows)]
    )
    run = only(csv_file(tmp_path_factory.mktemp("run"), text))

    assert reported(run) == [(row["round"], row["loss"], row["accuracy"]) for row in rows]
