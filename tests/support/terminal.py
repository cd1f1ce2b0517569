"""The command on a real terminal: a pseudo terminal of its own, whose Ctrl-C reaches its whole group."""

import os
import pty
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.installation import COMMAND, Installation

CTRL_C = b"\x03"


class Terminal:
    """One process and what it wrote; `seconds` are counted from the last key or signal."""

    def __init__(self, pid: int, master: int) -> None:
        self.pid, self._master = pid, master
        self.text = ""
        self._began = time.monotonic()

    def press(self, key: bytes) -> None:
        """Press a key: Ctrl-C signals the foreground group of the terminal."""
        self._began = time.monotonic()
        os.write(self._master, key)

    def signal(self, number: signal.Signals) -> None:
        """Signal the process alone."""
        self._began = time.monotonic()
        os.kill(self.pid, number)

    def wait_until(self, is_so: Callable[[], bool], seconds: float = 60) -> None:
        """Read what is written until something is so."""
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, self.text
            self._read(0.1)

    def pause(self, seconds: float) -> None:
        """Read what is written for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._read(0.1)

    def end(self, seconds: float) -> tuple[int, float]:
        """Wait for the end; the exit code, and how many seconds it took."""
        deadline = self._began + seconds
        while time.monotonic() < deadline:
            self._read(0.05)
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                took = time.monotonic() - self._began
                self._read(0.2)
                return os.waitstatus_to_exitcode(status), took
        raise AssertionError(f"it goes on after {seconds} s: {self.text}")

    def _read(self, seconds: float) -> None:
        ready, _, _ = select.select([self._master], [], [], seconds)
        if ready:
            try:
                self.text += os.read(self._master, 1 << 16).decode(errors="replace")
            # the other end is closed
            except OSError:
                time.sleep(seconds)


@contextmanager
def on_terminal(installation: Installation, *arguments: str) -> Iterator[Terminal]:
    """Start the command on a terminal of its own; it is killed at the end of the block."""
    with started([str(COMMAND), *arguments], installation.environment, installation.folder) as one:
        yield one


@contextmanager
def started(command: Sequence[str], variables: dict[str, str], folder: Path) -> Iterator[Terminal]:
    """Start any command so."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execve(command[0], list(command), variables)
    terminal = Terminal(pid, master)
    try:
        yield terminal
    finally:
        for each in (pid, -pid):
            try:
                os.kill(each, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        os.close(master)
