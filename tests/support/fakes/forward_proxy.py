"""A forward proxy: tunnels by CONNECT, and hands on requests that name a whole URL."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socketserver import BaseRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit


@dataclass
class ForwardProxy:
    """Its URL, and the first line of each request that it got."""

    url: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def a_forward_proxy() -> Iterator[ForwardProxy]:
    """A running proxy."""
    proxy = ForwardProxy()
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    with ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield proxy
        server.shutdown()
        thread.join()


class _Handler(BaseRequestHandler):
    """One connection of a client, which is for one server."""

    request: socket.socket
    proxy: ForwardProxy

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            part = self.request.recv(1 << 16)
            if not part:
                return
            head += part
        first = head.partition(b"\r\n")[0].decode()
        self.proxy.asked.append(first)
        method, target, _ = first.split(" ")
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        assert parts.hostname is not None
        with socket.create_connection((parts.hostname, parts.port or 80)) as server:
            if method == "CONNECT":
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = target.removeprefix(f"{parts.scheme}://{parts.netloc}") or "/"
                server.sendall(head.replace(target.encode(), path.encode(), 1))
            back = threading.Thread(target=_pipe, args=(server, self.request), daemon=True)
            back.start()
            _pipe(self.request, server)
            back.join()


def _pipe(source: socket.socket, target: socket.socket) -> None:
    """All that comes, to the end of either."""
    with suppress(OSError):
        while part := source.recv(1 << 16):
            target.sendall(part)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
