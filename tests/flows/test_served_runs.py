"""What a new `serve` does with runs that the record of an earlier one lists."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from filelock import FileLock
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, Completed, Pending, Running, Scheduled

from flows.commands.served_runs import GONE, RUN_VARIABLE, ServedRuns
from tests.support.process import environment

HOLDING = [Pending(), Running(), Cancelling()]
NAME = "collect/hourly"


@flow
def collect() -> None:
    """Stand for a flow; it is never run."""


@pytest.fixture
def deployment(client: SyncPrefectClient) -> Iterator[UUID]:
    """A deployment that runs once at a time."""
    flow_id = client.create_flow(collect)
    made = client.create_deployment(flow_id, f"hourly-{uuid4()}", concurrency_limit=1)
    yield made
    client.delete_deployment(made)


def a_run(client: SyncPrefectClient, deployment: UUID, *states: State) -> FlowRun:
    """A run that went through these states as a runner proposes them."""
    run = client.create_flow_run_from_deployment(deployment)
    for state in states:
        answer = client.set_flow_run_state(run.id, state)
        assert answer.state.type == state.type
    return run


def state_of(client: SyncPrefectClient, run: FlowRun) -> State:
    found = client.read_flow_run(run.id).state
    assert found is not None
    return found


def recorded(home: Path, run: FlowRun) -> ServedRuns:
    """The record that a dead `serve` left."""
    ServedRuns(home).begin(str(run.id), NAME)
    return ServedRuns(home)


def left(home: Path) -> list[str]:
    return [path.stem for path in (home / "serve").glob("*.run")]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_run_without_a_process_crashes_and_its_place_is_free(
    client: SyncPrefectClient,
    deployment: UUID,
    tmp_path: Path,
    steps: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = a_run(client, deployment, *HOLDING[:steps])
    waiting = client.create_flow_run_from_deployment(deployment)
    refused = client.set_flow_run_state(waiting.id, Pending())
    assert refused.state.name == "AwaitingConcurrencySlot"

    recorded(tmp_path, run).end_left()

    assert (state_of(client, run).name, state_of(client, run).message) == ("Crashed", GONE)
    assert left(tmp_path) == []
    said = f"fedvitals: {NAME}: run {run.name} set to Crashed, since its process is gone\n"
    assert capsys.readouterr().err == said
    a_run(client, deployment, Pending())


@pytest.mark.parametrize("states", [[Scheduled()], [Pending(), Running(), Completed()]])
def test_a_run_that_holds_no_place_is_forgotten(
    client: SyncPrefectClient,
    deployment: UUID,
    tmp_path: Path,
    states: list[State],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = a_run(client, deployment, *states)

    recorded(tmp_path, run).end_left()

    assert state_of(client, run).type == states[-1].type
    assert (left(tmp_path), capsys.readouterr().err) == ([], "")


def test_a_run_that_was_deleted_is_forgotten(
    client: SyncPrefectClient, deployment: UUID, tmp_path: Path
) -> None:
    run = a_run(client, deployment, Pending())
    client.delete_flow_run(run.id)

    recorded(tmp_path, run).end_left()

    assert left(tmp_path) == []


def test_a_run_whose_process_outlives_serve_goes_on(
    client: SyncPrefectClient, deployment: UUID, tmp_path: Path
) -> None:
    run = a_run(client, deployment, Pending(), Running())
    runs = recorded(tmp_path, run)
    process = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        env={**environment(), RUN_VARIABLE: str(run.id)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        runs.end_left()
        assert (state_of(client, run).name, left(tmp_path)) == ("Running", [str(run.id)])

    runs.end_left()
    assert (state_of(client, run).name, left(tmp_path)) == ("Crashed", [])


def test_a_run_of_another_home_or_of_a_worker_is_left_alone(
    client: SyncPrefectClient, deployment: UUID, tmp_path: Path
) -> None:
    run = a_run(client, deployment, Pending(), Running())
    ServedRuns(tmp_path / "other").begin(str(run.id), NAME)

    ServedRuns(tmp_path / "ours").end_left()

    assert state_of(client, run).name == "Running"


def test_a_serve_beside_another_of_the_same_home_ends_no_run(
    client: SyncPrefectClient, deployment: UUID, tmp_path: Path
) -> None:
    run = a_run(client, deployment, Pending(), Running())
    runs = recorded(tmp_path, run)

    with FileLock(tmp_path / "serve" / "lock"):
        runs.end_left()
    assert state_of(client, run).name == "Running"

    runs.end_left()
    assert state_of(client, run).name == "Crashed"


def test_a_server_that_is_away_leaves_the_record(tmp_path: Path) -> None:
    runs = ServedRuns(tmp_path)
    run = str(uuid4())
    runs.begin(run, NAME)
    runs.under_way.discard(run)

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        runs.end_left()

    assert left(tmp_path) == [run]


def test_a_folder_that_takes_no_file_does_not_end_serve(tmp_path: Path) -> None:
    runs = ServedRuns(tmp_path)
    shutil.rmtree(tmp_path / "serve")

    assert not runs.begin(str(uuid4()), NAME).exists()


def test_its_folder_is_private(tmp_path: Path) -> None:
    ServedRuns(tmp_path / "home")

    assert os.stat(tmp_path / "home" / "serve").st_mode & 0o777 == 0o700
