"""A Delta log that names files outside of its table: damage, and no command touches them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tasks.core.errors import LakeDamaged
from tasks.lake.durability import is_outside
from tasks.lake.export import export
from tasks.lake.query import describe, query
from tasks.runs.repair import find_damage, repair
from tests.support.workbench import Bench, at, rows
from tests.tasks.runs.test_repair import work

SECRET = b"the user's own"
PATHS = [
    "../../secret.parquet",
    "%2e%2e/%2e%2e/secret.parquet",
    "a/../../../secret.parquet",
    "{folder}/secret.parquet",
    "file://{folder}/secret.parquet",
    "s3://bucket/secret.parquet",
]


@pytest.fixture
def landed(bench: Bench) -> Bench:
    bench.put(rows(bench.measurement, [at(0.25)], share_ratio=[0.25]))
    bench.run(at(0.9))
    (bench.folder / "secret.parquet").write_bytes(SECRET)
    return bench


def log_of(bench: Bench) -> Path:
    return bench.folder / "lake" / "example" / "_delta_log"


def name_outside(bench: Bench, path: str) -> None:
    """Add a commit that names the file as one of the table's."""
    newest = max(log_of(bench).glob("*.json"))
    lines = map(json.loads, newest.read_text().splitlines())
    added = next(line["add"] for line in lines if "add" in line)
    fact = {**added, "path": path.format(folder=bench.folder), "size": len(SECRET)}
    version = int(newest.stem) + 1
    (log_of(bench) / f"{version:020d}.json").write_text(json.dumps({"add": fact}))


COMMANDS: dict[str, Callable[[Bench], object]] = {
    "export": lambda bench: export(
        bench.lake, "example", None, None, "csv", bench.folder / "out.csv"
    ),
    "query": lambda bench: query(bench.lake, "SELECT * FROM example"),
    "ls": lambda bench: describe(bench.lake),
    "read": lambda bench: bench.landed(0, 1),
    "prepare": lambda bench: bench.lake.prepare(bench.measurement),
}


@pytest.mark.slow
@pytest.mark.promise("Security: a lake names no file outside of its table")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_reads_a_file_outside(landed: Bench, path: str, command: str) -> None:
    COMMANDS[command](landed)
    name_outside(landed, path)
    with pytest.raises(LakeDamaged, match="names a file outside of the table"):
        COMMANDS[command](landed)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("in_checkpoint", [False, True])
def test_repair_moves_the_log_aside_and_nothing_else(
    landed: Bench, path: str, in_checkpoint: bool
) -> None:
    name_outside(landed, path)
    if in_checkpoint:
        DeltaTable(str(log_of(landed).parent)).create_checkpoint()
    found = find_damage(work(landed)).tables
    assert {Path(damage.path).parts[0] for table in found for damage in table.damage} == {
        "_delta_log"
    }
    repair(work(landed))
    assert (landed.folder / "secret.parquet").read_bytes() == SECRET
    assert landed.landed(0, 1)["share_ratio"].tolist() == [0.25]
    assert find_damage(work(landed)).tables == ()


@pytest.mark.parametrize("name", ["part-0-c000.snappy.parquet", "time=2026-01-01/part-0.parquet"])
def test_a_name_within_the_table_is_none_outside(name: str) -> None:
    assert not is_outside(name)


@pytest.mark.parametrize(
    "name", ["", "/", ".", "..", "%252e%252e/x", "C:x", "a\\..\\x", "a//b", "x\0"]
)
def test_a_doubtful_name_is_outside(name: str) -> None:
    assert is_outside(name)
