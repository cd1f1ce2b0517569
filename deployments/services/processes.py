"""Servers for a demo: each on a free loopback port, stopped by its own process id."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
import yaml

# the first migration of a Prefect server on a cold disk alone takes more than a minute
READY_SECONDS = 120.0
STOP_SECONDS = 15.0
LOOPBACK = "127.0.0.1"
INFLUX_LOGIN = {"username": "demo", "password": "fedvitals-demo"}


class NotStarted(Exception):
    """A server did not start; the message ends with its last output."""


@dataclass(frozen=True)
class InfluxAccess:
    """A started InfluxDB: its URL and the access to write to it."""

    url: str
    token: str
    org: str
    bucket: str


def find_program(name: str) -> str | None:
    """Return the program on the PATH, else where `make influxd` puts it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return shutil.which(name) or shutil.which(name, path=str(cache / "fedvitals" / "bin"))


@dataclass(frozen=True)
class Training:
    """A started federated training: its URLs, and its CA's file."""

    http: str
    https: str
    ca_file: str


@contextmanager
def fl_server(
    folder: Path, rounds: int, round_seconds: float, lossy_clients: int = 0
) -> Iterator[Training]:
    """Run a federated training as a service."""
    command = [sys.executable, "-m", "deployments.services.fl_server", "--port", "0"]
    command += ["--rounds", str(rounds), "--round-seconds", str(round_seconds)]
    command += ["--lossy-clients", str(lossy_clients)]
    command += ["--tls-dir", str(folder / "tls"), "--https-port", "0"]
    with _running("fl_server", command, folder) as (process, output):
        ready = json.loads(_wait(process, output, lambda: _first_line(output)))
        yield Training(ready["http"], ready["https"], ready["ca_file"])


@contextmanager
def prometheus(program: str, target: str, folder: Path, interval: str) -> Iterator[str]:
    """Run a Prometheus that scrapes the target (host:port); yield its URL."""
    config, port = folder / "prometheus.yml", _free_port()
    folder.mkdir(parents=True, exist_ok=True)
    scrape = {"job_name": "fed-server", "static_configs": [{"targets": [target]}]}
    config.write_text(
        yaml.safe_dump({"global": {"scrape_interval": interval}, "scrape_configs": [scrape]})
    )
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'prometheus'}"]
    command += [f"--web.listen-address={LOOPBACK}:{port}", "--log.level=warn"]
    with _answering("prometheus", command, folder, port, "/-/ready") as url:
        yield url


@contextmanager
def influxdb(program: str, folder: Path) -> Iterator[InfluxAccess]:
    """Run an InfluxDB with one organisation and bucket, its data below the folder."""
    port = _free_port()
    command = [program, f"--bolt-path={folder / 'influxd.bolt'}", "--reporting-disabled"]
    command += [f"--engine-path={folder / 'engine'}", "--log-level=error"]
    command += [f"--http-bind-address={LOOPBACK}:{port}"]
    with _answering("influxdb", command, folder, port, "/health") as url:
        yield _set_up(url)


@contextmanager
def prefect_server(folder: Path) -> Iterator[str]:
    """Run a Prefect server with its data in PREFECT_HOME; yield the URL of its API."""
    port = _free_port()
    command = [sys.executable, "-m", "prefect", "server", "start"]
    command += ["--host", LOOPBACK, "--port", str(port)]
    # its UI uses port 4200 otherwise, whatever the server's port
    ui = {"PREFECT_SERVER_UI_API_URL": f"http://{LOOPBACK}:{port}/api"}
    with _answering("prefect", command, folder, port, "/api/health", ui) as url:
        yield f"{url}/api"


@contextmanager
def _answering(
    name: str,
    command: Sequence[str],
    folder: Path,
    port: int,
    path: str,
    settings: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Run the command until its path answers on the port; yield its URL."""
    url = f"http://{LOOPBACK}:{port}"
    with _running(name, command, folder, settings) as (process, output):
        _wait(process, output, lambda: _answers(f"{url}{path}"))
        yield url


def _set_up(url: str) -> InfluxAccess:
    access = {**INFLUX_LOGIN, "org": "fedvitals", "bucket": "fedvitals"}
    answer = requests.post(f"{url}/api/v2/setup", json=access, timeout=30)
    answer.raise_for_status()
    return InfluxAccess(url, answer.json()["auth"]["token"], access["org"], access["bucket"])


@contextmanager
def _running(
    name: str, command: Sequence[str], folder: Path, settings: Mapping[str, str] | None = None
) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    folder.mkdir(parents=True, exist_ok=True)
    output, errors = folder / f"{name}.out", folder / f"{name}.err"
    # the token of the user's own service must not apply to the demo's service
    env = {name: value for name, value in os.environ.items() if name != "FED_VIT_API_TOKEN"}
    env |= settings or {}
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env
        )
    try:
        yield process, output
    finally:
        _stop(process)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(process: "subprocess.Popen[bytes]", output: Path, ready: Callable[[], str | None]) -> str:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = ready()
        if found:
            return found
        time.sleep(0.1)
    last_words = output.with_suffix(".err").read_text(errors="replace").strip().splitlines()[-3:]
    raise NotStarted(
        f"{output.stem} did not start: {' | '.join(last_words) or 'it printed nothing'}"
    )


def _first_line(output: Path) -> str | None:
    lines = output.read_text(errors="replace").splitlines(keepends=True)
    return lines[0] if lines and lines[0].endswith("\n") else None


def _answers(url: str) -> str | None:
    try:
        return url if requests.get(url, timeout=2).ok else None
    except requests.RequestException:
        return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
