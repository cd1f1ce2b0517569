"""A server that says given bytes as they are: for what no HTTP library would send."""

import re
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self


class RawServer:
    """Answers so many connections with the parts, `pause` seconds apart, and then hangs up."""

    def __init__(self, parts: Iterable[bytes], pause: float = 0.0, connections: int = 1) -> None:
        self._parts = parts
        self._connections = connections
        self._done = threading.Event()
        self._pause = pause
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        with suppress(OSError):
            for _ in range(self._connections):
                connection, _ = self._listener.accept()
                with connection:
                    self._answer(connection, self._parts)

    def _answer(self, connection: socket.socket, parts: Iterable[bytes]) -> None:
        read_request(connection)
        for part in parts:
            connection.sendall(part)
            if self._done.wait(self._pause):
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        with suppress(OSError):
            # close alone does not wake a thread that waits in accept
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


def read_request(connection: socket.socket) -> None:
    """All of it: a hang-up with bytes unread would reset the connection."""
    head, _, body = connection.recv(1 << 16).partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    while length and len(body) < int(length[1]):
        body += connection.recv(1 << 16)
