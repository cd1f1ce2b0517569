"""Serve an application on an address of ours, in a thread, for a block."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import uvicorn
from fastapi import FastAPI

from tasks.core.errors import ConfigurationInvalid

TOKEN_VARIABLE = "FEDVITALS_INTAKE_TOKEN"
_STOP_SECONDS = 2


@contextmanager
def serving(app: FastAPI, listener: socket.socket, most: int = 50) -> Iterator[str]:
    """Serve within the block, `most` connections at once; yield the address."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=most,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    server = uvicorn.Server(config)
    # in another thread it leaves the signals alone
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        host, port = listener.getsockname()[:2]
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        server.should_exit = True
        thread.join(2 * _STOP_SECONDS)
        listener.close()


def listen(address: str, variable: str, default: str, *, has_token: bool) -> socket.socket:
    """Return a listener on an address as `variable` has it.

    Raises:
        ConfigurationInvalid: it cannot be listened on, or is open to others without a token.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        if not has_token and not ip_address(host).is_loopback:
            problem = f"{address} is open to other machines, and {TOKEN_VARIABLE} is not set"
            fix = f"Set {TOKEN_VARIABLE}, or listen on {default}"
            raise ConfigurationInvalid(where=variable, problem=problem, fix=fix)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, int(port)), family=family)
    except (OSError, ValueError, OverflowError) as error:
        problem = (
            f"cannot listen on {address}: {getattr(error, 'strerror', None) or 'it is no IP:PORT'}"
        )
        fix = f"Give a free address, such as {default} or 0.0.0.0:{default.rpartition(':')[2]}"
        raise ConfigurationInvalid(where=variable, problem=problem, fix=fix) from error
    # connections inherit it: else the second part of an answer waits 40 ms for a delayed ACK
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
