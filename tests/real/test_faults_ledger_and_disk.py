"""A ledger that is gone, old or locked, and a disk that is full: nothing is lost, nothing doubled."""

import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tasks.core.errors import LedgerUnavailable
from tasks.lake.windows import append_states
from tests.support.installation import Installation
from tests.support.nursery import Nursery
from tests.support.process import missing
from tests.support.servers import InfluxServer
from tests.support.whole_way import PATIENCE, Ended, WholeWay, hours, put_two, wait_until, whole_way

DAY = hours(3)
NEXT = hours(1, first=3)
BOTH = hours(4)
# two measurements of two series and a value a minute
VALUES_AN_HOUR = 2 * 2 * 60


@pytest.fixture
def way(tmp_path: Path, influxdb: InfluxServer, bucket: str) -> Iterator[WholeWay]:
    with whole_way(Installation(tmp_path / "here"), influxdb, bucket) as way:
        yield put_two(way, "alpha", "beta")


def ledger_files(way: WholeWay) -> list[Path]:
    return sorted(way.installed.home.glob("ledger.db*"))


def lose_ledger(way: WholeWay) -> None:
    for path in ledger_files(way):
        path.unlink()


def without_source(way: WholeWay) -> None:
    """From now on nobody answers at its address."""
    way.installed.variables["PROMETHEUS_URL"] = "http://127.0.0.1:1"


@contextmanager
def influxdb_refuses(way: WholeWay) -> Iterator[None]:
    way.installed.variables["INFLUXDB_TOKEN"] = "wrong"
    yield
    way.installed.variables["INFLUXDB_TOKEN"] = way.influxdb.token


def ends_whole(way: WholeWay) -> None:
    """The next run makes up for all, and the one behind it has nothing to do."""
    assert way.collect(BOTH).exit_code == 0
    way.assert_whole(BOTH)
    again = way.collect(BOTH)
    assert (again.values.landed, again.sinks["influxdb"].owed) == (0, 0)


@pytest.mark.promise("Faults: the ledger is deleted while the source is stopped")
def test_ledger_deleted_with_the_source_stopped(way: WholeWay, nursery: Nursery) -> None:
    with influxdb_refuses(way):
        assert way.collect(DAY).sinks["influxdb"].pending == 3 * VALUES_AN_HOUR
    without_source(way)
    lose_ledger(way)
    rebuilt = way.installed.run("ledger", "rebuild", "--json", timeout=PATIENCE)
    assert rebuilt.code == 0
    reported = {each["measurement"]: each["cells"] for each in rebuilt.document["measurements"]}
    assert (reported["alpha"], reported["beta"]) == (3, 3)
    lose_ledger(way)

    # without a word of ours too; what it was to read fails, what the lake has is loaded
    ran = way.run(nursery, NEXT)

    assert ran.code == 1
    assert "the ledger lacked 3 cells of alpha in production" in ran.text
    way.assert_whole(DAY)


@pytest.mark.promise("Faults: the ledger is an older copy than the lake")
def test_ledger_older_than_the_lake(way: WholeWay, nursery: Nursery, tmp_path: Path) -> None:
    assert way.collect(DAY).exit_code == 0
    for path in ledger_files(way):
        shutil.copy(path, tmp_path / path.name)
    with influxdb_refuses(way):
        assert way.collect(BOTH).sinks["influxdb"].pending == VALUES_AN_HOUR
    lose_ledger(way)
    for path in tmp_path.glob("ledger.db*"):
        shutil.copy(path, way.installed.home / path.name)
    without_source(way)

    ran = way.run(nursery, DAY)

    assert "the ledger lacked 1 cells of alpha in production" in ran.text
    way.assert_whole(BOTH)


@pytest.mark.promise("Faults: kill -9 between a landing and `_windows`, and the ledger is lost")
def test_killed_between_a_landing_and_the_append_to_windows(
    way: WholeWay, nursery: Nursery
) -> None:
    function = append_states
    point = f"{function.__module__}:{function.__qualname__}:before:1"
    assert way.run(nursery, DAY, point).code == -signal.SIGKILL
    assert not (way.installed.home / "lake" / "_windows").exists()
    lose_ledger(way)

    rebuilt = way.installed.run("ledger", "rebuild", "--json", timeout=PATIENCE)

    reported = {each["measurement"]: each["values"] for each in rebuilt.document["measurements"]}
    assert reported == {"alpha": 360, "beta": 360}
    asked = "SELECT DISTINCT measurement FROM _windows"
    rows = way.command("lake", "query", asked, "--json").document["rows"]
    assert sorted(row["measurement"] for row in rows) == ["alpha", "beta"]
    ends_whole(way)


