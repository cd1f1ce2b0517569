"""Inventory of a Prometheus: its metrics with type, unit and series."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec

from tasks.core.errors import SourceRefused
from tasks.core.outside import MOST_VALUES, UNREADABLE, check_size
from tasks.core.services import Service
from tasks.core.window import micros
from tasks.http import Limits
from tasks.sources.answers import METRIC_NAME, failure, read_refusal
from tasks.sources.http import PROMETHEUS, Client

COUNTS = f'count by ({METRIC_NAME}) ({{{METRIC_NAME}!=""}})'
# series that one query may return, and that one metric may have to be examined
MOST_SERIES = 20_000
# a proxy may reject a longer query
MOST_NAMES = 200


class Described(msgspec.Struct, frozen=True):
    """A target's metadata of one of its metrics."""

    type: str = ""
    unit: str = ""
    help: str = ""


Labels = dict[str, str]


@dataclass(frozen=True)
class Inventory:
    """Each metric's series labels without the name, and metadata by metric family.

    too_many: number of series of the metrics that have too many to examine.
    """

    series: Mapping[str, list[Labels]]
    described: Mapping[str, list[Described]]
    too_many: Mapping[str, int]


class _Sample(msgspec.Struct):
    metric: Labels
    # none of a native histogram
    value: tuple[float, str] = (0.0, "0")


class _Vector(msgspec.Struct):
    result: list[_Sample]


Content = TypeVar("Content")


def look(service: Service, now: datetime, limits: Limits | None = None) -> Inventory:
    """List metrics with their series at `now`; raise as a query."""
    with Client(service, PROMETHEUS, limits) as client:
        form = {"query": COUNTS, "time": _seconds(now)}
        vector = _ask(client, "/api/v1/query", "its metrics", _Vector, form)
        named = [one for one in vector.result if METRIC_NAME in one.metric]
        counts = {one.metric[METRIC_NAME]: int(float(one.value[1])) for one in named}
        series: dict[str, list[Labels]] = {}
        for names in _portions({n: c for n, c in sorted(counts.items()) if c <= MOST_SERIES}):
            for labels in _series(client, names, now):
                series.setdefault(labels.pop(METRIC_NAME, ""), []).append(labels)
        described = _described(client)
    too_many = {name: count for name, count in counts.items() if count > MOST_SERIES}
    return Inventory(series, described, too_many)


def _described(client: Client) -> dict[str, list[Described]]:
    """Return the targets' metadata; none when the service keeps none."""
    try:
        return _ask(client, "/api/v1/metadata", "its metadata", dict[str, list[Described]], None)
    except SourceRefused as error:
        if error.status != 404:
            raise
        return {}


def lowest_and_highest(
    service: Service, selectors: Mapping[str, str], now: datetime, limits: Limits | None = None
) -> dict[str, tuple[float, float]]:
    """Return the extremes of all series in the last hour, by the selector's key.

    A selector without samples, or with NaN only, is left out. Raises as `look`.
    """
    found: dict[str, tuple[float, float]] = {}
    with Client(service, PROMETHEUS, limits) as client:
        for key, selector in selectors.items():
            ends = []
            for how in ("min", "max"):
                query = f"{how}({how}_over_time({selector}[1h]))"
                form = {"query": query, "time": _seconds(now)}
                vector = _ask(client, "/api/v1/query", f"range of {key}", _Vector, form)
                ends += [float(one.value[1]) for one in vector.result]
            if len(ends) == 2 and not any(map(math.isnan, ends)):
                found[key] = (ends[0], ends[1])
    return found


def _portions(counts: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield the names in groups for one query each."""
    names: list[str] = []
    total = 0
    for name, count in counts.items():
        if names and (total + count > MOST_SERIES or len(names) == MOST_NAMES):
            yield names
            names, total = [], 0
        names.append(name)
        total += count
    if names:
        yield names


def _series(client: Client, names: list[str], now: datetime) -> list[Labels]:
    # a pattern of RE2 in a string of PromQL
    pattern = "|".join(re.escape(name) for name in names).replace("\\", r"\\").replace('"', r"\"")
    # at one moment: /api/v1/series lists those of hours, or of a day in other stores
    form = {"query": f'{{{METRIC_NAME}=~"{pattern}"}}', "time": _seconds(now)}
    vector = _ask(client, "/api/v1/query", "its series", _Vector, form)
    return [one.metric for one in vector.result]


def _ask(
    client: Client, path: str, what: str, kind: type[Content], form: Mapping[str, str] | None
) -> Content:
    request = client.request(what)
    answer = client.ask(path, what, form)
    refusal = read_refusal(answer.body)
    if answer.status != 200 or refusal is not None:
        raise failure(client, answer, refusal, (form or {}).get("query", path), request)
    try:
        check_size(answer.body, most=MOST_VALUES)
        envelope = msgspec.json.decode(answer.body, type=dict[str, msgspec.Raw])
        return msgspec.json.decode(envelope["data"], type=kind)
    except KeyError as error:
        raise request.invalid("it has no data") from error
    except UNREADABLE as error:
        raise request.invalid(str(error)) from error


def _seconds(moment: datetime) -> str:
    return f"{micros(moment) / 1e6:.3f}"
