"""Health of two real demo services at once, with their faults."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from tasks.core.services import Service
from tasks.core.settings import shipped
from tasks.sources.host import local_host
from tasks.sources.host import node_exporter as node_exporter_of
from tests.support.installation import Installation
from tests.support.running_server import RunningServer, started
from tests.support.servers import NodeExporter, PrometheusServer
from tests.support.serving import eventually

TESTING = {"FED_VIT_AUTORL_ENV": "testing"}
PATHS = (
    "/health",
    "/health/detailed",
    "/metrics",
    "/api/status",
    "/api/clients/count",
    "/api/training/status",
)


@dataclass
class Pair:
    """An installation, and the services of its environments production and staging."""

    installation: Installation
    production: RunningServer
    staging: RunningServer

    def fault(self, path: str, kind: str, **more: Any) -> None:
        body = {"path": path, "kind": kind, **more}
        url = f"{self.staging.http}/testing/faults"
        requests.post(url, json=body, timeout=5).raise_for_status()

    def check(self) -> tuple[int, dict[str, Any], dict[str, Any]]:
        """The exit code, and the documents of both."""
        done = self.installation.here("health", "--json")
        assert done.out, done.err
        document = json.loads(done.out)
        return done.code, document, document["environments"]["staging"]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, ...]]:
    with ExitStack() as stack:
        folder = str(tmp_path_factory.mktemp("tls"))
        tls = ("--https-port", "0", "--tls-dir", folder)
        first = stack.enter_context(started(*tls, **TESTING))
        yield first, stack.enter_context(started("--rounds", "400", "--round-seconds", "60", **TESTING))  # fmt: skip


@pytest.fixture
def pair(servers: tuple[RunningServer, ...], bare: Installation) -> Iterator[Pair]:
    production, staging = servers
    bare.config.mkdir(parents=True)
    for name in ("metrics.yaml", "sinks.yaml", "health.yaml", "environments.yaml"):
        text = (shipped("config") / name).read_text("utf-8")
        (bare.config / name).write_text(text, "utf-8")
    with bare.changed("environments.yaml") as content:
        content["pipeline"]["settle_delay"] = "1ms"
        content["environments"] = {
            "production": {"api_url": production.http},
            "staging": {"api_url": staging.http},
        }
    with bare.changed("health.yaml") as content:
        content["timeout"] = "2s"
    yield Pair(bare, production, staging)
    requests.delete(f"{staging.http}/testing/faults", timeout=5).raise_for_status()


def test_both_services_are_healthy_with_the_shipped_checks(pair: Pair) -> None:
    code, production, staging = pair.check()

    assert (code, production["overall_status"], staging["overall_status"]) == (0, "healthy", "healthy")  # fmt: skip
    for document in (production, staging):
        assert tuple(document["api_health"]) == PATHS
        assert {one["state"] for one in document["api_health"].values()} == {"up"}
    assert staging["federated_learning"]["state"] == "running"
    assert staging["federated_learning"]["stalled"] is False


@pytest.mark.parametrize(
    ("path", "fault", "status", "error"),
    [
        ("/health", {"kind": "error_500"}, "unhealthy", "HTTP 500 instead of 200"),
        ("/api/status", {"kind": "slow", "seconds": 9}, "error", "no whole answer within 2 s"),
        ("/api/clients/count", {"kind": "malformed_json"}, "unhealthy", "the body is not JSON"),
        ("/health/detailed", {"kind": "missing_field", "field": "status"}, "unhealthy", "$.status is missing"),
        ("/metrics", {"kind": "missing_field", "field": "#"}, "unhealthy", "the body does not match"),
    ],
)  # fmt: skip
def test_a_fault_of_one_service_is_found_there_alone(
    pair: Pair, path: str, fault: dict[str, Any], status: str, error: str
) -> None:
    pair.fault(path, **fault)
    code, production, staging = pair.check()

    assert (code, production["overall_status"], staging["overall_status"]) == (1, "healthy", "unhealthy")  # fmt: skip
    bad = {name: one for name, one in staging["api_health"].items() if one["status"] != "healthy"}
    assert list(bad) == [path]
    assert bad[path]["status"] == status
    assert error in bad[path]["error"]
    (sentence,) = staging["findings"]
    assert sentence.startswith(f"staging: {path} ")


def test_one_lost_answer_of_a_real_service_is_no_outage(pair: Pair) -> None:
    pair.fault("/health", "error_500", times=1)
    code, _, staging = pair.check()
    assert (code, staging["api_health"]["/health"]["state"], staging["findings"]) == (0, "up", [])


@pytest.mark.promise("Health: a training whose rounds do not move while it runs is a finding")
def test_a_training_that_stands_still_is_found(pair: Pair) -> None:
    with pair.installation.changed("health.yaml") as content:
        content["training"]["stalled_after"] = "100ms"
    # on a slow machine a round may move between two checks
    for _ in range(4):
        code, production, staging = pair.check()
        if code == 1:
            break

    assert code == 1
    assert staging["federated_learning"]["stalled"] is True
    assert "the training runs, and is in round" in staging["findings"][0]
    # it has finished
    assert production["findings"] == []


def test_a_certificate_that_ends_soon_is_a_warning(pair: Pair) -> None:
    assert pair.production.ca_file
    pair.installation.variables["REQUESTS_CA_BUNDLE"] = pair.production.ca_file
    with pair.installation.changed("environments.yaml") as content:
        content["environments"]["production"]["api_url"] = pair.production.https
    code, production, _ = pair.check()
    assert (code, production["findings"]) == (0, [])
    assert production["api_health"]["/health"]["certificate_days"] == pytest.approx(90, abs=0.1)

    with pair.installation.changed("health.yaml") as content:
        content["certificate_days"] = 100
    code, production, _ = pair.check()
    assert (code, production["overall_status"]) == (0, "healthy")
    (sentence,) = production["findings"]
    assert "expires in 90.0 days (limit 100 days)" in sentence


def test_a_certificate_of_an_unknown_authority_is_evidence(pair: Pair) -> None:
    with pair.installation.changed("environments.yaml") as content:
        content["environments"]["production"]["api_url"] = pair.production.https
    code, production, staging = pair.check()

    assert (code, production["state"], staging["state"]) == (1, "down", "up")
    assert {one["status"] for one in production["api_health"].values()} == {"error"}


def test_a_service_that_is_gone_is_down_and_comes_back(pair: Pair) -> None:
    with pair.installation.changed("environments.yaml") as content:
        content["environments"]["staging"]["api_url"] = "http://127.0.0.1:9"
    stopped, production, gone = pair.check()
    with pair.installation.changed("environments.yaml") as content:
        content["environments"]["staging"]["api_url"] = pair.staging.http
    code, _, staging = pair.check()
    assert (stopped, production["state"], gone["state"]) == (1, "up", "down")
    assert (code, staging["state"]) == (0, "up")


def test_figures_of_the_machine_come_from_the_node_exporter(
    make_prometheus: Callable[..., PrometheusServer], node_exporter: NodeExporter
) -> None:
    server = make_prometheus(scrape={"node": [node_exporter.target]})
    service = Service(url=server.url, origin="PROMETHEUS_URL")
    # the share of CPU needs two scrapes
    host = eventually(lambda: node_exporter_of("production", service), 30)
    here = local_host("production")
    assert 0 <= host.cpu_ratio <= 1
    assert host.memory_ratio == pytest.approx(here.memory_ratio, abs=0.1)
    assert host.disk_ratio == pytest.approx(here.disk_ratio, abs=0.01)
    assert host.load_1m is not None


def test_without_a_node_exporter_nothing_is_measured(
    make_prometheus: Callable[..., PrometheusServer],
) -> None:
    server = make_prometheus()
    service = Service(url=server.url, origin="PROMETHEUS_URL")
    assert node_exporter_of("production", service) is None
