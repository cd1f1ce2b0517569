"""Keep child processes running beside a command, and end them with it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

STOP_SECONDS = 5.0
# of the pause before a restart, which doubles up to the longest
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
# a child that ran so long begins with the first pause again
QUIET_SECONDS = 60.0
_SUPERVISED = "FEDVITALS_SUPERVISED"


@contextmanager
def supervised(commands: Mapping[str, Sequence[str]]) -> Iterator[None]:
    """Run each command by name within the block: restarted when it ends, its lines prefixed.

    A command must call `end_with_parent`. A Ctrl-C reaches the caller alone, which ends the block.
    """
    children = [_Child(name, command) for name, command in commands.items()]
    with ExitStack() as ending:
        for child in children:
            child.start()
            ending.callback(child.end)
        # all are asked before the first is waited for
        for child in children:
            ending.callback(child.stop)
        yield


def end_with_parent() -> None:
    """End this process by SIGTERM once its supervisor is gone, however that ended."""
    if os.environ.pop(_SUPERVISED, None):
        threading.Thread(target=_await_end_of_stdin, daemon=True).start()


def _await_end_of_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


class _Child(threading.Thread):
    """One command, its present process and the thread that restarts it."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        super().__init__(name=name, daemon=True)
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def run(self) -> None:
        """Start the command again and again until it is stopped."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            began = time.monotonic()
            why = self._live()
            if time.monotonic() - began >= QUIET_SECONDS:
                pause = FIRST_PAUSE
            if not self._stopping.is_set():
                self._say(f"{why}; it starts again in {pause:g} s")
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def stop(self) -> None:
        """Ask the process to end, and start no other."""
        with self._lock:
            self._stopping.set()
            if self._process is not None:
                self._process.terminate()

    def end(self) -> None:
        """Wait for the end of a process that was asked to; kill one that takes longer."""
        self.join(STOP_SECONDS)
        if self.is_alive() and self._process is not None:
            self._process.kill()
            self.join(STOP_SECONDS)

    def _live(self) -> str:
        """Run one process to its end; return how it ended."""
        with self._lock:
            if self._stopping.is_set():
                return ""
            try:
                process = self._process = self._start()
            except OSError as error:
                return f"cannot start: {error.strerror}"
        reader = threading.Thread(target=self._show, args=(process,), daemon=True)
        reader.start()
        code = process.wait()
        # a process that it left behind may hold the pipe
        reader.join(1)
        return f"ended with exit code {code}" if code >= 0 else f"ended by signal {-code}"

    def _start(self) -> "subprocess.Popen[str]":
        # its standard input ends with this process, whatever ends it
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, _SUPERVISED: "1"},
            start_new_session=True,
        )

    def _show(self, process: "subprocess.Popen[str]") -> None:
        for line in process.stdout or ():
            self._say(line.rstrip())

    def _say(self, text: str) -> None:
        # a terminal that is gone must not stop the reading: a full pipe would block the child
        with suppress(OSError):
            print(f"{self.name} | {text}", file=sys.stderr, flush=True)
