"""A really started server, found by the JSON line that it prints, stopped by its own process."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE = "deployments.services.fl_server"
START_SECONDS = 120
STOP_SECONDS = 15.0
SMALL_RUN = ("--port", "0", "--clients", "40", "--rounds", "4", "--round-seconds", "0")


@dataclass(frozen=True)
class RunningServer:
    """The line that a server printed when it was ready, and its process."""

    http: str
    https: str | None
    ca_file: str | None
    run_id: str
    process: "subprocess.Popen[str]"


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without the service's own variables, and with the given ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FED_VIT_")}
    return {**kept, **variables}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", MODULE, *arguments]


@contextlib.contextmanager
def started(*arguments: str, **variables: str) -> Iterator[RunningServer]:
    """A server with the given options and environment variables; it must end with code 0."""
    with subprocess.Popen(
        command(*SMALL_RUN, *arguments),
        cwd=ROOT,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        watchdog = threading.Timer(START_SECONDS, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline() or "{}")
            watchdog.cancel()
            assert ready.get("event") == "ready", "the server ended before it was ready"
            assert ready["pid"] == process.pid
            fields = {name: ready[name] for name in ("http", "https", "ca_file", "run_id")}
            yield RunningServer(**fields, process=process)
        finally:
            watchdog.cancel()
            process.terminate()
            code = process.wait(STOP_SECONDS)
        assert code == 0
