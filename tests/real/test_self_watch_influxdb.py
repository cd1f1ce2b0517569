"""What a run says of itself is in InfluxDB for whoever draws a panel of it."""

from pathlib import Path

import pytest
from influxdb_client import Permission, PermissionResource

from tests.support.faulty import constant, faulty_prometheus
from tests.support.installation import Installation, entry
from tests.support.servers import InfluxServer, PrefectServer

pytestmark = pytest.mark.promise(
    "Accounts: every run writes its own figures to `fedvitals_pipeline`, outside of its sums; a failure there leaves the run good"
)

HOUR = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T01:00:00Z")


def installed(
    folder: Path, prefect: PrefectServer, influxdb: InfluxServer, bucket: str
) -> Installation:
    variables = {
        "PREFECT_API_URL": prefect.api_url,
        "INFLUXDB_URL": influxdb.url,
        "INFLUXDB_TOKEN": influxdb.token,
        "INFLUXDB_ORG": influxdb.org,
        "INFLUXDB_BUCKET": bucket,
    }
    return Installation(folder, variables).configure({"loads": entry("load")})


def write_only_token(influxdb: InfluxServer, bucket: str) -> str:
    """A token that may write to the bucket, and read nothing."""
    with influxdb.client() as client:
        found = client.buckets_api().find_bucket_by_name(bucket)
        resource = PermissionResource(org_id=found.org_id, type="buckets", id=found.id)
        made = client.authorizations_api().create_authorization(
            org_id=found.org_id, permissions=[Permission(action="write", resource=resource)]
        )
        token: str = made.token
        return token


@pytest.mark.promise(
    "Accounts: every run names its config and home, and warns of a new home or a bucket that another home wrote last"
)
def test_a_home_that_did_not_write_the_bucket_last_is_warned(
    tmp_path: Path, prefect_server: PrefectServer, influxdb: InfluxServer, bucket: str
) -> None:
    one, other, third = (
        installed(tmp_path / name, prefect_server, influxdb, bucket)
        for name in ("one", "other", "third")
    )
    third.variables["INFLUXDB_TOKEN"] = write_only_token(influxdb, bucket)
    with faulty_prometheus() as prometheus:
        prometheus.queries["load"] = [constant("0.5")]
        for each in (one, other, third):
            each.variables["PROMETHEUS_URL"] = prometheus.url
        ran = [each.here("collect", *HOUR, "--json") for each in (one, one, other, other, third)]

    first, again, moved, settled, unable = ran
    assert [each.code for each in ran] == [0] * 5
    # the failing twins: nobody wrote before, or this home did, or the token may not look
    assert [each.document["notes"] for each in (first, again, settled, unable)] == [[]] * 4
    (note,) = moved.document["notes"]
    ids = [each.here("ledger", "ls", "--json").document["id"] for each in (one, other, third)]
    assert len(set(ids)) == 3
    assert f"was last written for production by the ledger {ids[0]} " in note
    assert f"not by that of {other.home}, which is {ids[1]}" in note
    rows = influxdb.flux(f'''from(bucket: "{bucket}") |> range(start: 0)
      |> filter(fn: (r) => r._field == "ledger_id") |> sort(columns: ["_time"])''')
    assert [row["_value"] for row in rows] == [ids[0], ids[0], ids[1], ids[1], ids[2]]


def test_a_panel_can_be_drawn_of_the_runs(
    tmp_path: Path, prefect_server: PrefectServer, influxdb: InfluxServer, bucket: str
) -> None:
    installation = installed(tmp_path, prefect_server, influxdb, bucket)
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
