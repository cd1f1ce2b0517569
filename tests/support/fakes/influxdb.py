"""An InfluxDB 2 that refuses what the real one refuses (2.9.1, tried) and keeps what it takes.

Simpler than the real one: a field's type is fixed for all time and not per shard.
"""

import gzip
import json
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.support.fakes.influxdb_query import answered
from tests.support.fakes.lines import Line, Value, read_lines

NANOSECONDS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
Key = tuple[str, tuple[tuple[str, str], ...], int]


@dataclass(frozen=True)
class Fault:
    """What a request meets instead of an answer. `stores` does the work first, then spoils the answer.

    hang: no answer until the fake stops. cut: the connection ends in the middle of the answer.
    die: it ends before any answer.
    """

    kind: Literal["status", "hang", "cut", "die"] = "status"
    status: int = 503
    message: str = "unavailable"
    retry_after: str | None = None
    stores: bool = False


@dataclass(frozen=True)
class Post:
    """One write that reached the fake."""

    lines: int
    size: int
    is_gzip: bool
    precision: str
    status: int


@dataclass
class FakeInfluxDB:
    """The server's state and knobs. `faults` are met by writes and deletes, one each (None: none), then `always`;
    queries meet `query_faults`."""

    server: HTTPServer
    org: str = "fedvitals"
    bucket: str | None = "fedvitals"
    token: str = "fake-influxdb-token"
    may_write: bool = True
    may_read: bool = True
    retention: timedelta | None = None
    shown: bool = True  # whether the token may see the bucket
    most_bytes: int | None = None
    version: Literal["2.9.1", "2.0"] = "2.9.1"
    faults: deque[Fault | None] = field(default_factory=deque)
    always: Fault | None = None
    query_faults: deque[Fault | None] = field(default_factory=deque)
    points: dict[Key, dict[str, Value]] = field(default_factory=dict)
    types: dict[tuple[str, str], type] = field(default_factory=dict)
    posts: list[Post] = field(default_factory=list)
    requests: int = 0
    deletes: list[dict[str, str]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        expect = self.server.expect_request
        expect("/", method="GET").respond_with_data("", 404)
        expect("/health", method="GET").respond_with_handler(self._health)
        expect("/api/v2/write", method="POST").respond_with_handler(self._write)
        expect("/api/v2/delete", method="POST").respond_with_handler(self._delete)
        expect("/api/v2/query", method="POST").respond_with_handler(self._query)
        expect("/api/v2/orgs", method="GET").respond_with_handler(self._orgs)
        expect("/api/v2/buckets", method="GET").respond_with_handler(self._buckets)
        expect("/api/v2/buckets", method="POST").respond_with_handler(self._make_bucket)

    @property
    def url(self) -> str:
        return self.server.url_for("").rstrip("/")

    def count_values(self, measurement: str) -> int:
        """Stored values of a measurement."""
        stored = self.points.items()
        return sum(len(fields) for (name, _, _), fields in stored if name == measurement)

    def _health(self, request: Request) -> Response:
        return _json(200, {"name": "influxdb", "status": "pass", "version": f"v{self.version}"})

    def _write(self, request: Request) -> Response:
        fault = self._next_fault()
        if fault and not fault.stores:
            return self._spoilt(request, fault)
        packed = request.get_data()
        is_gzip = request.headers.get("Content-Encoding") == "gzip"
        body = gzip.decompress(packed) if is_gzip else packed
        precision = request.args.get("precision", "ns")
        with self.lock:
            refusal = self._refusal(request) or self._bad_post(body, precision)
            answer = refusal or self._store(body, NANOSECONDS[precision])
            lines = body.count(b"\n")
            self.posts.append(Post(lines, len(packed), is_gzip, precision, answer.status_code))
        return self._spoilt(request, fault) if fault else answer

    def _next_fault(self) -> Fault | None:
        with self.lock:
            self.requests += 1
            return self.faults.popleft() if self.faults else self.always

    def _spoilt(self, request: Request, fault: Fault) -> Response:
        if fault.kind == "hang":
            self.released.wait(30)
        if fault.kind == "die":
            request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        if fault.kind == "cut":
            return Response(iter([b"{"]), 500, {"Content-Length": "1000"})
        answer = _error(fault.status, "spoilt", fault.message)
        if fault.retry_after is not None:
            answer.headers["Retry-After"] = fault.retry_after
        return answer

    def _refusal(self, request: Request) -> Response | None:
        """What is looked at before a body: token, organisation, bucket, permission."""
        if unknown := self._unknown_token(request) or self._unknown_org(request):
            return unknown
        bucket = request.args.get("bucket", "")
        if bucket != self.bucket:
            return _error(404, "not found", f'bucket "{bucket}" not found')
        if not self.may_write:
            return _error(403, "forbidden", "insufficient permissions for write")
        return None

    def _unknown_token(self, request: Request) -> Response | None:
        if request.headers.get("Authorization") == f"Token {self.token}":
            return None
        return _error(401, "unauthorized", "unauthorized access")

    def _unknown_org(self, request: Request) -> Response | None:
        org = request.args.get("org", "")
        if org == self.org:
            return None
        return _error(404, "not found", f'organization name "{org}" not found')

    def _bad_post(self, body: bytes, precision: str) -> Response | None:
        if precision not in NANOSECONDS:
            known = "valid precision units are ns, us, ms, and s"
            return _error(400, "invalid", f"invalid precision; {known}")
        if self.most_bytes is not None and len(body) > self.most_bytes:
            return _error(
                413, "request too large", "unable to read data: points batch is too large"
            )
        return None

    def _store(self, body: bytes, unit: int) -> Response:
        lines, problems = read_lines(body.decode())
        if problems:
            return _error(400, "invalid", "\n".join(problems))
        conflicts: list[str] = []
        too_old = 0
        for line in lines:
            now = time.time_ns()
            moment = now if line.time is None else line.time * unit
            if self.retention is not None and moment < now - self.retention // _MICRO * 1000:
                too_old += 1
            elif conflict := self._conflict(line):
                conflicts.append(conflict)
            else:
                key = (line.measurement, tuple(sorted(line.tags.items())), moment)
                self.points.setdefault(key, {}).update(line.fields)
        if conflicts:
            return self._partial_write(
                f"field type conflict: {conflicts[0]} dropped={len(conflicts)}"
            )
        return self._partial_write(self._too_old(too_old)) if too_old else Response(status=204)

    def _conflict(self, line: Line) -> str | None:
        for name, value in line.fields.items():
            known = self.types.setdefault((line.measurement, name), type(value))
            if known is not type(value):
                what = f'input field "{name}" on measurement "{line.measurement}"'
                return (
                    f"{what} is type {_TYPES[type(value)]}, already exists as type {_TYPES[known]}"
                )
        return None

    def _too_old(self, count: int) -> str:
        if self.version == "2.0":
            return f"points beyond retention policy dropped={count}"
        return (
            f"dropped {count} points outside retention policy of duration {self.retention} - oldest "
            f"point m dropped because it violates a Retention Policy Lower Bound dropped={count} "
            "for database: 0 for retention policy: autogen"
        )

    def _partial_write(self, what: str) -> Response:
        if self.version == "2.0":
            message = f"unexpected error writing points to database: partial write: {what}"
            return _error(500, "internal error", message)
        message = f"failure writing points to database: partial write: {what}"
        return _error(422, "unprocessable entity", message)

    def _delete(self, request: Request) -> Response:
        if fault := self._next_fault():
            return self._spoilt(request, fault)
        if refusal := self._refusal(request):
            return refusal
        asked = request.get_json()
        predicate = _read_predicate(asked.get("predicate", ""))
        if predicate is None:
            return _error(400, "invalid", "error decoding json body: bad predicate")
        if "_field" in predicate:
            return _error(501, "not implemented", "delete by field is not supported")
        start, stop = _nanoseconds(asked["start"]), _nanoseconds(asked["stop"])
        with self.lock:
            self.deletes.append(asked)
            for key in [key for key in self.points if _matches(key, start, stop, predicate)]:
                del self.points[key]
        return Response(status=204)

    def _query(self, request: Request) -> Response:
        if fault := self.query_faults.popleft() if self.query_faults else None:
            return self._spoilt(request, fault)
        if unknown := self._unknown_token(request) or self._unknown_org(request):
            return unknown
        flux = request.get_json()["query"]
        if not self.may_read or f'from(bucket: "{self.bucket}")' not in flux:
            what = f'could not find bucket "{self.bucket}"'
            return _error(404, "not found", f"failed to initialize execute state: {what}")
        with self.lock:
            return Response(answered(flux, self.points), 200, content_type="text/csv")

    def _orgs(self, request: Request) -> Response:
        asked_one = "org" in request.args
        unknown = self._unknown_token(request) or (
            self._unknown_org(request) if asked_one else None
        )
        return unknown or _json(200, {"orgs": [{"id": "00000000000000a1", "name": self.org}]})

    def _buckets(self, request: Request) -> Response:
        if unknown := self._unknown_token(request) or self._unknown_org(request):
            return unknown
        name = request.args["name"]
        if name != self.bucket:
            return _error(404, "not found", f'bucket "{name}" not found')
        seconds = self.retention // timedelta(seconds=1) if self.retention else 0
        rules = [{"type": "expire", "everySeconds": seconds}] if seconds else []
        if not self.shown:
            return _json(200, {"buckets": []})
        return _json(200, {"buckets": [{"name": name, "retentionRules": rules}]})

    def _make_bucket(self, request: Request) -> Response:
        if unknown := self._unknown_token(request):
            return unknown
        name = request.get_json()["name"]
        if name == self.bucket:
            return _error(422, "conflict", f"bucket with name {name} already exists")
        self.bucket = name
        return _json(201, {"name": name})


_MICRO = timedelta(microseconds=1)
_TYPES = {float: "float", int: "integer", str: "string", bool: "boolean"}
_TERM = re.compile(r'(\w+)="((?:\\["\\]|[^"\\])*)"')


def _read_predicate(text: str) -> dict[str, str] | None:
    """The terms of a predicate of `=` and AND; None when it is none, or there is none."""
    terms: dict[str, str] = {}
    while found := _TERM.match(text):
        terms[found[1]] = re.sub(r"\\(.)", r"\1", found[2])
        text = text[found.end() :]
        if not text:
            return terms
        if not text.startswith(" AND "):
            return None
        text = text.removeprefix(" AND ")
    return None


def _matches(key: Key, start: int, stop: int, predicate: dict[str, str]) -> bool:
    measurement, tags, moment = key
    held = {"_measurement": measurement, **dict(tags)}
    return start <= moment <= stop and all(held.get(k) == v for k, v in predicate.items())


def _nanoseconds(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time in UTC, whose last digits datetime would lose."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0"))


def _json(status: int, content: Any) -> Response:
    return Response(json.dumps(content), status, content_type="application/json")


def _error(status: int, code: str, message: str) -> Response:
    return _json(status, {"code": code, "message": message})


class _Server(HTTPServer):
    """Looks every 20 ms and not every 500 ms whether it has to stop."""

    def thread_target(self) -> None:
        assert self.server is not None
        self.server.serve_forever(poll_interval=0.02)


@contextmanager
def fake_influxdb(**knobs: Any) -> Iterator[FakeInfluxDB]:
    """A running fake; takes the fields of FakeInfluxDB."""
    with _Server(threaded=True) as server:
        fake = FakeInfluxDB(server, **knobs)
        try:
            yield fake
        finally:
            fake.released.set()
        server.check()
