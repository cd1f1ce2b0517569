"""`fedvitals init` at real Prometheus servers: what it writes is collected without an edit."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tasks.core.catalogue import Catalogue
from tests.support.history import history, selector
from tests.support.installation import Installation
from tests.support.servers import VERSIONS, NodeExporter, PrefectServer, PrometheusServer

STEP = 15
# what a run leaves to the source; the last slot before that is up to two steps further back
SETTLED_SECONDS = 60 + 2 * STEP


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, node_exporter: NodeExporter
) -> Iterator[dict[str, PrometheusServer]]:
    """Each scrapes a node exporter and itself since long enough for a run to read it."""
    jobs = {"node": [node_exporter.target], "prometheus": ["itself"]}
    with ExitStack() as stack:
        found = {}
        for version in VERSIONS:
            home = tmp_path_factory.mktemp("prometheus")
            server = PrometheusServer(home, scrape=jobs, version=version)
            config = server.config_path.read_text()
            server.config_path.write_text(config.replace("itself", f"127.0.0.1:{server.port}"))
            found[version] = stack.enter_context(server)
        for server in found.values():
            while not server.query("count(up == 1) == 2", time.time() - SETTLED_SECONDS):
                time.sleep(1)
        yield found


@pytest.fixture(params=VERSIONS)
def prometheus(
    servers: dict[str, PrometheusServer], request: pytest.FixtureRequest
) -> PrometheusServer:
    return servers[request.param]


def installed(folder: Path, prefect: PrefectServer, prometheus: PrometheusServer) -> Installation:
    return Installation(
        folder, {"PREFECT_API_URL": prefect.api_url, "PROMETHEUS_URL": prometheus.url}
    )


def initialised(installation: Installation) -> Any:
    """The document of init, whose files the installation uses from then on."""
    ran = installation.run("init", "--yes", "--output", str(installation.folder), "--json")
    assert ran.code == 0, ran.err
    # from here on the written address counts
    del installation.variables["PROMETHEUS_URL"]
    return ran.document


@pytest.mark.slow
def test_a_node_exporter_and_prometheus_itself_are_collected_without_an_edit(
    tmp_path: Path, prefect_server: PrefectServer, prometheus: PrometheusServer
) -> None:
    installation = installed(tmp_path, prefect_server, prometheus)
    document = initialised(installation)

    assert document["kept"] == ["node", "filesystems"]
    proposed = {one["measurement"]: one for one in document["proposed"]}
    assert {"go", "go_memstats", "node_memory", "node_network_by_device", "up"} <= set(proposed)
    assert not [name for name in proposed if re.search(r"_\d+$", name)], "a number names nothing"
    assert proposed["up"] == {
        "measurement": "up",
        "tags": ["instance", "job"],
        "identity": None,
        "fields": ["up"],
        "metrics": ["up"],
    }
    reasons = {one["metric"]: one["reason"] for one in document["skipped"]}
    assert reasons["node_cpu_seconds_total"] == "node reads it already"
    assert not [name for name in reasons if "." in name], "a proposed query was refused"

    collected = installation.run("collect", "--json")
    receipt = collected.document
    assert (collected.code, receipt["status"]) == (0, "ok"), collected.err
    states = {one["name"]: one["state"] for one in receipt["measurements"]}
    assert set(states) == {"node", "filesystems", *proposed}
    assert set(states.values()) <= {"landed", "no_data"}
    assert sum(state == "landed" for state in states.values()) >= 0.9 * len(states)
    assert receipt["values"]["quarantined"] == 0
    _same_as_prometheus(installation, prometheus)


def _same_as_prometheus(installation: Installation, prometheus: PrometheusServer) -> None:
    sql = "SELECT epoch(time) AS second, instance, goroutines, threads FROM go ORDER BY time"
    rows = installation.run("lake", "query", sql, "--json").document["rows"]
    last = [row for row in rows if row["second"] == rows[-1]["second"]]
    for field in ("goroutines", "threads"):
        answer = prometheus.query(f"go_{field}", last[0]["second"])
        expected = {one["metric"]["instance"]: float(one["value"][1]) for one in answer}
        assert {row["instance"]: row[field] for row in last} == expected


def odd_history(now: int) -> str:
    """Names as they should not be, and more series than a measurement takes; half an hour."""
    start = (now - 1800) // STEP * STEP
    count = (now - start) // STEP
    growing = [float(STEP * number) for number in range(count)]
    series: dict[str, Any] = {
        selector("time", {"job": "a"}): growing,
        selector("_hidden_bytes", {"job": "a", "environment": "e", "_shard": "0"}): growing,
        selector("sum", {"job": "a", "Mode": "x", "mode": "y"}): growing,
        selector("job:hits:rate5m", {"le": "1", "quantile": "2", "field": "f"}): growing,
        selector("field_total", {"environment": "e"}): growing,
        selector("ping_skew_seconds", {"job": "a"}): [-1.0 for _ in growing],
    }
    # of the last minutes only, since five hundred and one series are a long text
    recent = [1.0 if number >= count - 20 else float("nan") for number in range(count)]
    for client in range(501):
        series[selector("fl_round_loss", {"job": "a", "client": str(client)})] = recent
    return history(series, start, STEP)


def test_odd_names_and_many_series_are_collected_too(
    tmp_path: Path, prefect_server: PrefectServer, make_prometheus: Callable[..., PrometheusServer]
) -> None:
    prometheus = make_prometheus(odd_history(int(time.time())))
    installation = installed(tmp_path, prefect_server, prometheus)
    document = initialised(installation)

    fields = {one["measurement"]: (one["tags"], one["fields"]) for one in document["proposed"]}
    assert fields == {
        "fl_round": (["job"], ["loss"]),
        "field_value_by_exported_environment": (
            ["exported_environment"],
            ["field_per_second"],
        ),
        "hidden_by_shard_exported_environment": (
            ["shard", "exported_environment", "job"],
            ["hidden_bytes"],
        ),
        "job_hits_by_exported_field_le_quantile": (
            ["exported_field", "le", "quantile"],
            ["rate5m"],
        ),
        "ping": (["job"], ["skew_seconds"]),
        "sum_by_mode_mode_2": (["Mode", "job", "mode_2"], ["sum"]),
        "time_value": (["job"], ["time_value"]),
    }
    catalogue = Catalogue.read(installation.config / "metrics.yaml")
    assert "without, for its number of series: client" in catalogue["fl_round"].description

    collected = installation.run("collect", "--json")
    assert (collected.code, collected.document["status"]) == (0, "ok"), collected.err
    states = {one["name"]: one["state"] for one in collected.document["measurements"]}
    assert set(states.values()) == {"landed"}
    sql = (
        "SELECT exported_environment, field_per_second FROM field_value_by_exported_environment "
        "ORDER BY time DESC LIMIT 1"
    )
    rows = installation.run("lake", "query", sql, "--json").document["rows"]
    assert rows == [{"exported_environment": "e", "field_per_second": 1.0}]


def test_an_empty_prometheus(
    tmp_path: Path, make_prometheus: Callable[..., PrometheusServer]
) -> None:
    url = make_prometheus().url
    ran = Installation(tmp_path).here("init", "--prometheus-url", url, "--output", str(tmp_path))

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines() == [
        f"init: looking at {url}",
        f"fedvitals: Prometheus at {url} has no data of the last five minutes, so nothing was "
        "written. Fix: check its scrape_configs and its targets, and --select and --job",
    ]
    assert list(tmp_path.iterdir()) == []
