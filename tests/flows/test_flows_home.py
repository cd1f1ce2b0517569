"""A run says which config and home it uses, and warns where they may be the wrong ones."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes.influxdb import FakeInfluxDB, fake_influxdb
from tests.support.faulty import FaultyPrometheus, constant, faulty_prometheus
from tests.support.installation import Installation, entry
from tests.support.servers import PrefectServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.promise(
        "Accounts: every run names its config and home, and warns of a new home or a bucket that another home wrote last"
    ),
]

HOUR = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T01:00:00Z")


@pytest.fixture
def influxdb() -> Iterator[FakeInfluxDB]:
    with fake_influxdb() as running:
        yield running


@pytest.fixture
def prometheus() -> Iterator[FaultyPrometheus]:
    with faulty_prometheus() as running:
        running.queries["load"] = [constant("0.5")]
        yield running


@pytest.fixture
def homes(
    tmp_path: Path,
    prefect_server: PrefectServer,
    prometheus: FaultyPrometheus,
    influxdb: FakeInfluxDB,
) -> tuple[Installation, Installation]:
    """Two folders, each with a home of its own, that write the same bucket."""
    variables = {
        "PREFECT_API_URL": prefect_server.api_url,
        "PROMETHEUS_URL": prometheus.url,
        "INFLUXDB_URL": influxdb.url,
        "INFLUXDB_TOKEN": influxdb.token,
    }
    one, other = (Installation(tmp_path / name, dict(variables)) for name in ("one", "other"))
    return one.configure({"loads": entry("load")}), other.configure({"loads": entry("load")})


def id_of(installation: Installation) -> str:
    known: str = installation.here("ledger", "ls", "--json").document["id"]
    return known


def test_the_first_run_of_a_home_warns_and_all_name_it(
    homes: tuple[Installation, Installation],
) -> None:
    one, _ = homes
    where = f"fedvitals: config {one.config}, home {one.home}\n"

    first = one.here("collect", *HOUR, "--json")
    second = one.here("collect", *HOUR, "--json")

    assert first.places.startswith(where)
    assert first.places.count("is a new home") == 1
    assert (second.places, second.err) == (where, "")
    for ran in (first, second):
        # one document on standard output
        assert ran.document["places"] == {"config": str(one.config), "home": str(one.home)}
        assert ran.document["notes"] == []


@pytest.mark.parametrize(
    "command",
    [
        ("federated",),
        ("backfill", *HOUR),
        ("replay", "--sink", "influxdb"),
        ("reconcile",),
        ("quarantine", "retry"),
        ("report", *HOUR),
        ("maintain",),
    ],
    ids=lambda words: words[0],
)
def test_every_run_names_config_and_home(
    homes: tuple[Installation, Installation], command: tuple[str, ...]
) -> None:
    one, _ = homes
    one.configure({"loads": entry("load"), "fl": entry("load", type="federated")})

    ran = one.here(*command)

    assert ran.code == 0
    lines = ran.places.splitlines()
    assert lines[0] == f"fedvitals: config {one.config}, home {one.home}"
    assert "is a new home" in lines[1]


def test_a_bucket_that_another_home_writes_is_a_warning(
    homes: tuple[Installation, Installation],
) -> None:
    one, other = homes
    assert one.here("collect", *HOUR, "--json").document["notes"] == []

    ran = other.here("collect", *HOUR, "--json")

    (note,) = ran.document["notes"]
    assert ran.code == 0
    assert f"was last written for production by the ledger {id_of(one)}" in note
    assert f"not by that of {other.home}, which is {id_of(other)}" in note
    twin = json.loads(Path(ran.document["report"]).with_suffix(".json").read_text("utf-8"))
    assert note in twin["receipt"]["notes"]
    # the failing twins: it is its own now, and the other environment is nobody else's
    assert other.here("collect", *HOUR, "--json").document["notes"] == []
    (back,) = one.here("collect", *HOUR, "--json").document["notes"]
    assert f"by the ledger {id_of(other)}" in back
    with one.changed("environments.yaml") as content:
        content["default_environment"] = "staging"
    assert one.here("collect", *HOUR, "--json").document["notes"] == []


def loading(ran: Any) -> list[str]:
    return [note for note in ran.document["notes"] if "was last written" in note]


@pytest.mark.parametrize(
    "command",
    [
        ("backfill", *HOUR),
        ("replay", "--sink", "influxdb"),
        ("reconcile", "--fix"),
        ("quarantine", "retry"),
    ],
    ids=lambda words: words[0],
)
def test_every_run_that_may_write_a_bucket_asks_who_did_before(
    homes: tuple[Installation, Installation], influxdb: FakeInfluxDB, command: tuple[str, ...]
) -> None:
    one, other = homes
    alone = one.here(*command, "--json")
    one.here("collect", *HOUR)

    ran = other.here(*command, "--json")

    assert loading(alone) == []
    assert len(loading(ran)) == 1
    asked = [
        request
        for request, _ in influxdb.server.log
        if "/query" in request.path and b"last()" in request.get_data()
    ]
    assert len(asked) == 3


@pytest.mark.promise(
    "Accounts: a service variable without effect is named by every run and by `doctor`"
)
def test_a_variable_that_has_no_effect(homes: tuple[Installation, Installation]) -> None:
    one, _ = homes
    with one.changed("environments.yaml") as content:
        entry_of_it = {"prometheus_url": one.variables["PROMETHEUS_URL"]}
        content["environments"] = {"production": entry_of_it}
    one.variables |= {"GRAFANA_API_KEY": "planted-key"}
    line = "INFLUXDB_URL is set and not used: environments.yaml has an entry for production"

    ran = one.here("collect", *HOUR)
    doctor = one.here("doctor")

    warned = [text.removeprefix("fedvitals: ").split()[0] for text in ran.err.splitlines()]
    assert warned == ["INFLUXDB_URL", "INFLUXDB_TOKEN", "GRAFANA_API_KEY"]
    assert line in ran.err
    assert f"WARN settings     {line.replace(' is set', ': is set')}" in doctor.out
    assert "→ Set influxdb_url there, or unset INFLUXDB_URL" in doctor.out
    assert "planted-key" not in ran.err + doctor.out
    # the failing twin
    with one.changed("environments.yaml") as content:
        content["environments"] = {}
    del one.variables["GRAFANA_API_KEY"]
    assert one.here("collect", *HOUR).err == ""
    assert "not used" not in one.here("doctor").out


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


@pytest.mark.promise("Security: FEDVITALS_HOME and all in it are made for their owner alone")
def test_all_below_home_is_private_and_the_configuration_is_not(
    homes: tuple[Installation, Installation],
) -> None:
    """Lake, ledger, locks, reports and backups, as Python, Rust and SQLite make them."""
    here, _ = homes
    before = os.umask(0o022)
    try:
        here.configure({"loads": entry("load")})
        assert here.here("collect", *HOUR).code == 0
        assert here.here("maintain").code == 0
        os.umask(0o022)
        assert here.here("suites", "check", "--fix").code == 0
    finally:
        os.umask(before)
    names = {path.name for path in here.home.iterdir()}
    assert names >= {"lake", "ledger.db", "locks", "reports", "backups"}
    assert modes(here.home) == {0o600, 0o700}
    assert modes(here.expectations) == {0o644}
