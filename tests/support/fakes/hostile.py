"""A server that answers as an attacker would, and a process of its own to meet it in."""

import itertools
import multiprocessing
import resource
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection

from tasks.core.errors import FedvitalsError
from tests.support.fakes.raw_http import RawServer

MEGABYTE = 1 << 20
ZEROS = bytes(MEGABYTE)
# of the child's own: Python, pandas, pyarrow and the answer
MOST_MEGABYTES = 1024
MOST_SECONDS = 60
MOST_CHARACTERS = 2000


class HostileServer(RawServer):
    """Answers every connection with the parts, `pause` seconds apart, until the client leaves."""

    def __init__(self, parts: Callable[[], Iterable[bytes]], pause: float = 0.0) -> None:
        super().__init__((), pause)
        self._make = parts
        self.asked = 0

    def _serve(self) -> None:
        with suppress(OSError):
            while not self._done.is_set():
                connection, _ = self._listener.accept()
                self.asked += 1
                with connection, suppress(OSError):
                    self._answer(connection, self._make())


def head(status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def zeros(megabytes: int, status: str = "200 OK") -> Iterator[bytes]:
    """A body without end, nearly: its length is not announced."""
    yield head(status)
    yield from itertools.repeat(ZEROS, megabytes)


def bomb(megabytes: int, status: str = "200 OK") -> Iterator[bytes]:
    """A body of gzip: each part of it is a megabyte of zeros in a thousand bytes."""
    yield head(status, Content_Encoding="gzip")
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    part = packer.compress(ZEROS) + packer.flush()
    yield from itertools.repeat(part, megabytes)


def in_child(call: Callable[[str], object], argument: str) -> tuple[str, int]:
    """Call it in a process of its own; return its error, and the peak of memory in megabytes.

    The process must end by itself. It is forked from one that has all modules, and nothing else.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([call.__module__])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(call, argument, sender))
    process.start()
    sender.close()
    try:
        assert receiver.poll(MOST_SECONDS), "no end within the time"
        result: tuple[str, int] = receiver.recv()
        process.join(5)
        assert process.exitcode == 0
    finally:
        process.kill()
    return result


def _measured(call: Callable[[str], object], argument: str, sender: Connection) -> None:
    message = said = ""
    try:
        call(argument)
    except FedvitalsError as error:
        message, said = str(error), f"{type(error).__name__}: {error.facts.get('problem')}"
    assert len(message) < MOST_CHARACTERS, len(message)
    assert message.isprintable()
    sender.send((said, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))
