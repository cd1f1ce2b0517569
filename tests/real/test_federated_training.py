"""`fedvitals federated` after a real training, into a real InfluxDB: every round once, whatever ends."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tasks.core.catalogue import Catalogue
from tasks.core.settings import shipped
from tasks.lake.tables import Lake
from tasks.training.history import training_runs
from tests.support.installation import COMMAND, Installation, Ran
from tests.support.running_server import RunningServer, started
from tests.support.servers import InfluxServer, PrefectServer, quoted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CATALOGUE = Catalogue.read(shipped("config") / "metrics.yaml")
Round = tuple[str, int]


@pytest.fixture
def installed(
    tmp_path: Path, prefect_server: PrefectServer, influxdb: InfluxServer, bucket: str
) -> Installation:
    return Installation(
        tmp_path,
        {
            "PREFECT_API_URL": prefect_server.api_url,
            "INFLUXDB_URL": influxdb.url,
            "INFLUXDB_TOKEN": influxdb.token,
            "INFLUXDB_ORG": influxdb.org,
            "INFLUXDB_BUCKET": bucket,
        },
    )


@pytest.fixture
def training() -> Iterator[RunningServer]:
    """Half a minute of training, so that the first poll sees a part of it."""
    with started("--rounds", "30", "--round-seconds", "1") as server:
        yield server


def follow(installation: Installation, server: RunningServer, *options: str) -> Ran:
    installation.variables["FED_VIT_API_URL"] = server.http
    folder = str(installation.folder / "fl")
    ran = installation.here("federated", "--json", "--output", folder, *options)
    assert ran.code == 0, ran.err or ran.out
    return ran


def judged(installation: Installation) -> dict[str, Any]:
    text = (installation.folder / "fl" / "convergence-analysis.json").read_text("utf-8")
    (run,) = json.loads(text)["runs"]
    return dict(run)


def reported(server: RunningServer) -> dict[str, Any]:
    answer = requests.get(f"{server.http}/api/training/history", timeout=10)
    return dict(answer.json())


def rounds_of(server: RunningServer) -> list[Round]:
    history = reported(server)
    return [(history["run_id"], each["round"]) for each in history["rounds"]]


def wait_until_done(server: RunningServer) -> None:
    while True:
        status = requests.get(f"{server.http}/api/training/status", timeout=10).json()
        if status["state"] not in ("idle", "running"):
            return
        time.sleep(0.2)


def landed(installation: Installation) -> list[Round]:
    """Every landed row of a round."""
    sql = "SELECT run_id, round FROM fl_rounds ORDER BY time"
    rows = installation.here("lake", "query", sql, "--json").document["rows"]
    return [(row["run_id"], row["round"]) for row in rows]


def loaded(influxdb: InfluxServer, bucket: str) -> list[Round]:
    """Every point of a round."""
    rows = influxdb.flux(f"""
        from(bucket: {quoted(bucket)})
          |> range(start: 1970-01-01T00:00:00Z, stop: 2200-01-01T00:00:00Z)
          |> filter(fn: (r) => r._measurement == "fl_rounds" and r._field == "round")
    """)
    rows.sort(key=lambda row: row["_time"])
    return [(row["run_id"], row["_value"]) for row in rows]


@pytest.mark.promise(
    "Training: every round is landed and loaded once, also across a restart of the service between two polls"
)
def test_every_round_is_landed_and_loaded_once(
    installed: Installation, training: RunningServer, influxdb: InfluxServer, bucket: str
) -> None:
    while len(reported(training)["rounds"]) < 2:
        time.sleep(0.1)
    follow(installed, training)
    before = landed(installed)
    assert len(before) >= 2
    wait_until_done(training)
    follow(installed, training)

    assert landed(installed) == loaded(influxdb, bucket) == rounds_of(training)
    assert len(landed(installed)) == 30
    # and each as the service tells it, clients and all
    (run,) = training_runs(Lake(str(installed.home / "lake")), "production", CATALOGUE)
    history = reported(training)
    assert (run.run_id, run.total_rounds) == (training.run_id, 30)
    for found, expected in zip(run.rounds, history["rounds"], strict=True):
        assert (found.round, found.seconds, found.loss, found.accuracy, found.epsilon) == tuple(
            expected[name] for name in ("round", "seconds", "loss", "accuracy", "epsilon")
        )
        assert found.clients is not None
        numbers = sorted((c.examples or 0, c.state or "") for c in found.clients)
        assert numbers == sorted((c["examples"], c["state"]) for c in expected["clients"])
        assert not {c.id for c in found.clients} & {c["id"] for c in expected["clients"]}
    assert run.privacy is not None
    assert run.privacy.noise_multiplier == history["noise_multiplier"]


@pytest.mark.promise(
    "Training: goals are checked before any work; without a target the chance is null with its reason"
)
def test_the_privacy_race_has_a_chance_with_a_target_and_a_reason_without(
    installed: Installation, training: RunningServer
) -> None:
    while len(reported(training)["rounds"]) < 12:
        time.sleep(0.1)
    follow(installed, training)
    without = judged(installed)
    assert without["privacy"]["probability"] is None
    assert "the chance to reach the target needs a target" in without["privacy"]["why_not"]
    assert without["privacy"]["exhausted"] is not None

    follow(installed, training, "--target", "80%")
    race = judged(installed)["privacy"]
    assert isinstance(race["probability"], float)
    assert 0.0 <= race["probability"] <= 1.0
    # a run that is over by now has no chance left to name
    assert race["sentence"].startswith("Epsilon ")


@pytest.mark.promise(
    "Training: every round is landed and loaded once, also across a restart of the service between two polls"
)
def test_a_server_that_begins_anew_has_two_runs_and_loses_none(
    installed: Installation, influxdb: InfluxServer, bucket: str
) -> None:
    expected: list[Round] = []
    for _ in range(2):
        with started("--rounds", "6") as server:
            wait_until_done(server)
            follow(installed, server)
            expected += rounds_of(server)
    assert len({run for run, _ in expected}) == 2
    assert landed(installed) == loaded(influxdb, bucket) == expected
    assert len(expected) == 12


@pytest.mark.promise(
    "Crash: between the rounds of a training and their clients: each table goes on from its own last round"
)
def test_a_run_that_is_killed_leaves_every_round_once(
    installed: Installation, influxdb: InfluxServer, bucket: str
) -> None:
    with started("--rounds", "6") as server:
        wait_until_done(server)
        installed.variables["FED_VIT_API_URL"] = server.http
        _kill_once_landed(installed)
        follow(installed, server)
        assert landed(installed) == loaded(influxdb, bucket) == rounds_of(server)
        clients = installed.here(
            "lake", "query", "SELECT count(*) AS n FROM fl_round_clients", "--json"
        )
        drawn = sum(len(each["clients"]) for each in reported(server)["rounds"])
        assert clients.document["rows"] == [{"n": drawn}]


def _kill_once_landed(installation: Installation) -> None:
    """Runs the command and kills it as soon as the first round is in the lake."""
    log = installation.home / "lake" / "fl_rounds" / "_delta_log"
    with subprocess.Popen(
        [str(COMMAND), "federated"],
        cwd=installation.folder,
        env=installation.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        # the first entry makes the table, the second one holds rows
        while not (log / "00000000000000000001.json").exists():
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
