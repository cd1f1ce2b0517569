"""Requests to one InfluxDB 2 through the vendor's client, and what its answers mean."""

import gzip
import re
import threading
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from http import HTTPStatus
from typing import Annotated, Any

import msgspec

from tasks import http
from tasks.core.errors import SinkRefused, SinkUnavailable
from tasks.core.outside import UNREADABLE, read_json, shortened
from tasks.core.services import InfluxService

NAME = "influxdb"
# level 1 of gzip halves the time of the default for a tenth more bytes
GZIP_LEVEL = 1
# in seconds: a thousand years
LONGEST_RETENTION = 1000 * 366 * 86_400
# of which more is never read: an error of a write quotes a line
LONGEST_MESSAGE = 1 << 20
# what VictoriaMetrics says to what only InfluxDB has
UNKNOWN_PATH = "unsupported path requested"
# no number of lines has more digits
_DROPPED = re.compile(r"dropped[= ](\d{1,18})(?!\d)")
_CONFLICT = re.compile(r'field type conflict: input field "([^"]+)"')
# the client's package imports itself in a circle: of threads that begin at two of its modules at once,
# one would end with half a package
_making = threading.Lock()


class Answer(http.Answer):
    """What the server said; `message` is its own reason."""

    @cached_property
    def message(self) -> str:
        """The reason in the body, in full."""
        body = self.body[:LONGEST_MESSAGE]
        text = body.decode("utf-8", "replace")
        try:
            content = read_json(body)
        except ValueError:
            return text or f"HTTP {self.status}"
        if not isinstance(content, dict):
            return text
        return str(content.get("message") or content.get("error") or text)

    @property
    def short(self) -> str:
        """The message on one line and cut to a readable length."""
        return shortened(self.message)

    @property
    def written(self) -> bool:
        """Every line of the post is stored."""
        return self.status == HTTPStatus.NO_CONTENT

    @property
    def names_lines(self) -> bool:
        """Some lines are refused for good: 400 unparsed (nothing is stored), 422 partial; 500 of 2.0."""
        return self.status in (400, 422, 500) and (
            "unable to parse" in self.message
            or "partial write:" in self.message
            # of VictoriaMetrics
            or "incorrect influx line" in self.message
        )

    @property
    def dropped(self) -> int | None:
        """Lines that a partial write left out, at least: the answer counts those of one reason."""
        # a line that cannot be parsed is quoted, and might itself say dropped=1
        if "unable to parse" in self.message:
            return None
        found = _DROPPED.search(self.message.partition("partial write:")[2])
        return int(found[1]) if found else None

    @property
    def conflicting_field(self) -> str | None:
        """The field whose type is another one already; the answer names one only."""
        found = _CONFLICT.search(self.message)
        return found[1] if found else None

    @property
    def past_retention(self) -> bool:
        """The lines left out are older than the bucket keeps (2.9: outside, 2.0: beyond)."""
        return (
            "outside retention policy" in self.message or "beyond retention policy" in self.message
        )


class Rule(msgspec.Struct, rename="camel"):
    """A rule of retention; 0 seconds stand for ever."""

    every_seconds: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_RETENTION)] = 0


class Listed(msgspec.Struct, rename="camel"):
    """An organisation or a bucket in a list."""

    id: str = ""
    retention_rules: list[Rule] = []


class Lists(msgspec.Struct):
    """The answer to a search for organisations or buckets; null when it found none."""

    orgs: list[Listed] | None = None
    buckets: list[Listed] | None = None


def found(answer: Answer) -> Lists:
    """Parse the answer to a search; raise ValueError alone."""
    try:
        return msgspec.json.decode(answer.body, type=Lists)
    except UNREADABLE as error:
        raise ValueError("it is no list of InfluxDB 2") from error


def retention_of(lists: Lists) -> timedelta | None:
    """Return how long the found bucket keeps points; None for ever, or when none is shown."""
    listed = lists.buckets or [Listed()]
    seconds = max((rule.every_seconds for rule in listed[0].retention_rules), default=0)
    return timedelta(seconds=seconds) if seconds else None