@contextmanager
def locked(way: WholeWay) -> Iterator[None]:
    """Another process's write lock on the ledger, of a user who looks into it by hand."""
    path = way.installed.home / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            database.execute("ROLLBACK")


@pytest.mark.promise("Faults: the ledger is locked by another program, for a while or too long")
def test_ledger_locked_for_longer_than_a_run_waits(way: WholeWay, nursery: Nursery) -> None:
    """From the start, and in the midst of a run, when nothing of the new hour is landed yet."""
    ledger = way.installed.home / "ledger.db"
    assert way.collect(DAY).exit_code == 0
    way.installed.variables["FEDVITALS_LEDGER_URL"] = f"sqlite:///{ledger}?timeout=0.2"
    with locked(way):
        refused = way.run(nursery, NEXT)
    assert refused.code != 0
    assert "LedgerUnavailable: ledger sqlite:///" in refused.text
    assert "database is locked" in refused.text

    way.source.gate.clear()
    with way.begun(nursery, NEXT) as running:
        assert way.source.reached.wait(PATIENCE)
        with locked(way):
            way.source.gate.set()
            ended = running.ended()
    assert ended.code != 0
    assert "database is locked" in ended.text

    del way.installed.variables["FEDVITALS_LEDGER_URL"]
    ends_whole(way)


@pytest.mark.promise("Faults: the ledger is locked by another program, for a while or too long")
def test_ledger_locked_for_a_while_is_waited_for(way: WholeWay, nursery: Nursery) -> None:
    assert way.collect(DAY).exit_code == 0
    table = way.installed.home / "lake" / "alpha" / "_delta_log"
    before = len(list(table.iterdir()))
    way.source.gate.clear()
    with way.begun(nursery, NEXT) as running:
        assert way.source.reached.wait(PATIENCE)
        with locked(way):
            way.source.gate.set()
            # behind the commit comes the ledger, which is waited for
            wait_until(lambda: len(list(table.iterdir())) > before)
        ended = running.ended()
    assert (ended.code, ended.receipt["values"]["landed"]) == (0, VALUES_AN_HOUR)
    way.assert_whole(BOTH)


