"""Rules of a live Prometheus: evaluate queries, read its rules and settings, reload it."""

from datetime import datetime, timedelta
from http import HTTPStatus

import msgspec
import numpy as np
import promql_parser
import yaml
from numpy.typing import NDArray

from tasks.core.services import Service
from tasks.core.window import EPOCH, Window
from tasks.http import Limits
from tasks.sources.answers import METRIC_NAME, read_points
from tasks.sources.http import PROMETHEUS, Client
from tasks.sources.inventory import Vector, ask_data, seconds_of
from tasks.sources.prometheus import MAX_POINTS, ask_range
from tasks.sources.wide_frame import Grid

# Prometheus's own when no flag is set
DEFAULT_RETENTION = timedelta(days=15)
LIMITS = Limits(silence=30.0, total=60.0)
Labels = tuple[tuple[str, str], ...]


class LiveRule(msgspec.Struct, frozen=True):
    """A rule that the server has loaded; its duration in seconds."""

    name: str
    query: str
    type: str
    duration: float = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class LiveGroup(msgspec.Struct, frozen=True):
    """A loaded group of rules."""

    name: str
    rules: list[LiveRule]


class _Groups(msgspec.Struct):
    groups: list[LiveGroup]


class _Build(msgspec.Struct):
    version: str


class _Config(msgspec.Struct):
    yaml: str


class RulesClient:
    """One Prometheus: what its rules would see, and what it runs."""

    def __init__(self, service: Service, limits: Limits = LIMITS) -> None:
        self._client = Client(service, PROMETHEUS, limits)

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def now(self, query: str, at: datetime, what: str) -> dict[Labels, float]:
        """Return the value of each series at a time; raise as a source."""
        form = {"query": query, "time": seconds_of(at)}
        vector = ask_data(self._client, "/api/v1/query", what, Vector, form)
        return {_key(one.metric): float(one.value[1]) for one in vector.result}

    def moments(
        self, query: str, window: Window, step: timedelta, what: str
    ) -> dict[Labels, list[datetime]]:
        """Return the multiples of the step in the window at which each series has a value."""
        found: dict[Labels, list[datetime]] = {}
        request = self._client.request(what)
        for page in Grid.of(window, step).pages(MAX_POINTS):
            series = ask_range(self._client, query, page, request).series
            points = read_points(series, request)
            times = iter(points.times.tolist())
            for one, count in zip(series, points.counts.tolist(), strict=True):
                moments = [EPOCH + timedelta(microseconds=next(times)) for _ in range(count)]
                found.setdefault(_key(one.labels), []).extend(moments)
        return found

    def table(
        self, query: str, window: Window, step: timedelta, what: str
    ) -> dict[Labels, NDArray[np.float64]]:
        """Return each series at the multiples of the step in the window, NaN without a value."""
        found: dict[Labels, NDArray[np.float64]] = {}
        grid, request = Grid.of(window, step), self._client.request(what)
        for page in grid.pages(MAX_POINTS):
            series = ask_range(self._client, query, page, request).series
            points = read_points(series, request)
            slots = grid.slots_of(points.times)
            if slots is None:
                raise request.invalid("a sample is at a time that was not asked for")
            ends = np.cumsum(points.counts)
            for one, end, count in zip(series, ends, points.counts, strict=True):
                values = found.setdefault(_key(one.labels), np.full(grid.slots, np.nan))
                values[slots[end - count : end]] = points.values[end - count : end]
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
