"""A lake with torn files: it works again afterwards, nothing is deleted, and what is lost is read again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.errors import LakeDamaged, LedgerUnavailable, LockHeld
from tasks.core.series import ALL_TIME
from tasks.lake.windows import append_states, states_in_force
from tasks.ledger.locks import FileLocks
from tasks.pipeline.recovery import Rebuilding
from tasks.runs import repair as repairing
from tasks.runs.repair import Repaired, find_damage, repair
from tests.support.workbench import HOUR, Bench, a_bench, at, cell, rows

Tear = Callable[[Path], None]


@pytest.fixture
def filled(tmp_path: Path) -> Bench:
    """Three hours, landed one run after the other, the second hour with a bad value."""
    bench = a_bench(tmp_path)
    for number in range(3):
        times = [at(hour + 0.25) for hour in range(number + 1)] + [at(0.5)]
        values = [*[0.1, 0.2, 0.3][: number + 1], 2.0]
        bench.put(rows(bench.measurement, times, share_ratio=values))
        bench.run(at(number + 0.9))
        append_states(bench.lake, bench.recorded)
        bench.recorded.clear()
    return bench


def work(bench: Bench, run_id: str = "run-90") -> Rebuilding:
    catalogue = {"example": bench.measurement}
    locks = FileLocks(bench.folder / "locks")
    return Rebuilding(bench.lake, bench.ledger, locks, catalogue, HOUR, run_id)


def table(bench: Bench, name: str = "example") -> Path:
    return bench.folder / "lake" / name


def newest_entry(folder: Path) -> Path:
    return max((folder / "_delta_log").glob("*.json"))


def newest_parquet(folder: Path) -> Path:
    actions = [json.loads(line) for line in newest_entry(folder).read_text().splitlines()]
    added: list[str] = [action["add"]["path"] for action in actions if "add" in action]
    return folder / added[0]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def spoil(path: Path) -> None:
    """As large as before, with nothing in it, as some file systems leave it."""
    path.write_bytes(bytes(path.stat().st_size))


def files(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def again(bench: Bench) -> None:
    """The next run, and that all is as it was before."""
    bench.run(at(2.9))
    assert bench.landed(0, 3)["share_ratio"].tolist() == [0.1, 0.2, 0.3]
    assert bench.sink.values("share_ratio") == [0.1, 0.2, 0.3]
    assert bench.quarantined() == [("share_ratio", 2.0)]


def test_a_sound_lake_is_left_alone(filled: Bench) -> None:
    before = files(filled.folder / "lake")
    assert find_damage(work(filled)) == Repaired((), ())
    assert repair(work(filled)) == Repaired((), ())
    assert files(filled.folder / "lake") == before


@pytest.mark.promise(
    "Repair: files torn by a power cut are moved aside, and their data are read again"
)
@pytest.mark.parametrize("tear", [empty, halve, spoil])
def test_torn_log_entry(filled: Bench, tear: Tear) -> None:
    entry = newest_entry(table(filled))
    tear(entry)
    torn = entry.read_bytes()
    with pytest.raises(LakeDamaged, match="fedvitals lake repair"):
        filled.landed(2)
    (found,) = find_damage(work(filled)).tables
    assert [each.path for each in found.damage] == [f"_delta_log/{entry.name}"]
    assert entry.exists()
    done = repair(work(filled))
    (reported,) = done.cells
    assert (reported.start, reported.stop, reported.cells, reported.values) == (at(2), at(3), 1, 1)
    moved = filled.folder / "lake" / "_torn" / "run-90" / "example" / "_delta_log" / entry.name
    assert moved.read_bytes() == torn
    assert filled.landed(0, 3)["share_ratio"].tolist() == [0.1, 0.2]
    assert filled.state(2).state == "torn"  # type: ignore[union-attr]
    assert filled.sink.values("share_ratio") == [0.1, 0.2, 0.3]
    again(filled)
    assert repair(work(filled, "run-91")) == Repaired((), ())


@pytest.mark.slow
def test_torn_entry_under_sound_ones_takes_them_along(filled: Bench) -> None:
    entries = sorted((table(filled) / "_delta_log").glob("*.json"))
    empty(entries[2])
    (found,) = find_damage(work(filled)).tables
    assert [each.problem for each in found.damage] == [
        *["follows a corrupt entry"] * (len(entries) - 3),
        "an empty log entry",
    ]
    assert repair(work(filled)).cells[0].cells == 2
    again(filled)


@pytest.mark.slow
def test_missing_entry(filled: Bench) -> None:
    entries = sorted((table(filled) / "_delta_log").glob("*.json"))
    entries[2].unlink()
    assert repair(work(filled)).cells[0].cells == 2
    again(filled)


@pytest.mark.slow
def test_no_state_left_moves_the_whole_table(filled: Bench) -> None:
    empty(min((table(filled) / "_delta_log").glob("*.json")))
    done = repair(work(filled))
    assert done.tables[0].damage[0].path == "."
    assert (filled.folder / "lake" / "_torn" / "run-90" / "example" / "_delta_log").is_dir()
    assert (done.cells[0].cells, done.cells[0].values) == (3, 3)
    again(filled)


@pytest.mark.slow
@pytest.mark.promise(
    "Repair: files torn by a power cut are moved aside, and their data are read again"
)
@pytest.mark.parametrize(
    ("tear", "problem"),
    [
        (empty, "an empty Parquet file"),
        (halve, "a Parquet file of "),
        (spoil, "a corrupt Parquet file"),
        (Path.unlink, "a missing Parquet file"),
    ],
)
def test_torn_parquet(filled: Bench, tear: Tear, problem: str) -> None:
    tear(newest_parquet(table(filled)))
    (found,) = find_damage(work(filled)).tables
    assert found.damage[0].problem.startswith(problem)
    (reported,) = repair(work(filled)).cells
    assert (reported.start, reported.cells, reported.values) == (at(2), 1, 1)
    again(filled)


@pytest.mark.slow
@pytest.mark.promise(
    "Repair: files torn by a power cut are moved aside, and their data are read again"
)
def test_torn_checkpoint_is_done_without(tmp_path: Path) -> None:
    bench = a_bench(tmp_path)
    for number in range(21):
        bench.put(rows(bench.measurement, [at(0.25)], share_ratio=[number / 100]))
        bench.run(at(0.9))
    append_states(bench.lake, bench.recorded)
    (checkpoint,) = (table(bench) / "_delta_log").glob("*.checkpoint.parquet")
    halve(checkpoint)
    (found,) = repair(work(bench)).tables
    assert {Path(each.path).name for each in found.damage} == {checkpoint.name, "_last_checkpoint"}
    assert bench.landed(0)["share_ratio"].tolist() == [0.2]


@pytest.mark.slow
@pytest.mark.promise(
    "Repair: files torn by a power cut are moved aside, and their data are read again"
)
def test_torn_quarantine_is_found_out_again(filled: Bench) -> None:
    empty(newest_parquet(table(filled, "_quarantine/example")))
    with pytest.raises(LakeDamaged):
        filled.quarantined()
    done = repair(work(filled))
    assert (done.tables[0].table, done.cells) == ("_quarantine/example", ())
    assert filled.quarantined() == []
    again(filled)


@pytest.mark.slow
@pytest.mark.promise(
    "Repair: files torn by a power cut are moved aside, and their data are read again"
)
def test_torn_states_are_reported_again_by_the_ledger(filled: Bench) -> None:
    before = filled.ledger.cells("example", "production", ALL_TIME)
    for file in table(filled, "_windows").glob("*.parquet"):
        empty(file)
    assert repair(work(filled)).cells == ()
    assert {state.cell: state for state in states_in_force(filled.lake)} == before


@pytest.mark.slow
def test_torn_version_file(filled: Bench) -> None:
    file = filled.folder / "lake" / "_fedvitals.json"
    halve(file)
    fresh = a_bench(filled.folder)
    assert [each.table for each in find_damage(work(fresh)).tables] == ["_fedvitals.json"]
    repair(work(fresh))
    assert json.loads(file.read_text()) == {"lake": 1}
    assert fresh.landed(0, 3)["share_ratio"].tolist() == [0.1, 0.2, 0.3]


def test_only_one_measurement(filled: Bench) -> None:
    empty(newest_entry(table(filled, "_windows")))
    assert find_damage(work(filled), "example") == Repaired((), ())
    assert [each.table for each in find_damage(work(filled)).tables] == ["_windows"]


@pytest.mark.slow
@pytest.mark.promise("Crash: in `lake repair`: the same command completes it")
def test_a_crash_before_the_cells_were_marked_is_made_good(
    filled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older rows of as many are there then, so that counting them would find nothing."""
    filled.put(rows(filled.measurement, [at(2.25)], share_ratio=[0.4]))
    filled.run(at(2.9))
    append_states(filled.lake, filled.recorded)
    empty(newest_entry(table(filled)))

    def crash(*_: object) -> None:
        raise LedgerUnavailable(url="x", problem="crashed on purpose")

    with monkeypatch.context() as patched:
        patched.setattr(repairing, "_recount", crash)
        with pytest.raises(LedgerUnavailable):
            repair(work(filled))
    done = repair(work(filled, "run-91"))
    assert (done.tables, done.cells[0].start, done.cells[0].cells) == ((), at(2), 1)
    filled.run(at(2.9))
    assert filled.landed(2)["share_ratio"].tolist() == [0.4]
    assert repair(work(filled, "run-92")) == Repaired((), ())


def test_a_run_under_way_is_not_disturbed(filled: Bench) -> None:
    entry = newest_entry(table(filled))
    empty(entry)
    with (
        FileLocks(filled.folder / "locks").hold("example", "production", "run-7"),
        pytest.raises(LockHeld, match="run-7"),
    ):
        repair(work(filled))
    assert entry.exists()
    assert filled.state(2).cell == cell(2)  # type: ignore[union-attr]
