"""A Datadog that refuses what the API's documentation says it refuses, and keeps what it takes.

What is too old or too new is answered with 202, and dropped without a word.
"""

import gzip
import json
import math
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.core.services import DatadogService

API_KEY, APP_KEY = "dd-4p1-k3y", "dd-4pp-k3y"
SERIES, HISTORICAL = "/api/v2/series", "/api/v2/metrics/historical-metrics-configurations/"
UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}
Taken = tuple[str, tuple[str, ...], int, float]


@dataclass(frozen=True)
class Fault:
    """An answer in place of the one by the rules; `stores` does the work before."""

    status: int
    body: str = '{"errors":["failed"]}'
    headers: dict[str, str] = field(default_factory=dict)
    stores: bool = False


@dataclass
class FakeDatadog:
    """The account; `faults` are met by posts, one each (None: none). `historical` are metrics."""

    server: HTTPServer
    historical: set[str] = field(default_factory=set)
    may_read: bool = True
    most_sent: int = 512_000
    faults: list[Fault | None] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    dropped: list[Taken] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.url = self.server.url_for("").rstrip("/")
        self.server.expect_request(re.compile("/.*")).respond_with_handler(self._answer)

    def service(self, key: str = API_KEY, app_key: str | None = None) -> DatadogService:
        return DatadogService(
            url=self.url,
            token=SecretStr(key),
            app_token=SecretStr(app_key) if app_key else None,
            origin="DATADOG_URL",
            token_from="DATADOG_API_KEY",
        )

    def _answer(self, request: Request) -> Response:
        self.asked.append(request)
        if request.headers.get("DD-API-KEY") != API_KEY or "Authorization" in request.headers:
            return errors(403, "Forbidden")
        if request.path == "/api/v1/validate":
            return Response('{"valid":true}', content_type="application/json")
        if request.path.startswith(HISTORICAL):
            return self._configuration(request)
        if request.path != SERIES or request.method != "POST":
            return errors(404, "Not found")
        fault = self.faults.pop(0) if self.faults else None
        if fault and not fault.stores:
            return Response(fault.body, fault.status, fault.headers)
        answer = self._series(request)
        return Response(fault.body, fault.status, fault.headers) if fault else answer

    def _configuration(self, request: Request) -> Response:
        if request.headers.get("DD-APPLICATION-KEY") != APP_KEY or not self.may_read:
            return errors(403, "Forbidden")
        name = request.path.removeprefix(HISTORICAL)
        if name not in self.historical:
            return errors(404, "Not found")
        data = {"id": name, "type": "historical_metrics_configurations", "attributes": {}}
        return Response(json.dumps({"data": data}), content_type="application/json")

    def _series(self, request: Request) -> Response:
        body = request.get_data()
        self.sizes.append(len(body))
        if len(body) > self.most_sent:
            return errors(413, "Payload too large")
        try:
            text = UNPACK[request.headers.get("Content-Encoding", "")](body)
            if len(text) >= 5_242_880:
                return errors(413, "Payload too large when decompressed")
            series = json.loads(text, parse_constant=_refuse)["series"]
            taken = [point for one in series for point in points_of(one)]
        except (KeyError, TypeError, ValueError, OSError, zlib.error) as error:
            return errors(400, f"Payload is not in the expected format: {error}")
        now = time.time()
        for point in taken:
            is_old = point[2] < now - 3600 and point[0] not in self.historical
            (self.dropped if is_old or point[2] > now + 600 else self.taken).append(point)
        return errors(202)


def points_of(series: dict[str, Any]) -> list[Taken]:
    """The points of one series; ValueError for what the API refuses."""
    name, tags = series["metric"], series.get("tags", [])
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]{0,199}", name):
        raise ValueError(f"metric {name!r:.50}")
    if series.get("type", 0) not in range(4) or not all(type(tag) is str for tag in tags):
        raise ValueError("type or tags")
    if series.get("type") in (1, 2) and "interval" not in series:
        raise ValueError("interval")
    points = []
    for point in series["points"]:
        moment, value = point["timestamp"], point["value"]
        if type(moment) is not int or type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError("point")
        points.append((name, tuple(tags), moment, float(value)))
    return points


def errors(status: int, *messages: str) -> Response:
    """An answer of the API; 202 has none."""
    return Response(json.dumps({"errors": messages}), status, content_type="application/json")


def _refuse(constant: str) -> None:
    raise ValueError(constant)
