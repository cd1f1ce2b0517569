"""Answers without end: each client gives up in bounded memory and time, with one error."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import pytest

from tasks.core.errors import AnswerTooLarge, FedvitalsError, SourceTimedOut
from tasks.core.services import Service
from tasks.http import Limits
from tasks.sources.http import API, Client
from tests.support.fakes import hostile_calls as calls
from tests.support.fakes.hostile import MOST_MEGABYTES, HostileServer, bomb, head, in_child, zeros

CALLS = [
    calls.metrics_page,
    calls.query_range,
    calls.rest,
    calls.history,
    calls.doctor_prometheus,
    calls.doctor_influxdb,
    calls.probe,
    calls.list_metrics,
    calls.write,
    calls.read_back,
    calls.grafana,
]


def endless() -> Iterator[bytes]:
    return zeros(4096)


def packed() -> Iterator[bytes]:
    return bomb(4096)


def refused() -> Iterator[bytes]:
    return zeros(4096, "500 Internal Server Error")


def matrix() -> Iterator[bytes]:
    """JSON that ends within the limit, of as many keys as fit."""
    yield head() + b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{'
    yield b",".join(b'"%x":""' % n for n in range(5_000_000)) + b"}}]}}"


def nested() -> Iterator[bytes]:
    yield head() + b'{"rounds":' + b"[" * 10_000_000


def many() -> Iterator[bytes]:
    yield head() + b'{"rounds":[' + b"{}," * 20_000_000 + b"{}]}"


CASES = [
    *((call, body) for call in CALLS for body in (endless, packed)),
    (calls.write, refused),
    (calls.write, nested),
    (calls.query_range, matrix),
    (calls.history, nested),
    (calls.history, many),
]


@pytest.mark.slow
@pytest.mark.promise("Security: no answer of a service takes more than a gigabyte of memory")
@pytest.mark.parametrize(
    ("call", "body"), CASES, ids=[f"{c.__name__}-{b.__name__}" for c, b in CASES]
)
def test_an_answer_without_end_takes_bounded_memory(
    call: Callable[[str], None], body: Callable[[], Iterable[bytes]]
) -> None:
    with HostileServer(body) as server:
        said, megabytes = in_child(call, server.url)
        assert server.asked >= 1
    print(f"{call.__name__}, {body.__name__}: {megabytes} MB, {said}")
    assert said
    assert megabytes <= MOST_MEGABYTES


def drip(*before: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.chain(before, itertools.repeat(b"x"))


def ask(server: HostileServer, **limits: float) -> FedvitalsError:
    service = Service(url=server.url, origin="X")
    with (
        Client(service, API, Limits(**limits)) as client,  # type: ignore[arg-type]
        pytest.raises(FedvitalsError) as caught,
    ):
        client.ask("/", "it")
    return caught.value


@pytest.mark.promise("Security: a server that drips its answer holds no command")
@pytest.mark.parametrize(
    "parts",
    [
        drip(),
        drip(b"HTTP/1.1 200 OK\r\nX: "),
        drip(b"HTTP/1.1 200 OK\r\n\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"),
        lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["status", "header", "body", "trailer", "continue"],
)
def test_a_drip_ends_at_the_deadline(parts: Callable[[], Iterable[bytes]]) -> None:
    with HostileServer(parts, pause=0.02) as server:
        began = time.monotonic()
        error = ask(server, silence=5.0, total=0.3)
    assert isinstance(error, SourceTimedOut)
    assert error.problem == "no whole answer within 0.3 s"
    assert time.monotonic() - began < 2.0


@pytest.mark.parametrize(
    "encoding", ["gzip", "GZIP", "deflate", "br", "identity, gzip", "no\x1b[2J"]
)
def test_an_encoding_that_was_not_requested_is_refused(encoding: str) -> None:
    with HostileServer(lambda: [head(Content_Encoding=encoding) + b"x"]) as server:
        error = ask(server)
    assert "no encoding was requested" in error.problem
    assert str(error).isprintable()


@pytest.mark.parametrize("length", ["9" * 5000, "1" * 30, "268435456"])
def test_a_length_beyond_the_limit_is_refused_at_once(length: str) -> None:
    with HostileServer(lambda: [head(Content_Length=length) + b"x"]) as server:
        assert isinstance(ask(server), AnswerTooLarge)


@pytest.mark.parametrize("length", ["many", "-1", "0x10", "1, 2", "\u0661", "\u00b2", ""])
def test_a_length_that_is_no_number_is_no_traceback(length: str) -> None:
    with (
        HostileServer(lambda: [head(Content_Length=length) + b"x"]) as server,
        Client(Service(url=server.url, origin="X"), API) as client,
        suppress(FedvitalsError),
    ):
        assert client.ask("/", "it").body in (b"x", b"")
