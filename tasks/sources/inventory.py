"""Inventory of a Prometheus: its metrics with type, unit and series."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TypeVar

import msgspec

from tasks.core.errors import SourceRefused
from tasks.core.outside import MOST_VALUES, UNREADABLE, check_size
from tasks.core.services import Service
from tasks.core.window import micros
from tasks.http import Limits
from tasks.sources.answers import METRIC_NAME, failure, read_refusal
from tasks.sources.http import PROMETHEUS, Client

# samples of a family beside its own name
ENDINGS = re.compile(r"_(bucket|count|sum)$")
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
class Selection:
    """The metrics to examine: patterns of names such as node_*, and jobs; empty: all."""

    names: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()

    def has(self, metric: str) -> bool:
        """Return whether a pattern matches the metric or the family of such a sample."""
        spellings = {metric, ENDINGS.sub("", metric)}
        return not self.names or any(
            fnmatchcase(one, pattern) for one in spellings for pattern in self.names
        )

    @property
    def condition(self) -> str:
        """Return the condition on the job in PromQL; empty for none."""
        if len(self.jobs) == 1:
            return f"job={quoted(self.jobs[0])}"
        return f"job=~{quoted(_either(self.jobs))}" if self.jobs else ""

    def __str__(self) -> str:
        """Return the options that select it."""
        options = [f"--select {name}" for name in self.names]
        return " ".join(options + [f"--job {job}" for job in self.jobs])


@dataclass(frozen=True)
class Inventory:
    """Each metric's series labels without the name, and metadata by metric family.

    too_many: number of series of the metrics that have too many to examine.
    condition: what every query of them must have besides the name.
    """

    series: Mapping[str, list[Labels]]
    described: Mapping[str, list[Described]]
    too_many: Mapping[str, int]
    condition: str = ""


ALL = Selection()


class Sample(msgspec.Struct):
    """One series of a vector."""

    metric: Labels
    # none of a native histogram
    value: tuple[float, str] = (0.0, "0")


class Vector(msgspec.Struct):
    """The data of an instant query."""

    result: list[Sample]


Content = TypeVar("Content")


def look(
    service: Service, now: datetime, selection: Selection = ALL, limits: Limits | None = None
) -> Inventory:
    """List metrics with their series at `now`; raise as a query."""
    condition = selection.condition
    with Client(service, PROMETHEUS, limits) as client:
        every = _matching(f'{METRIC_NAME}!=""', condition)
        query = f"count by ({METRIC_NAME}) ({every})"
        form = {"query": query, "time": seconds_of(now)}
        vector = ask_data(client, "/api/v1/query", "its metrics", Vector, form)
        named = [one for one in vector.result if METRIC_NAME in one.metric]
        everything = {one.metric[METRIC_NAME]: int(float(one.value[1])) for one in named}
        counts = {name: count for name, count in everything.items() if selection.has(name)}
        series: dict[str, list[Labels]] = {}
        for names in _portions({n: c for n, c in sorted(counts.items()) if c <= MOST_SERIES}):
            for labels in _series(client, names, condition, now):
                series.setdefault(labels.pop(METRIC_NAME, ""), []).append(labels)
        described = _described(client)
    too_many = {name: count for name, count in counts.items() if count > MOST_SERIES}
    return Inventory(series, described, too_many, condition)


def _described(client: Client) -> dict[str, list[Described]]:
    """Return the targets' metadata; none when the service keeps none."""
    try:
        return ask_data(
            client, "/api/v1/metadata", "its metadata", dict[str, list[Described]], None
        )
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
                form = {"query": query, "time": seconds_of(now)}
                vector = ask_data(client, "/api/v1/query", f"range of {key}", Vector, form)
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


def quoted(text: str) -> str:
    """Quote text as a string of PromQL."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'


def _either(texts: Iterable[str]) -> str:
    """Return a pattern of RE2 for one of the texts."""
    return "|".join(map(re.escape, texts))


def _matching(*conditions: str) -> str:
    return f"{{{', '.join(filter(None, conditions))}}}"


def _series(client: Client, names: list[str], condition: str, now: datetime) -> list[Labels]:
    # at one moment: /api/v1/series lists those of hours, or of a day in other stores
    query = _matching(f"{METRIC_NAME}=~{quoted(_either(names))}", condition)
    vector = ask_data(
        client, "/api/v1/query", "its series", Vector, {"query": query, "time": seconds_of(now)}
    )
    return [one.metric for one in vector.result]


def ask_data(
    client: Client, path: str, what: str, kind: type[Content], form: Mapping[str, str] | None
) -> Content:
    """Return the `data` of an answer; raise as `look`."""
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


def seconds_of(moment: datetime) -> str:
    """Return a time as Prometheus reads it."""
    return f"{micros(moment) / 1e6:.3f}"
