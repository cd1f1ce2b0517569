"""Rules of a live Prometheus: evaluate queries, read its rules and settings, reload it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from http import HTTPStatus

import msgspec
import numpy as np
import promql_parser
import yaml
from numpy.typing import NDArray

from tasks.core.evaluations import Chunk, Evaluations, Labels
from tasks.core.services import Service
from tasks.core.window import Window
from tasks.http import Limits
from tasks.sources.answers import METRIC_NAME, read_points
from tasks.sources.http import PROMETHEUS, Client
from tasks.sources.inventory import Vector, ask_data, seconds_of
from tasks.sources.prometheus import PrometheusSource
from tasks.sources.wide_frame import Grid

# Prometheus's own when no flag is set
DEFAULT_RETENTION = timedelta(days=15)
LIMITS = Limits(silence=30.0, total=60.0, largest=128 * 2**20)


class LiveRule(msgspec.Struct, frozen=True):
    """A rule that the server has loaded; `for` and keep_firing_for in seconds."""

    name: str
    query: str
    type: str
    duration: float = 0
    kept: float = msgspec.field(default=0, name="keepFiringFor")
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class LiveGroup(msgspec.Struct, frozen=True):
    """A loaded group of rules."""

    name: str
    rules: list[LiveRule]


class _Groups(msgspec.Struct):
    groups: list[LiveGroup]


class _LiveAlert(msgspec.Struct):
    labels: dict[str, str]
    state: str


class _Alerts(msgspec.Struct):
    alerts: list[_LiveAlert]


class _Build(msgspec.Struct):
    version: str


class _Config(msgspec.Struct):
    yaml: str


class RulesClient:
    """One Prometheus: what its rules would see, and what it runs."""

    def __init__(self, service: Service, limits: Limits = LIMITS) -> None:
        self._client = Client(service, PROMETHEUS, limits)
        self._history = PrometheusSource(service, limits)

    def close(self) -> None:
        """Release the connections."""
        self._client.close()
        self._history.close()

    def now(self, query: str, at: datetime, what: str) -> dict[Labels, float]:
        """Return the value of each series at a time; raise as a source."""
        form = {"query": query, "time": seconds_of(at)}
        vector = ask_data(self._client, "/api/v1/query", what, Vector, form)
        return {_key(one.metric): float(one.value[1]) for one in vector.result}

    def firing(self) -> list[dict[str, str]]:
        """Return the labels of each alert that fires; raise as a source."""
        found = ask_data(self._client, "/api/v1/alerts", "its alerts", _Alerts, None)
        return [one.labels for one in found.alerts if one.state == "firing"]

    def evaluations(
        self, query: str, window: Window, step: timedelta, what: str
    ) -> Iterator[Chunk]:
        """Yield the series at the multiples of the step in the window, in chunks, oldest first."""
        request = self._client.request(what)
        for _, matrix in self._history.pages(query, Grid.of(window, step), request):
            points = read_points(matrix.series, request)
            ends = np.cumsum(points.counts)
            chunk: dict[Labels, Evaluations] = {}
            for one, start, end in zip(matrix.series, ends - points.counts, ends, strict=True):
                key = _key(one.labels)
                if key in chunk:
                    problem = f"two series have the labels {dict(key)}, which no rule may have"
                    fix = "Keep a label in the query that distinguishes them"
                    raise request.refused(HTTPStatus.UNPROCESSABLE_ENTITY, problem, fix)
                chunk[key] = Evaluations(points.times[start:end], points.values[start:end])
            yield chunk

    def table(
        self, query: str, window: Window, step: timedelta, what: str
    ) -> dict[Labels, NDArray[np.float64]]:
        """Return each series at the multiples of the step in the window, NaN without a value."""
        found: dict[Labels, NDArray[np.float64]] = {}
        grid, request = Grid.of(window, step), self._client.request(what)
        for chunk in self.evaluations(query, window, step, what):
            for labels, part in chunk.items():
                slots = grid.slots_of(part.times)
                if slots is None:
                    raise request.invalid("a sample is at a time that was not asked for")
                found.setdefault(labels, np.full(grid.slots, np.nan))[slots] = part.values
        return found

    def groups(self) -> list[LiveGroup]:
        """Return the loaded groups of rules."""
        return ask_data(self._client, "/api/v1/rules", "its rules", _Groups, None).groups

    def version(self) -> str:
        """Return the server's version."""
        path = "/api/v1/status/buildinfo"
        return ask_data(self._client, path, "its version", _Build, None).version

    def retention(self) -> timedelta:
        """Return how long the server keeps its data."""
        what = "its retention"
        flags = ask_data(self._client, "/api/v1/status/flags", what, dict[str, str], None)
        text = flags.get("storage.tsdb.retention.time", "0s")
        length = promql_parser.parse_duration(text) if text != "0s" else timedelta(0)
        return length or DEFAULT_RETENTION

    def scrape_intervals(self) -> dict[str, timedelta]:
        """Return the distance of two scrapes by job; that of `` is the default."""
        what = "its configuration"
        config = ask_data(self._client, "/api/v1/status/config", what, _Config, None)
        try:
            content = yaml.safe_load(config.yaml)
            default = content["global"]["scrape_interval"]
            jobs = {
                job["job_name"]: job.get("scrape_interval", default)
                for job in content.get("scrape_configs") or ()
            }
            texts = {"": default, **jobs}
            return {job: promql_parser.parse_duration(text) for job, text in texts.items()}
        except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            request = self._client.request(what)
            raise request.invalid(f"its YAML cannot be read: {error}") from error

    def reload(self) -> None:
        """Make the server read its configuration and rules again; raise as a source."""
        what = "a reload of its rules"
        request = self._client.request(what)
        answer = self._client.call("POST", f"{self._client.service.url}/-/reload", what)
        words = self._client.quoted(answer.body.decode(errors="replace")) or "no reason given"
        if answer.status == HTTPStatus.FORBIDDEN and "lifecycle" in words.lower():
            raise request.refused(answer.status, words, "Start it with --web.enable-lifecycle")
        self._client.refuse_detours(answer, request)
        if answer.status != HTTPStatus.OK:
            raise request.refused(answer.status, words, "Correct what it names")


def _key(labels: dict[str, str]) -> Labels:
    return tuple(sorted(pair for pair in labels.items() if pair[0] != METRIC_NAME))
