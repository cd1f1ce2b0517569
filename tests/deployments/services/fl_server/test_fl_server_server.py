"""The process: HTTPS and its trust, equal runs in testing, ports, a clean end."""

import socket
import time
from pathlib import Path

import pytest
import requests

from deployments.services.fl_server.__main__ import main
from tests.support.running_server import (
    RunningServer,
    started,
)

TIMEOUT_SECONDS = 10.0


def figures(
    server: RunningServer, headers: dict[str, str] | None = None
) -> list[tuple[float, float, int]]:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        answer = requests.get(
            f"{server.http}/api/training/history", headers=headers, timeout=TIMEOUT_SECONDS
        )
        rounds = answer.json()["rounds"]
        if len(rounds) == 4:
            return [(entry["loss"], entry["accuracy"], len(entry["clients"])) for entry in rounds]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_https_is_trusted_with_the_ca_and_refused_without(testing_server: RunningServer) -> None:
    assert testing_server.ca_file is not None
    url = f"{testing_server.https}/api/status"
    trusted = requests.get(url, verify=testing_server.ca_file, timeout=TIMEOUT_SECONDS)
    assert trusted.json()["environment"] == "testing"
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(url, timeout=TIMEOUT_SECONDS)


def test_a_refused_handshake_is_counted(testing_server: RunningServer) -> None:
    def failures() -> str:
        page = requests.get(f"{testing_server.http}/metrics", timeout=TIMEOUT_SECONDS).text
        name = "fed_vit_autorl_encryption_failures_total "
        return next(line for line in page.splitlines() if line.startswith(name))

    before = failures()
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{testing_server.https}/health", timeout=TIMEOUT_SECONDS)
    assert failures() != before


@pytest.mark.slow
def test_testing_runs_are_equal_but_for_their_id_and_end_cleanly(
    testing_server: RunningServer, tmp_path: Path
) -> None:
    with started("--state-dir", str(tmp_path), FED_VIT_AUTORL_ENV="testing") as again:
        assert figures(again) == figures(testing_server)
        assert again.run_id != testing_server.run_id
        assert (again.https, again.ca_file) == (None, None)
    assert again.process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model.npy"]
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{again.http}/health", timeout=TIMEOUT_SECONDS)


@pytest.mark.slow
def test_a_run_with_another_seed_is_another(
    testing_server: RunningServer, guarded_server: RunningServer
) -> None:
    token = {"Authorization": "Bearer s3cret"}
    assert figures(guarded_server, token) != figures(testing_server)


def test_a_port_in_use_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FED_VIT_API_TOKEN", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--port", port, "--state-dir", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert f"cannot listen on 127.0.0.1:{port}" in captured.err
    assert captured.out == ""
