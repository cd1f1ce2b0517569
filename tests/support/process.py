"""A server under test: started from its binary, watched until ready, stopped by its own pid."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import pytest
import requests

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "GX_ANALYTICS_ENABLED": "false",
}
# Settings of the user's own servers must not reach those under test.
FOREIGN = ("INFLUXD_", "PREFECT_", "PG")


def missing(name: str, how: str) -> NoReturn:
    """Skip the test with a line that says how to get the server; with CI set, fail it."""
    line = f"{name} is missing: {how}"
    if os.environ.get("CI"):
        pytest.fail(line, pytrace=False)
    pytest.skip(line)


def program(name: str, how: str, *folders: Path) -> str:
    """The binary `name` on PATH or in one of `folders`; skip or fail when there is none."""
    candidates = [shutil.which(name), *(shutil.which(name, path=str(folder)) for folder in folders)]
    for found in candidates:
        if found:
            return found
    missing(name, how)


def free_port() -> int:
    """A loopback TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a child: ours, without foreign settings and without telemetry."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    return kept | QUIET | dict(extra or {})


def answers(url: str) -> Callable[[], bool]:
    """A readiness check: `url` answers 200."""

    def check() -> bool:
        try:
            return requests.get(url, timeout=2).status_code == 200
        except requests.RequestException:
            return False

    return check


class Process:
    """One server process with a log file; `start` returns once it is ready."""

    stop_signal = signal.SIGTERM
    deadline = 60.0

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        ready: Callable[[], bool],
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        """`user` runs the process as somebody else, which only root can ask for."""
        self.name = name
        self.command = list(command)
        self.log = log
        self.ready = ready
        self.env = environment(env)
        self.user = user
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._popen.pid

    def start(self) -> Self:
        """Start the process and wait until it is ready."""
        if self._popen is not None:
            raise RuntimeError(f"{self.name} runs already")
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                start_new_session=True,
                **identity(self.user),
            )
        with contextlib.ExitStack() as undoing:
            undoing.callback(self.kill)
            self._wait(self._popen)
            undoing.pop_all()
        return self

    def _wait(self, popen: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + self.deadline
        while not self.ready():
            if popen.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {popen.returncode}:\n{self.tail()}")
            if time.monotonic() > end:
                raise TimeoutError(f"{self.name} not ready in {self.deadline:g} s:\n{self.tail()}")
            time.sleep(0.05)

    def stop(self, grace: float = 20.0) -> None:
        """End the process politely; kill it when it does not go within `grace` seconds."""
        if self._popen is None:
            return
        self._popen.send_signal(self.stop_signal)
        try:
            self._popen.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()
        self._popen = None

    def kill(self) -> None:
        """End the process and its children at once, as a crash would."""
        if self._popen is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        self._popen = None

    def restart(self) -> Self:
        """Stop and start again: same port, same data."""
        self.stop()
        return self.start()

    def tail(self, lines: int = 20) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def identity(user: str | None) -> dict[str, Any]:
    """The arguments that make subprocess run something as `user`."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "cwd": "/"}
