import socket
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from tasks.core.checks import ServiceCheck
from tasks.sinks.influxdb_checks import check, create_bucket
from tests.support.fakes.influxdb import fake_influxdb
from tests.support.sink_samples import service_of

GOOD = ("reachable", "token", "organisation", "bucket", "may write", "may read")


def test_all_is_well_and_nothing_is_stored() -> None:
    with fake_influxdb() as fake:
        found = check(service_of(fake))
    assert found == (
        ServiceCheck("influxdb", "reachable", True, "version v2.9.1"),
        ServiceCheck("influxdb", "token", True, "is known"),
        ServiceCheck("influxdb", "organisation", True, "fedvitals"),
        ServiceCheck("influxdb", "bucket", True, "fedvitals"),
        ServiceCheck("influxdb", "may write", True, "fedvitals"),
        ServiceCheck("influxdb", "may read", True, "fedvitals"),
    )
    assert fake.points == {}


def test_says_how_long_the_bucket_keeps() -> None:
    with fake_influxdb(retention=timedelta(days=30)) as fake:
        found = check(service_of(fake))
    assert found[3].detail == "fedvitals, keeps 30 days, 0:00:00"


@pytest.mark.parametrize(
    ("knobs", "changes", "failed", "detail", "fix"),
    [
        ({}, {"token": SecretStr("wrong")}, "token", "unauthorized access", "INFLUXDB_TOKEN"),
        ({}, {"token": None}, "token", "none is set", "INFLUXDB_TOKEN"),
        ({"org": "other"}, {}, "organisation", 'name "fedvitals" not found', "INFLUXDB_ORG"),
        ({"bucket": None}, {}, "bucket", 'bucket "fedvitals" not found', "doctor --create"),
        ({"may_write": False}, {}, "may write", "insufficient permissions", "INFLUXDB_TOKEN"),
        ({"may_read": False}, {}, "may read", "could not find bucket", "Grafana"),
    ],
)
def test_names_what_is_wrong_and_how_to_fix_it(
    knobs: dict[str, Any], changes: dict[str, Any], failed: str, detail: str, fix: str
) -> None:
    with fake_influxdb(**knobs) as fake:
        found = check(service_of(fake, **changes))
    (bad,) = (one for one in found if not one.ok)
    assert bad.what == failed
    assert detail in bad.detail
    assert fix in bad.fix
    expected = GOOD if failed == "may write" else GOOD[: GOOD.index(failed) + 1]
    assert tuple(one.what for one in found) == expected


def test_a_server_that_is_down_is_not_reachable() -> None:
    with socket.socket() as closed, fake_influxdb() as fake:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        service = service_of(fake, url=url)
        (bad,) = check(service)
        assert (bad.what, bad.ok) == ("reachable", False)
        assert "Connection refused" in bad.detail
        assert bad.fix == "Start InfluxDB, or correct its URL (INFLUXDB_URL)"
        assert create_bucket(service) == bad


def test_another_server_is_not_taken_for_an_influxdb() -> None:
    with fake_influxdb() as fake:
        found = check(service_of(fake, url=f"{fake.url}/elsewhere"))
        fake.server.clear_assertions()
    assert [(one.what, one.ok) for one in found] == [("reachable", False)]
    assert "INFLUXDB_URL" in found[0].fix


def test_makes_the_bucket_once() -> None:
    with fake_influxdb(bucket=None) as fake:
        service = service_of(fake)
        first, second = create_bucket(service), create_bucket(service)
        assert all(one.ok for one in check(service))
    assert (first.ok, first.detail) == (
        True,
        "fedvitals was created, and keeps its points for ever",
    )
    assert (second.ok, second.detail) == (True, "fedvitals was there already")


@pytest.mark.parametrize(
    ("knobs", "changes", "detail", "fix"),
    [
        ({"org": "other"}, {}, 'name "fedvitals" not found', "INFLUXDB_ORG"),
        ({}, {"token": SecretStr("wrong")}, "unauthorized access", "token that may make buckets"),
    ],
)
def test_says_why_no_bucket_was_made(
    knobs: dict[str, Any], changes: dict[str, Any], detail: str, fix: str
) -> None:
    with fake_influxdb(bucket=None, **knobs) as fake:
        made = create_bucket(service_of(fake, **changes))
        assert fake.bucket is None
    assert not made.ok
    assert detail in made.detail
    assert fix in made.fix
