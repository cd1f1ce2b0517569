"""Processes that run once and may die: born of one that has imported everything, so that each costs
a moment and not the imports.

The mother runs no thread of Python and opens nothing, which makes her children as good as processes
that began from nothing. She reads a job a line and says the child's pid, then how it ended.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from tests.support.clock import set_clock
from tests.support.process import environment

ROOT = Path(__file__).resolve().parents[2]
FAULT_POINT = Path(__file__).with_name("fault_point")


class Nursery:
    """The mother, seen from the test."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Of the mother, whose limits her children inherit."""
        return self._process.pid

    def begin(
        self,
        variables: Mapping[str, str],
        start: str | None,
        stop: str | None,
        log: Path,
        point: str | None = None,
        clock: tuple[str, str] | None = None,
        work: str = "collect",
    ) -> int:
        """Begins one of one_run's JOBS in a process of its own, whose pid it returns; it dies at the
        point.

        `clock` is the host's time (ISO 8601) and its time zone.
        """
        span = [start, stop]
        job = {"variables": dict(variables), "span": span, "log": str(log), "point": point, "clock": clock, "work": work}  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return self._reported()

    def end(self) -> int:
        """Waits for the process that was begun; its exit code, or the negative signal."""
        return self._reported()

    def _reported(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@contextmanager
def a_nursery(log: Path) -> Iterator[Nursery]:
    """A mother that is ready, and gone after the block."""
    variables = {
        "PYTHONPATH": os.pathsep.join([str(FAULT_POINT), str(ROOT)]),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=ROOT,
            env=environment(variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", log.read_text()
        yield Nursery(process)
    finally:
        process.kill()
        process.communicate()


def _work(job: dict[str, Any]) -> NoReturn:
    from tests.support.one_run import JOBS

    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ.update(job["variables"])
    code = 70
    try:
        if job["point"]:
            import sitecustomize

            sitecustomize.arm(job["point"])
        if job["clock"]:
            set_clock(*job["clock"])
        receipt = JOBS[job["work"]](job["variables"], *job["span"])
        print(receipt.model_dump_json(indent=2), flush=True)
        code = int(receipt.exit_code)
    finally:
        if code == 70:
            import traceback

            traceback.print_exc()
        # the mother's own exit is not the child's
        os._exit(code)


def _main() -> None:
    import great_expectations.expectations
    import influxdb_client.client.influxdb_client
    import urllib3

    import tests.support.one_run

    assert all((tests, great_expectations, influxdb_client, urllib3))
    # the pools of pyarrow and jemalloc, which an import begins, come back in a child by themselves
    assert threading.active_count() == 1, "a thread would be missing in the children"
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            _work(json.loads(line))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    _main()
