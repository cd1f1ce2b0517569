"""`doctor` and `catalogue --live` against real servers."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.test_servers import eventually
from tests.support.history import history, selector
from tests.support.installation import Installation, entry
from tests.support.running_server import started
from tests.support.servers import VERSIONS, InfluxServer, PrefectServer, PrometheusServer

SETTLE_SECONDS = 2


@pytest.fixture(scope="module", params=VERSIONS)
def prometheus(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[PrometheusServer]:
    """One that scrapes itself, so that `up` and its own metrics have values now."""
    home = tmp_path_factory.mktemp("prometheus")
    old = history({selector("old", {}): [1.0] * 10}, 1772323200, 15)
    with PrometheusServer(home, old) as probe:
        target = f"127.0.0.1:{probe.port}"
    home = tmp_path_factory.mktemp("prometheus")
    with PrometheusServer(home, old, scrape={"itself": [target]}, version=request.param) as server:
        server.config_path.write_text(
            server.config_path.read_text().replace(target, f"127.0.0.1:{server.port}")
        )
        server.restart()
        # a look is at what was there a settle delay ago
        assert eventually(lambda: bool(server.query("up == 1", time.time() - SETTLE_SECONDS)))
        yield server


@pytest.fixture
def installation(tmp_path: Path, prometheus: PrometheusServer) -> Installation:
    return Installation(tmp_path, {"PROMETHEUS_URL": prometheus.url})


def measurement(query: str, *tags: str, **more: Any) -> dict[str, Any]:
    made = entry("x", tags=tags, **more)
    made["fields"]["x"]["query"] = query
    return made


LIVE = {
    "good": (measurement("count by (job) (up)", "job"), "ok", "1 series"),
    "empty": (measurement("max(there_is_no_such_metric)"), "no_data", "no series now"),
    "old": (measurement("max(old)"), "no_data", "no series now"),
    "labels": (
        measurement("up", "job"), "labels_differ",
        "it has the labels ['instance'",
    ),
    "many": (
        measurement(
            "sum by (handler) (prometheus_http_request_duration_seconds_bucket)", "handler",
            max_series=1,
        ),
        "too_many_series",
        "max_series is 1; the label with the most values is handler",
    ),
    "wrong": (measurement("sum by (x"), "refused", "bad_data"),
}  # fmt: skip


def test_catalogue_live(installation: Installation) -> None:
    installation.configure(
        {name: made for name, (made, _, _) in LIVE.items()}, settle_delay=f"{SETTLE_SECONDS}s"
    )

    ran = installation.here("catalogue", "--live", "--json")

    assert (ran.code, ran.err) == (1, "")
    found = {each["measurement"]: each for each in ran.document["live"]}
    assert {name: each["state"] for name, each in found.items()} == {
        name: state for name, (_, state, _) in LIVE.items()
    }
    for name, (_, state, words) in LIVE.items():
        assert found[name]["detail"].startswith(words)
        assert bool(found[name]["fix"]) == (state != "ok")


def test_catalogue_live_of_what_is_merely_not_there_yet(installation: Installation) -> None:
    installation.configure(
        {name: LIVE[name][0] for name in ("good", "empty")}, settle_delay=f"{SETTLE_SECONDS}s"
    )

    ran = installation.here("catalogue", "--live")

    assert ran.code == 0
    empty, *_, good = ran.out.splitlines()
    assert empty.split()[:3] == ["no_data", "empty:", "x:"]
    assert good == "1 field ok"


def test_catalogue_live_with_prometheus_down(installation: Installation) -> None:
    installation.configure({"good": LIVE["good"][0]})
    installation.variables["PROMETHEUS_URL"] = "http://127.0.0.1:9"

    ran = installation.here("catalogue", "--live")

    assert ran.code == 1
    assert ran.complaint == (
        "Prometheus at http://127.0.0.1:9 could not answer query of good.x: [Errno 111] Connection "
        "refused. Fix: check that it runs and is reachable; the next run tries again"
    )


def test_catalogue_live_of_the_service_alone(tmp_path: Path) -> None:
    with started(FED_VIT_AUTORL_ENV="testing") as server:
        installation = Installation(tmp_path, {"FED_VIT_API_URL": server.http})
        ran = installation.here("catalogue", "--live", "--json")

    assert (ran.code, ran.err) == (0, "")
    states = {(each["measurement"], each["field"]): each["state"] for each in ran.document["live"]}
    # of each kind of source: rest, the history, the metrics page
    for read in (
        ("clients", "total_clients"),
        ("fl_rounds", "loss"),
        ("fl_clients", "active_clients"),
    ):
        assert states[read] == "ok"
    # the service is asked by http, and has no GPU
    assert states["tls_certificate", "trusted"] == states["gpu", "utilization_ratio"] == "no_data"


def test_doctor_with_everything_there(
    installation: Installation, influxdb: InfluxServer, bucket: str, prefect_server: PrefectServer
) -> None:
    installation.variables |= {
        "INFLUXDB_URL": influxdb.url,
        "INFLUXDB_TOKEN": influxdb.token,
        "INFLUXDB_BUCKET": bucket,
        "PREFECT_API_URL": prefect_server.api_url,
    }

    ran = installation.here("doctor", "--json")

    assert (ran.code, ran.err) == (0, "")
    checks = ran.document["checks"]
    assert [each for each in checks if not each["ok"]] == []
    seen = {(each["service"], each["what"]) for each in checks}
    assert {
        ("catalogue", "catalogue and suites are sound"), ("ledger", "answers"),
        ("lake", "can be read and written"), ("Prometheus", "authorised"), ("Prometheus", "has data"),
        ("influxdb", "token"), ("influxdb", "bucket"), ("influxdb", "may write"),
        ("influxdb", "may read"), ("prefect", "reachable"), ("disk", "has space"),
        ("clock", "agrees with prometheus"), ("clock", "agrees with influxdb"),
    } <= seen  # fmt: skip
    assert influxdb.token not in ran.out


def test_doctor_with_a_wrong_token(
    installation: Installation, influxdb: InfluxServer, bucket: str
) -> None:
    installation.variables |= {
        "INFLUXDB_URL": influxdb.url,
        "INFLUXDB_TOKEN": "planted-wrong-token",
        "INFLUXDB_BUCKET": bucket,
    }

    ran = installation.here("doctor", "--json")

    assert ran.code == 1
    (bad,) = [each for each in ran.document["checks"] if not each["ok"]]
    assert (bad["service"], bad["what"]) == ("influxdb", "token")
    assert bad["fix"].startswith("Set INFLUXDB_TOKEN")
    assert "planted" not in ran.out
