"""A table that got a tag: hours that are read again stand once, in the lake and in InfluxDB."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.faulty import constant, faulty_prometheus
from tests.support.installation import Installation, entry
from tests.support.servers import InfluxServer

HOURS = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T03:00:00Z")
FIRST = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T01:00:00Z")


def shares(*tags: str) -> dict[str, Any]:
    share = entry("share", "load", tags=tags)
    share["fields"]["share"]["unit"] = "ratio"
    return {"shares": share}


@pytest.mark.promise(
    "Migration: hours that are read again after a new tag replace what they held, also in the sinks"
)
def test_hours_that_are_read_again_stand_once(
    tmp_path: Path, influxdb: InfluxServer, bucket: str
) -> None:
    there = {"INFLUXDB_URL": influxdb.url, "INFLUXDB_TOKEN": influxdb.token}
    there |= {"INFLUXDB_ORG": influxdb.org, "INFLUXDB_BUCKET": bucket}
    here = Installation(tmp_path, there).configure(shares())
    with faulty_prometheus() as prometheus:
        here.variables["PROMETHEUS_URL"] = prometheus.url
        prometheus.queries |= {"share": [constant("1.5")], "load": [constant("3")]}
        assert here.here("collect", *HOURS).code == 1
        here.configure(shares("room"))
        for name in prometheus.queries:
            prometheus.queries[name] = [
                constant("1.5" if name == "share" else str(number), room=room)
                for number, room in enumerate("ab", 1)
            ]
        assert "lake migrate shares" in here.here("collect", *HOURS).out

        looked, migrated = (
            here.here("lake", "migrate", "shares", *options, "--json").document
            for options in (("--dry-run",), ())
        )
        untouched = influxdb.count_values(bucket, "shares")
        assert here.here("backfill", *FIRST, "--fail-on", "never").code == 0
        in_part = held(here)
        assert here.here("backfill", *HOURS, "--fail-on", "never").code == 0
        whole = held(here)
        again = here.here("backfill", *HOURS, "--json", "--fail-on", "never").document

    hours = {"production": "2026-03-01T00:00:00Z to 2026-03-01T03:00:00Z"}
    assert looked["untagged"] == migrated["untagged"] == hours
    assert untouched == 180
    # an hour of two rooms, two hours without
    assert in_part == [(None, 120, 360.0), ("a", 60, 60.0), ("b", 60, 120.0)]
    assert whole == [("a", 180, 180.0), ("b", 180, 360.0)]
    assert influxdb.count_values(bucket, "shares") == 360
    assert again["values"]["landed"] == 0
    quarantined = here.here("quarantine", "ls", "--json").document["quarantine"]
    assert [each["values"] for each in quarantined] == [360]


def held(here: Installation) -> list[tuple[Any, ...]]:
    sql = "SELECT room, count(load) AS n, sum(load) AS total FROM shares GROUP BY room ORDER BY room NULLS FIRST"
    rows = here.here("lake", "query", sql, "--json").document["rows"]
    return [tuple(row.values()) for row in rows]


@pytest.mark.promise(
    "Migration: hours that are read again after a new tag replace what they held, also in the sinks"
)
def test_what_the_source_no_longer_has_stays_as_it_is(tmp_path: Path) -> None:
    here = Installation(tmp_path).configure(shares())
    with faulty_prometheus() as prometheus:
        here.variables["PROMETHEUS_URL"] = prometheus.url
        prometheus.queries |= {"share": [constant("0.5")], "load": [constant("3")]}
        assert here.here("collect", *HOURS).code == 0
        here.configure(shares("room"))
        assert here.here("lake", "migrate", "shares").code == 0
        prometheus.queries |= {"share": [], "load": []}
        emptied = here.here("backfill", *FIRST, "--json")
        # a series without the label beside one with it: both are of the source
        prometheus.queries |= {
            name: [constant("0.5"), constant("1", room="a")] for name in ("share", "load")
        }
        assert here.here("backfill", *FIRST, "--replace").code == 0

    assert emptied.document["values"]["retained"] == 120
    assert held(here) == [(None, 180, 390.0), ("a", 60, 60.0)]
