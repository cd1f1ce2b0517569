"""`fedvitals backfill` from a real Prometheus that allows little at once into a real InfluxDB."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.core.catalogue import Catalogue
from tasks.core.settings import shipped
from tasks.core.window import Window, iso
from tests.support.installation import Installation
from tests.support.servers import InfluxServer, PrefectServer, PrometheusServer
from tests.support.service_history import FIRST, answered, requests_to, service_history, stored

HOUR = timedelta(hours=1)
WINDOW = Window(FIRST + HOUR, FIRST + 4 * HOUR)
SPAN = ("--start", iso(WINDOW.start), "--stop", iso(WINDOW.stop))
NAMES = ("http_requests", "http_latency")
CATALOGUE = Catalogue.read(shipped("config") / "metrics.yaml")
WRITE, RANGE = "/api/v2/write", "/api/v1/query_range"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    home = tmp_path_factory.mktemp("prometheus")
    with PrometheusServer(home, service_history()) as server:
        yield server


def test_every_value_is_there_once_though_queries_are_refused(
    tmp_path: Path,
    prefect_server: PrefectServer,
    prometheus: PrometheusServer,
    influxdb: InfluxServer,
    bucket: str,
) -> None:
    entries = [CATALOGUE[name] for name in NAMES]
    expected = answered(prometheus, entries, WINDOW)
    prometheus.stop()
    prometheus.command.append("--query.max-samples=600")
    prometheus.start()
    here = Installation(
        tmp_path,
        {
            "PREFECT_API_URL": prefect_server.api_url,
            "PROMETHEUS_URL": prometheus.url,
            "INFLUXDB_URL": influxdb.url,
            "INFLUXDB_TOKEN": influxdb.token,
            "INFLUXDB_ORG": influxdb.org,
            "INFLUXDB_BUCKET": bucket,
        },
    )
    chosen = [word for name in NAMES for word in ("--measurement", name)]

    ran = here.run("backfill", *SPAN, *chosen, "--chunk", "2h", "--json")

    assert (ran.code, ran.err) == (0, "")
    assert stored(influxdb, bucket) == expected
    assert ran.document["values"]["landed"] == len(expected)
    # more than the two chunks of each field and its count
    fields = sum(len(entry.fields) for entry in entries)
    assert requests_to(prometheus, RANGE) > 3 * fields
    posts, asked = requests_to(influxdb, WRITE), requests_to(prometheus, RANGE)
    again = here.run("backfill", *SPAN, *chosen, "--json")
    assert again.document["values"]["extracted"] == 0
    # the one post is of the run's own figures
    assert requests_to(influxdb, WRITE) == posts + 1
    # the counts alone
    assert requests_to(prometheus, RANGE) - asked == fields
