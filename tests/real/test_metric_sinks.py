"""A day of the service in every service for metrics at once, and what a kill in mid-send doubles."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import yaml
from pytest_httpserver import HTTPServer

from tasks.core.batch import time_micros
from tasks.core.catalogue import Catalogue
from tasks.core.window import Window, floor
from tasks.lake.tables import Lake
from tests.support.fakes.cloudwatch import FakeCloudWatch, fake_cloudwatch
from tests.support.fakes.datadog import API_KEY, APP_KEY, FakeDatadog
from tests.support.fakes.gcp import FakeMonitoring, fake_monitoring
from tests.support.fakes.otlp import TOKEN, FakeOtlp
from tests.support.installation import Installation, entry
from tests.support.nursery import Nursery
from tests.support.servers import PrometheusServer, VictoriaServer
from tests.support.service_history import PREFIX, STEP, service_history

KILLED = -signal.SIGKILL
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
CATALOGUE = {
    "training": entry("model_accuracy", step="15s") | {"type": "performance"},
    "requests": entry("requests_total", tags=("method", "status"), step="15s"),
}
TAGS = ("environment", "method", "status")
# metric, labels, seconds
Key = tuple[str, tuple[tuple[str, str], ...], int]
Points = dict[Key, list[float]]


@cache
def last() -> datetime:
    """The newest sample, in the past; of when the first test runs, not of when it was read."""
    return floor(datetime.now(UTC), MINUTE) - 2 * MINUTE


def first() -> datetime:
    """The oldest sample, within the day that Google takes."""
    return last() - timedelta(hours=23, minutes=45)


@dataclass
class Service:
    """One service for metrics: its settings, and the points that it holds, as often as it took them."""

    name: str
    variables: dict[str, str]
    points: Callable[[], Points]
    # the object and the method that take a request
    taking: tuple[Any, str]
    tuning: dict[str, Any] = field(default_factory=dict)

    def section(self) -> dict[str, Any]:
        send = {f"{measurement}.{name}": {"name": f"fl.{name}"} for measurement, name in FIELDS}
        return {"enabled": True, "send": send, "tags": {t: t for t in TAGS}, **self.tuning}


FIELDS = (("training", "model_accuracy"), ("requests", "requests_total"))


def of_datadog(fake: FakeDatadog) -> Service:
    fake.historical |= {f"fl.{name}" for _, name in FIELDS}
    keys = {"DATADOG_API_KEY": API_KEY, "DATADOG_APP_KEY": APP_KEY}

    def points() -> Points:
        assert not fake.dropped
        return gathered(
            ((name, pairs(tag.split(":", 1) for tag in tags), moment), value)
            for name, tags, moment, value in fake.taken
        )

    return Service("datadog", {"DATADOG_URL": fake.url, **keys}, points, (fake, "_series"))


def of_cloudwatch(fake: FakeCloudWatch) -> Service:
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    variables = {"CLOUDWATCH_URL": fake.url, "AWS_REGION": "us-west-2"} | dict.fromkeys(keys, "x")

    def points() -> Points:
        return gathered(
            (
                (
                    one["MetricName"],
                    pairs((each["Name"], each["Value"]) for each in one["Dimensions"]),
                    int(one["Timestamp"].replace(tzinfo=UTC).timestamp()),
                ),
                one["Value"],
            )
            for one in fake.metrics
        )

    return Service("cloudwatch", variables, points, (fake, "take"))


def of_google(fake: FakeMonitoring) -> Service:
    variables = {"GCP_MONITORING_URL": fake.url, "GCP_PROJECT": fake.project}
    prefix = "custom.googleapis.com/"

    def points() -> Points:
        return gathered(
            ((name.removeprefix(prefix), labels, int(moment)), value)
            for (name, labels), taken in fake.taken.items()
            for moment, value in taken
        )

    return Service("gcp", variables, points, (fake, "_write"))


def of_otlp(fake: FakeOtlp) -> Service:
    def points() -> Points:
        return {(name, pairs(labels), at): v for (name, labels, at), v in fake.values.items()}

    variables = {"OTLP_URL": fake.url, "OTLP_TOKEN": TOKEN}
    return Service("otlp", variables, points, (fake, "_take"), {"max_age": "25h"})


def pairs(labels: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in labels))


def gathered(taken: Any) -> Points:
    found: Points = {}
    for key, value in taken:
        found.setdefault(key, []).append(value)
    return found


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    samples = (last() - first()) // timedelta(seconds=STEP)
    history = service_history(first(), samples)
    with PrometheusServer(tmp_path_factory.mktemp("day"), history) as server:
        yield server


@pytest.fixture
def services(httpserver: HTTPServer) -> Iterator[dict[str, Service]]:
    with ExitStack() as stack:
        otlp = stack.enter_context(HTTPServer("127.0.0.1"))
        made = (
            of_datadog(FakeDatadog(httpserver)),
            of_cloudwatch(stack.enter_context(fake_cloudwatch())),
            of_google(stack.enter_context(fake_monitoring())),
            of_otlp(FakeOtlp(otlp, max_age=25 * 3600)),
        )
        yield {service.name: service for service in made}


def installation(
    folder: Path, prometheus: PrometheusServer, *services: Service, **sections: Any
) -> Installation:
    one = Installation(folder, {"PROMETHEUS_URL": prometheus.url})
    catalogue = yaml.safe_load(yaml.safe_dump(CATALOGUE))
    for measurement in catalogue.values():
        for name, spec in measurement["fields"].items():
            spec["query"] = f"sum by ({', '.join(measurement['tags'])}) ({PREFIX}{name})"
    one.configure(catalogue, source_retention="30d", max_gaps_per_run=48)
    one.write_yaml("sinks.yaml", {each.name: each.section() for each in services} | sections)
    for service in services:
        one.variables |= service.variables
    return one


def some(keys: Iterable[Key]) -> list[Key]:
    """The first of the keys: a message with all of them would take minutes to make."""
    return sorted(keys)[:5]


def in_lake(one: Installation) -> dict[Key, float]:
    """The mean of each series in each minute, as the lake has it."""
    found: dict[Key, list[float]] = {}
    window = Window(first() - HOUR, last() + HOUR)
    catalogue = Catalogue.read(one.config / "metrics.yaml")
    for measurement, name in FIELDS:
        entry = catalogue[measurement]
        frame = Lake(str(one.home / "lake")).read(entry, "production", window)
        minutes = (time_micros(frame) // 60_000_000 * 60).tolist()
        labels = [frame[tag].astype(str).tolist() for tag in entry.all_tags]
        for moment, value, *row in zip(minutes, frame[name].tolist(), *labels, strict=True):
            key = (f"fl.{name}", pairs(zip(entry.all_tags, row, strict=True)), moment)
            found.setdefault(key, []).append(value)
    return {key: float(np.mean(values)) for key, values in found.items()}


@pytest.mark.promise(
    "Loading: each service for metrics holds every minute of a day once, with the lake's mean"
)
def test_a_day_of_the_service_in_each_service_for_metrics(
    tmp_path: Path,
    prometheus: PrometheusServer,
    services: dict[str, Service],
    victoria: VictoriaServer,
) -> None:
    one = installation(tmp_path, prometheus, *services.values())
    one.variables |= {"INFLUXDB_URL": victoria.url, "INFLUXDB_TOKEN": "any"}
    ran = one.here("collect", "--start", first().isoformat(), "--json")
    assert ran.code == 0, ran.out + ran.err
    sinks = ran.document["sinks"]
    expected = in_lake(one)
    # one series of the training, three of the requests
    assert len(expected) >= 4 * ((last() - first()) // MINUTE)
    values = ran.document["values"]["landed"]
    for name, service in services.items():
        held = service.points()
        assert some(held.keys() ^ expected.keys()) == [], name
        assert all(len(values) == 1 for values in held.values()), name
        different = [k for k, (v,) in held.items() if not np.isclose(v, expected[k], rtol=1e-12)]
        assert some(different) == [], name
        assert (sinks[name]["loaded"], sinks[name]["pending"]) == (values, 0)
    selector = '{__name__=~"(training|requests)_.+"}'
    assert victoria.count_values(selector) == values == sinks["influxdb"]["loaded"]


@pytest.mark.promise(
    "Loading: a kill in mid-send loses no point of a service for metrics, and doubles one request"
)
@pytest.mark.parametrize("name", ["datadog", "cloudwatch", "gcp", "otlp"])
def test_a_process_killed_in_mid_send(
    tmp_path: Path,
    prometheus: PrometheusServer,
    services: dict[str, Service],
    nursery: Nursery,
    name: str,
) -> None:
    service = services[name]
    one = installation(tmp_path, prometheus, service)
    taken: list[set[Key]] = []
    pid: list[int] = []
    target, method = service.taking
    take = getattr(target, method)

    def killing(*asked: Any) -> Any:
        if len(taken) == 2:
            return take(*asked)
        before = Counter({key: len(values) for key, values in service.points().items()})
        answer = take(*asked)
        after = Counter({key: len(values) for key, values in service.points().items()})
        taken.append(set(after - before))
        if len(taken) == 2:
            # all is stored, and no answer will arrive
            os.kill(pid[0], signal.SIGKILL)
        return answer

    log = tmp_path / "log"
    with patch.object(target, method, killing):
        pid.append(nursery.begin(one.environment, first().isoformat(), None, log))
        assert nursery.end() == KILLED, log.read_text()
        nursery.begin(one.environment, first().isoformat(), None, log)
        assert nursery.end() == 0, log.read_text()
    held = service.points()
    assert some(held.keys() ^ in_lake(one).keys()) == []
    doubled = {key for key, values in held.items() if len(values) > 1}
    # a request may end within a step, whose other series go with it again
    last = max(key[-1] for key in taken[0])
    assert {key for key in doubled if key[-1] != last} <= taken[1]
    assert all(len(values) <= 2 for values in held.values())
    # Google refuses what it has, the others store it again
    assert bool(doubled) is (name != "gcp")