class InfluxHttp(http.Transport):
    """A pooled connection that asks and never retries. Threads may share it."""

    service: InfluxService

    def __init__(
        self,
        service: InfluxService,
        timeout: timedelta,
        compress: bool = False,
        total_per_timeout: float = 10.0,
    ) -> None:
        """`timeout` is how long the server may be silent; a query may stream for longer."""
        seconds = timeout.total_seconds()
        limits = http.Limits(silence=seconds, total=total_per_timeout * seconds)
        super().__init__(service, NAME, limits, scheme="Token")
        self._compress = compress
        self._made: Any = None

    @property
    def _client(self) -> Any:
        with _making:
            if self._made is None:
                # a run with nothing to load does not pay for the import
                from influxdb_client.client.influxdb_client import InfluxDBClient

                self._made = InfluxDBClient(self.service.url, token="", org=self.service.org)
                # its own HTTP knows neither proxies nor CAs, nor a token that changes
                self._made.api_client.request = self._carry
        return self._made

    def no_answer(self, what: str, problem: str, is_late: bool) -> SinkUnavailable:
        """Return SinkUnavailable."""
        return self._unavailable(f"no answer: {problem}", None)

    def write(self, body: bytes, precision: str) -> Answer:
        """Post lines; return written, names_lines or 413 (too large), else raise as `error_of` says."""
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if self._compress:
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        query = {**self._place, "precision": precision}
        answer = self.ask("POST", "/api/v2/write", query, body, headers)
        about_lines = answer.written or answer.names_lines
        if not about_lines and answer.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise self.error_of(answer)
        return answer

    def delete(self, start: str, stop: str, predicate: str) -> Answer:
        """Delete points of [start, stop], both ends included, RFC 3339; raises as `write` does."""
        body = {"start": start, "stop": stop, "predicate": predicate}
        answer = self.ask("POST", "/api/v2/delete", self._place, body)
        if not answer.written:
            raise self.error_of(answer)
        return answer

    def find_bucket(self) -> Answer:
        """Ask for the bucket; a token that may only write is shown none. Raises as `error_of` says."""
        place = {"org": self.service.org, "name": self.service.bucket}
        answer = self.ask("GET", "/api/v2/buckets", place)
        if answer.asks_again:
            raise self.error_of(answer)
        return answer

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the answer, whatever its status, or raise SinkUnavailable; a mapping goes as JSON."""
        answer: Answer = self._client.api_client.call_api(
            path,
            method,
            query_params=list((query or {}).items()),
            header_params=dict(headers or {}),
            body=body,
            _return_http_data_only=True,
            _preload_content=False,
        )
        return answer

    def _carry(
        self, method: str, url: str, query_params: Any, headers: Any, body: Any, **_: object
    ) -> Answer:
        """Send what influxdb-client composed."""
        content = {"params": query_params, "headers": headers}
        content["data" if isinstance(body, bytes) else "json"] = body
        answer = self.call(method, url, url.removeprefix(self.service.url), **content)
        token = http.bearer(self.service).encode()
        if answer.flaw and answer.status < HTTPStatus.MULTIPLE_CHOICES:
            fix = f"Check the URL ({self.service.origin}) and any proxy in front of it"
            raise self.refused(answer.status, answer.flaw, fix)
        # should something on the way have echoed it
        safe = answer.body.replace(token, b"***") if token else answer.body
        return Answer(answer.status, safe, answer.headers)

    @property
    def _place(self) -> dict[str, str]:
        return {"org": self.service.org, "bucket": self.service.bucket}

    def _unavailable(self, problem: str, retry_after: float | None) -> SinkUnavailable:
        facts = {"sink": NAME, "url": self.service.url, "problem": problem}
        return SinkUnavailable(**facts, retry_after=retry_after)

    def error_of(self, answer: Answer) -> SinkUnavailable | SinkRefused:
        """Return SinkUnavailable when it asks to come again, else SinkRefused until it is fixed."""
        if answer.asks_again:
            return self._unavailable(f"HTTP {answer.status}: {answer.short}", answer.retry_after)
        return self.refused(answer.status, answer.short, fix_of(answer, self.service))

    def refused(self, status: int, problem: str, fix: str) -> SinkRefused:
        """Build the error of what will be refused again."""
        facts = {"sink": NAME, "url": self.service.url, "problem": problem}
        return SinkRefused(**facts, status=int(status), fix=fix)


def fix_of(answer: Answer, service: InfluxService) -> str:
    """What to do when the server refuses everything."""
    if answer.status in (401, 403):
        return f"Set {service.token_from} to a token that may write to the bucket {service.bucket}"
    if answer.status == HTTPStatus.NOT_FOUND and "organization" in answer.message:
        return f"Make the organisation {service.org} in InfluxDB, or correct INFLUXDB_ORG"
    if answer.status == HTTPStatus.NOT_FOUND and "bucket" in answer.message:
        return f"Make the bucket {service.bucket}: fedvitals doctor --create"
    if answer.message.startswith(UNKNOWN_PATH):
        return "See docs/sinks.md: a VictoriaMetrics neither deletes a range nor knows Flux"
    return f"Check that {service.origin} is the URL of an InfluxDB 2, and any proxy in front of it"


def quoted(text: str) -> str:
    """A string literal of a delete predicate; in Flux `${` has a meaning besides."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'