@contextmanager
def with_small_files(nursery: Nursery, most: int) -> Iterator[None]:
    """Her children cannot write a file of more bytes, as with a quota; nobody needs to be root."""
    resource.prlimit(nursery.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    yield
    free = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(nursery.pid, resource.RLIMIT_FSIZE, free)


def complaint(ended: Ended) -> str:
    """What a run that failed says of it: the error that ended it, or its receipt's problems."""
    if "Traceback" in ended.text:
        last = ended.text.splitlines()[-1]
        assert last.startswith(LedgerUnavailable.__module__)
        return last
    problems = [p for line in ended.receipt["measurements"] for p in line.get("problems", ())]
    assert "defect of fedvitals" not in " ".join(problems)
    return "\n".join(problems)


@pytest.mark.promise("Faults: the disk is full under home, lake or ledger")
@pytest.mark.parametrize("most", [12_000, 40_000])
def test_files_that_may_not_grow(way: WholeWay, nursery: Nursery, most: int) -> None:
    assert way.collect(DAY).exit_code == 0
    with with_small_files(nursery, most):
        ended = way.run(nursery, NEXT)
    assert re.search("disk I/O error|disk is full", complaint(ended))
    ends_whole(way)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, which root can mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        missing("a small disk", "run these tests as root, who may mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled_up(disk: Path, left: int) -> Iterator[None]:
    """So many bytes are left on the disk."""
    ballast = disk / "ballast"
    state = os.statvfs(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_frsize - left)
    try:
        yield
    finally:
        ballast.unlink()


def on_the_disk(way: WholeWay, disk: Path, what: str) -> None:
    """The whole home of the installation, or just its lake or ledger."""
    if what == "home":
        way.installed.home.symlink_to(disk, target_is_directory=True)
    elif what == "lake":
        way.installed.home.mkdir()
        (way.installed.home / "lake").symlink_to(disk, target_is_directory=True)
    else:
        way.installed.variables["FEDVITALS_LEDGER_URL"] = f"sqlite:///{disk / 'ledger.db'}"


@pytest.mark.promise("Faults: the disk is full under home, lake or ledger")
@pytest.mark.parametrize("what", ["home", "lake", "ledger"])
def test_disk_full(way: WholeWay, nursery: Nursery, small_disk: Path, what: str) -> None:
    on_the_disk(way, small_disk, what)
    assert way.collect(DAY).exit_code == 0
    page = os.sysconf("SC_PAGE_SIZE")
    for left in (0, 3 * page):
        with filled_up(small_disk, left):
            ended = way.run(nursery, NEXT)
        assert f"the disk is full: {FOLDER[what](way)} has " in complaint(ended), left
    ends_whole(way)


FOLDER: Mapping[str, Callable[[WholeWay], Path]] = {
    "home": lambda way: way.installed.home.resolve(),
    "lake": lambda way: way.installed.home / "lake",
    "ledger": lambda way: Path(way.installed.variables["FEDVITALS_LEDGER_URL"][10:]).parent,
}


@pytest.mark.promise("Faults: the disk is full under home, lake or ledger")
def test_disk_that_fills_up_in_the_midst_of_a_run(
    way: WholeWay, nursery: Nursery, small_disk: Path
) -> None:
    """Nothing is begun that has no space: the Delta library would panic on it."""
    on_the_disk(way, small_disk, "home")
    assert way.collect(DAY).exit_code == 0
    way.source.gate.clear()
    with way.begun(nursery, NEXT) as running:
        assert way.source.reached.wait(PATIENCE)
        with filled_up(small_disk, 1_000_000):
            way.source.gate.set()
            ended = running.ended()
    table = way.installed.home.resolve() / "lake" / "alpha"
    assert re.search(f"the disk is full: .*{table.name} has [0-9.]+(KB|MB) free", complaint(ended))
    assert "panicked" not in ended.text
    (warning,) = [note for note in ended.receipt["notes"] if "little space" in note]
    assert f"{way.installed.home.resolve()} has " in warning
    ends_whole(way)


def processor_seconds() -> float:
    """Of commands that ended; others use the machine too."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.promise("Faults: the disk is full under home, lake or ledger")
def test_a_full_disk_is_one_line_within_ten_seconds(way: WholeWay, small_disk: Path) -> None:
    """With Prefect too, which has its files there: its server is not even asked."""
    on_the_disk(way, small_disk, "home")
    way.installed.variables["PREFECT_API_URL"] = "http://127.0.0.1:9/api"
    with filled_up(small_disk, 0):
        began = processor_seconds()
        ran = way.installed.run("collect")
        took = processor_seconds() - began
        checks = way.command("doctor", "--json").document["checks"]
    line = f"the disk is full: {way.installed.home.resolve()} has 0B free. Fix: free space"
    assert (ran.code, ran.complaint[: len(line)]) == (1, line)
    assert took < 10
    found = {(each["service"], each["what"]): each for each in checks if not each["ok"]}
    assert found["disk", "has space"]["detail"] == f"{way.installed.home.resolve()} has 0B free"
    assert ("catalogue", "catalogue and suites are sound") not in found

    # with space again, the next thing is looked at
    assert way.command("collect").complaint.startswith("PREFECT_API_URL: no server answers")


@pytest.mark.parametrize(("least", "warns"), [("1GB", True), ("1MB", False)])
def test_little_space_is_a_warning_of_each_run(
    way: WholeWay, small_disk: Path, least: str, warns: bool
) -> None:
    on_the_disk(way, small_disk, "home")
    put_two(way, "alpha", min_free_space=least)
    for _ in range(2):
        notes = [note for note in way.collect(NEXT).notes if "little space is left" in note]
        assert bool(notes) == warns
    checks = way.command("doctor", "--json").document["checks"]
    (home, _) = [each for each in checks if each["service"] == "disk"]
    assert home["ok"] != warns
