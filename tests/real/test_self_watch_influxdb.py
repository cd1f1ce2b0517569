"""What a run says of itself is in InfluxDB for whoever draws a panel of it."""

from pathlib import Path

from tests.flows.faulty import constant, faulty_prometheus
from tests.flows.installation import Installation, entry
from tests.real.servers import InfluxServer, PrefectServer

HOUR = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T01:00:00Z")


def test_a_panel_can_be_drawn_of_the_runs(
    tmp_path: Path, prefect_server: PrefectServer, influxdb: InfluxServer, bucket: str
) -> None:
    variables = {
        "PREFECT_API_URL": prefect_server.api_url,
        "INFLUXDB_URL": influxdb.url,
        "INFLUXDB_TOKEN": influxdb.token,
        "INFLUXDB_ORG": influxdb.org,
        "INFLUXDB_BUCKET": bucket,
    }
    installation = Installation(tmp_path, variables).configure({"loads": entry("load")})
    with faulty_prometheus() as prometheus:
        prometheus.queries["load"] = [constant("0.5")]
        installation.variables["PROMETHEUS_URL"] = prometheus.url
        first = installation.here("collect", *HOUR, "--json")
        second = installation.here("collect", *HOUR, "--json")

    flux = f"""from(bucket: "{bucket}") |> range(start: 0)
      |> filter(fn: (r) => r._measurement == "fedvitals_pipeline")
      |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
      |> sort(columns: ["_time"])"""
    with influxdb.client() as client:
        tables = client.query_api().query(flux)
    rows = [record.values for table in tables for record in table.records]
    assert (first.code, second.code) == (0, 0)
    assert [(row["flow"], row["environment"]) for row in rows] == [("collect", "production")] * 2
    assert [row["landed_values"] for row in rows] == [60.0, 0.0]
    assert [row["loaded_values"] for row in rows] == [60.0, 0.0]
    assert [row["unchanged_values"] for row in rows] == [0.0, 60.0]
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert all(row["duration_seconds"] > 0 for row in rows)
    assert all(row["lag_seconds"] > 3600 for row in rows)
