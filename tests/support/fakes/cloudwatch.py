"""A CloudWatch and an STS on loopback: moto, and the refusals of the real one that moto lacks."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import requests
from moto.cloudwatch.exceptions import CloudWatchException, InvalidParameterValue
from moto.cloudwatch.responses import CloudWatchResponse
from moto.server import ThreadedMotoServer
from moto.sts.models import STSBackend

from tasks.core.metric_services import UNITS

Metric = Mapping[str, Any]


@dataclass(frozen=True)
class Fault:
    """Answer with an error, after or instead of storing what was sent."""

    error: CloudWatchException
    is_stored: bool = False


@dataclass
class FakeCloudWatch:
    """What it was sent: the metrics of each request that it took, and how many it refused."""

    url: str = ""
    taken: list[list[Metric]] = field(default_factory=list)
    namespaces: set[str] = field(default_factory=set)
    refused: int = 0
    faults: list[Fault | None] = field(default_factory=list)
    # values that it refuses for a reason of its own
    unlucky: set[float] = field(default_factory=set)
    # those that were assumed, each for so long
    roles: list[str] = field(default_factory=list)
    role_expires_in: timedelta = timedelta(hours=1)

    @property
    def metrics(self) -> list[Metric]:
        return [metric for request in self.taken for metric in request]

    def take(self, namespace: str, metrics: list[Metric], size: int) -> Fault | None:
        """Refuses as the real one does; returns the error to answer with once they are stored."""
        fault = self.faults.pop(0) if self.faults else None
        if fault and not fault.is_stored:
            raise fault.error
        if flaw := _flaw(namespace, metrics) or self._misfortune(metrics):
            self.refused += 1
            raise InvalidParameterValue(flaw)
        if size > 1_000_000:
            raise CloudWatchException("RequestEntityTooLarge", "Request size exceeded")
        self.taken.append(metrics)
        self.namespaces.add(namespace)
        return fault

    def _misfortune(self, metrics: list[Metric]) -> str:
        for number, metric in enumerate(metrics, 1):
            if self.unlucky & set(_numbers(metric)):
                return f"The parameter MetricData.member.{number} is unlucky."
        return ""


def _flaw(namespace: str, metrics: list[Metric]) -> str:
    if not namespace or namespace.startswith((":", "AWS/")):
        return f"The value {namespace} for parameter Namespace is invalid."
    if len(metrics) > 1000:
        return "The collection MetricData must not have a size greater than 1000."
    flaws = (
        f"The parameter MetricData.member.{number}.{flaw} is invalid."
        for number, metric in enumerate(metrics, 1)
        if (flaw := _flaw_of(metric))
    )
    return next(flaws, "")


def _flaw_of(metric: Metric) -> str:
    ways = [key for key in ("Value", "Values", "StatisticValues") if key in metric]
    dimensions = metric.get("Dimensions", [])
    age = datetime.now(UTC) - metric["Timestamp"].replace(tzinfo=UTC)
    statistics = metric.get("StatisticValues", {})
    broken = {
        f"value ({', '.join(ways)})": len(ways) != 1,
        "MetricName": not _is_name(metric["MetricName"]),
        "Values (more than 150)": len(metric.get("Values", [])) > 150,
        "Values (repeated)": len(set(metric.get("Values", []))) != len(metric.get("Values", [])),
        "Counts": len(metric.get("Counts", metric.get("Values", [])))
        != len(metric.get("Values", [])),
        "StatisticValues": statistics.get("SampleCount", 1) <= 0
        or statistics.get("Minimum", 0) > statistics.get("Maximum", 0),
        "number": not all(abs(each) <= 2.0**360 for each in _numbers(metric)),
        "Dimensions (more than 30)": len(dimensions) > 30,
        "Dimensions.Name": not all(_is_name(each["Name"]) for each in dimensions),
        "Dimensions.Value": not all(_is_text(each["Value"], 1024) for each in dimensions),
        "Timestamp": not timedelta(hours=-2) <= age <= timedelta(days=14),
        "Unit": metric.get("Unit", "None") not in UNITS,
    }
    return next((what for what, is_so in broken.items() if is_so), "")


def _numbers(metric: Metric) -> list[float]:
    found = [metric["Value"]] if "Value" in metric else []
    found += metric.get("Values", [])
    found += metric.get("StatisticValues", {}).values()
    return [float(each) if each is not None else math.nan for each in found]


def _is_text(text: str, longest: int) -> bool:
    return bool(re.fullmatch(r"[\x20-\x7e]+", text)) and bool(text.strip()) and len(text) <= longest


def _is_name(text: str) -> bool:
    return _is_text(text, 255) and not text.startswith(":")


@contextmanager
def fake_cloudwatch() -> Iterator[FakeCloudWatch]:
    """Serve one until the block ends."""
    fake = FakeCloudWatch()
    moto_puts, moto_assumes = CloudWatchResponse.put_metric_data, STSBackend.assume_role

    def put_metric_data(response: Any) -> Any:
        namespace, metrics = response._get_param("Namespace"), response._get_param("MetricData", [])
        fault = fake.take(namespace, metrics, len(response.body))
        stored = moto_puts(response)
        if fault:
            raise fault.error
        return stored

    def assume_role(backend: Any, **asked: Any) -> Any:
        role = moto_assumes(backend, **asked)
        role.expiration = datetime.now(UTC).replace(tzinfo=None) + fake.role_expires_in
        fake.roles.append(asked["role_arn"])
        return role

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    fake.url = f"http://{host}:{port}"
    try:
        with (
            patch.object(CloudWatchResponse, "put_metric_data", put_metric_data),
            patch.object(STSBackend, "assume_role", assume_role),
        ):
            yield fake
            requests.post(f"{fake.url}/moto-api/reset", timeout=10)
    finally:
        server.stop()
