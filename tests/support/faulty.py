"""A Prometheus of whose queries some are answered badly, each in its own way."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from pytest_httpserver import HTTPServer
from werkzeug import Response

from tests.support.fakes.prometheus import FakePrometheus, FakeSeries, Refused

SIGN_IN = "<!doctype html><html><body>Please sign in</body></html>"


@dataclass
class FaultyPrometheus(FakePrometheus):
    """Answers the queries in `faults` with what is made of the token that came."""

    faults: dict[str, Callable[[str], Response]] = field(default_factory=dict)

    def _routed(self, path: str, method: str, form: Mapping[str, str]) -> Response:
        query = form.get("query", "")
        if path == "/api/v1/query_range" and query in self.faults:
            return self.faults[query](self.token or "")
        return super()._routed(path, method, form)


@contextmanager
def faulty_prometheus(token: str | None = None) -> Iterator[FaultyPrometheus]:
    """A running one."""
    with HTTPServer(threaded=True) as server:
        yield FaultyPrometheus(server, token=token)
        server.check()


def constant(value: str = "0.5", **labels: str) -> FakeSeries:
    """One series that always has this value."""
    return FakeSeries(labels, lambda _: value)


def refuse(status: int, kind: str, words: str) -> Callable[[str], Response]:
    """Prometheus's own refusal."""

    def answer(token: str) -> Response:
        raise Refused(status, kind, words)

    return answer


def page(status: int, text: str = SIGN_IN) -> Callable[[str], Response]:
    """A page of something before Prometheus."""
    return lambda token: Response(text, status, content_type="text/html")


def echo(status: int) -> Callable[[str], Response]:
    """A proxy's page that repeats the request's token."""
    return lambda token: Response(f"bad gateway for Bearer {token}", status)


def cut_connection(token: str) -> Response:
    """Half a body: fewer bytes than were announced."""
    body = iter([b'{"status":"success","data":{"resultType":"mat'])
    return Response(body, 200, {"Content-Length": "1000", "Content-Type": "application/json"})


def cut_json(token: str) -> Response:
    """Half a body that looks whole to HTTP."""
    whole = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": []}})
    return Response(whole[:40], 200, content_type="application/json")
