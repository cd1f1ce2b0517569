"""A proxy before a real server that lets requests through, or spoils them by a script."""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

# of one hop, or made anew
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass(frozen=True)
class Fault:
    """What becomes of one request; `act` is done at that very moment, a kill for example.

    status:        it is answered by the proxy, with `retry_after` where given.
    hang:          it is not answered until the proxy stops.
    half_request:  the server gets half of its body, and then the connection ends.
    unanswered:    the server gets it, and the connection ends at once.
    swallowed:     the server answers, and nobody hears.
    half_answer:   the server answers, and half of the body is handed on.
    """

    kind: Literal["status", "hang", "half_request", "unanswered", "swallowed", "half_answer"]
    status: int = 503
    retry_after: str | None = None
    act: Callable[[], object] = lambda: None


@dataclass
class Proxy:
    """Requests to a path of `faults` meet its faults one after the other (None: none), then `always`.

    `asked` keeps the path of every request and the monotonic time at which it came.
    """

    upstream: str
    faults: dict[str, deque[Fault | None]] = field(default_factory=dict)
    always: dict[str, Fault] = field(default_factory=dict)
    asked: list[tuple[str, float]] = field(default_factory=list)
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def script(self, path: str, *faults: Fault | None) -> None:
        """What the next requests to the path meet."""
        self.faults[path] = deque(faults)

    def clear(self) -> None:
        """From now on all goes through; what hangs is let go."""
        with self._guard:
            self.faults.clear()
            self.always.clear()
            released, self.released = self.released, threading.Event()
        released.set()

    def times(self, path: str) -> list[float]:
        """When requests to the path came."""
        return [moment for asked, moment in self.asked if asked == path]

    def next_fault(self, path: str) -> Fault | None:
        """Notes a request, and says what it meets."""
        with self._guard:
            self.asked.append((path, time.monotonic()))
            script = self.faults.get(path)
            return script.popleft() if script else self.always.get(path)


@contextmanager
def a_proxy(upstream: str) -> Iterator[Proxy]:
    """A running proxy before the server at this URL."""
    proxy = Proxy(upstream)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.clear()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.proxy.next_fault(urlsplit(self.path).path)
        try:
            if fault is None:
                self._answer(*self._forwarded(body))
            else:
                self._spoil(fault, body)
        except (OSError, HTTPException):
            # the server is down, or one of both was killed: all that the other sees is the end
            self._end()

    def _spoil(self, fault: Fault, body: bytes) -> None:
        if fault.kind == "status":
            more = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
            fault.act()
            self._answer(fault.status, more, b'{"code":"unavailable","message":"spoilt"}')
            return
        if fault.kind == "hang":
            self.proxy.released.wait()
        elif fault.kind == "half_request":
            self._send_half(body)
        elif fault.kind == "unanswered":
            with self._asked(body):
                fault.act()
        else:
            status, headers, answer = self._forwarded(body)
            if fault.kind == "half_answer":
                self._answer(status, headers, answer, len(answer) // 2)
        if fault.kind != "unanswered":
            fault.act()
        self._end()

    @contextmanager
    def _asked(self, body: bytes) -> Iterator[HTTPConnection]:
        """The server, which was sent the whole request."""
        parts = urlsplit(self.proxy.upstream)
        assert parts.hostname is not None
        connection = HTTPConnection(parts.hostname, parts.port, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in {*HOP, "host"}}
        try:
            connection.request(self.command, self.path, body or None, headers)
            yield connection
        finally:
            connection.close()

    def _forwarded(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        with self._asked(body) as connection:
            response: HTTPResponse = connection.getresponse()
            content = response.read()
        headers = {k: v for k, v in response.getheaders() if k.lower() not in HOP}
        return response.status, headers, content

    def _send_half(self, body: bytes) -> None:
        parts = urlsplit(self.proxy.upstream)
        with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
            head = f"{self.requestline}\r\n{self.headers}".replace("\r\n", "\n").replace(
                "\n", "\r\n"
            )
            connection.sendall(head.encode("latin-1") + body[: len(body) // 2])

    def _answer(
        self, status: int, headers: Mapping[str, str], body: bytes, most: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:most])
        self.wfile.flush()

    def _end(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            # the client is gone already
            return
