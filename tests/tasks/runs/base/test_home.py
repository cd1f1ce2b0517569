"""The home of a run: its id, whether it is new, and who wrote its bucket last."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.core.receipt import write_receipt
from tasks.core.self_metrics import SELF_METRICS
from tasks.core.settings import Settings, load_settings
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.ledger.opening import opened_ledger
from tasks.runs.base import home
from tasks.runs.base.home import ledger_id, new_home, other_writer, places_line
from tests.support.fakes.influxdb import FakeInfluxDB, Fault, fake_influxdb
from tests.support.installation import Installation, entry
from tests.support.lake_samples import put
from tests.support.ledger_behaviours import state

pytestmark = pytest.mark.promise(
    "Accounts: every run names its config and home, and warns of a new home or a bucket that another home wrote last"
)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path).configure({"loads": entry("load")})


@pytest.fixture
def settings(installation: Installation) -> Settings:
    return load_settings(installation.environment)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    with opened_ledger(settings) as opened:
        yield opened


@pytest.fixture
def influxdb() -> Iterator[FakeInfluxDB]:
    with fake_influxdb() as running:
        yield running


@pytest.fixture
def loading(installation: Installation, influxdb: FakeInfluxDB) -> Settings:
    installation.variables |= {"INFLUXDB_URL": influxdb.url, "INFLUXDB_TOKEN": influxdb.token}
    return load_settings(installation.environment)


def write(
    influxdb: FakeInfluxDB,
    ledger_id: str,
    age: timedelta = timedelta(hours=1),
    environment: str = "production",
    flow: str = "collect",
) -> None:
    """The row of a run so long ago."""
    nanoseconds = int((datetime.now(UTC) - age).timestamp()) * 1_000_000_000
    tags = (("environment", environment), ("flow", flow))
    influxdb.points[SELF_METRICS, tags, nanoseconds] = {"ledger_id": ledger_id, "exit_code": 0.0}


def asked(settings: Settings, ledger: Ledger) -> tuple[str, ...]:
    lake = Lake(settings.lake_url)
    return other_writer(settings, settings.environment(None), lake, ledger)


def test_a_home_is_new_until_a_run_is_kept(settings: Settings, ledger: Ledger) -> None:
    (warning,) = new_home(settings, ledger)
    assert warning.startswith(f"{settings.home} is a new home ")
    assert "FEDVITALS_HOME" in warning

    ledger.keep_receipt(write_receipt("maintain", "run-1", "production", None, [], {}))

    assert new_home(settings, ledger) == ()


def test_a_home_whose_ledger_was_lost_is_not_new(settings: Settings, ledger: Ledger) -> None:
    put(Lake(settings.lake_url), [0.5], 0)
    assert new_home(settings, ledger) == ()


def test_a_lake_that_does_not_answer_makes_no_home_new(settings: Settings, ledger: Ledger) -> None:
    away = replace(settings, lake_url="s3://bucket/lake")
    assert new_home(away, ledger) == ()


def test_the_line_names_config_and_home(settings: Settings, tmp_path: Path) -> None:
    assert places_line(settings) == f"config {tmp_path}/config, home {tmp_path}/home"
    shipped = load_settings({"FEDVITALS_HOME": str(settings.home)})
    assert places_line(shipped).endswith(f"/config (shipped), home {tmp_path}/home")


def test_lake_and_ledger_keep_one_id(settings: Settings, ledger: Ledger) -> None:
    lake = Lake(settings.lake_url)
    assert lake.ledger_id() is None

    known = ledger_id(lake, ledger)

    assert len(known) == 16
    assert (ledger.own_id(), Lake(settings.lake_url).ledger_id()) == (known, known)
    assert ledger_id(Lake(settings.lake_url), ledger) == known


def test_another_home_has_another_id(settings: Settings, ledger: Ledger, tmp_path: Path) -> None:
    with closing(Ledger(f"sqlite:///{tmp_path / 'other.db'}")) as other:
        there = ledger_id(Lake(str(tmp_path / "other")), other)
    assert ledger_id(Lake(settings.lake_url), ledger) != there


def test_a_ledger_that_was_lost_gets_its_id_back(settings: Settings) -> None:
    with opened_ledger(settings) as ledger:
        known = ledger_id(Lake(settings.lake_url), ledger)
    for path in settings.home.glob("ledger.db*"):
        path.unlink()
    with opened_ledger(settings) as rebuilt:
        # some command asked before any run did
        assert rebuilt.own_id() != known
        assert ledger_id(Lake(settings.lake_url), rebuilt) == known
        assert rebuilt.own_id() == known


def test_a_lake_that_keeps_no_id_gets_the_ledgers(settings: Settings, ledger: Ledger) -> None:
    put(Lake(settings.lake_url), [0.5], 0)
    known = ledger.own_id()

    assert ledger_id(Lake(settings.lake_url), ledger) == known
    # what is written after it keeps it
    put(Lake(settings.lake_url), [0.6], 0)
    assert Lake(settings.lake_url).ledger_id() == known


def test_a_bucket_that_nobody_or_this_home_wrote(
    loading: Settings, ledger: Ledger, influxdb: FakeInfluxDB
) -> None:
    assert asked(loading, ledger) == ()
    write(influxdb, ledger_id(Lake(loading.lake_url), ledger))
    assert asked(loading, ledger) == ()


def test_a_bucket_that_another_home_wrote_last(
    loading: Settings, ledger: Ledger, influxdb: FakeInfluxDB
) -> None:
    mine = ledger_id(Lake(loading.lake_url), ledger)
    write(influxdb, mine, timedelta(hours=2))
    write(influxdb, "another", timedelta(hours=1), flow="replay")
    before = len(influxdb.server.log)

    (warning,) = asked(loading, ledger)

    assert len(influxdb.server.log) == before + 1
    for fact in (influxdb.url, "bucket fedvitals", "production", "another", mine):
        assert fact in warning
    assert f"{loading.home}" in warning
    # the failing twin: this home wrote later
    write(influxdb, mine, timedelta(minutes=1))
    assert asked(loading, ledger) == ()


def test_other_environments_and_long_ago_do_not_count(
    loading: Settings, ledger: Ledger, influxdb: FakeInfluxDB
) -> None:
    write(influxdb, "another", environment="staging")
    write(influxdb, "another", timedelta(days=31))
    assert asked(loading, ledger) == ()
    write(influxdb, "another", timedelta(days=29))
    assert len(asked(loading, ledger)) == 1


@pytest.mark.parametrize(
    "variables", [{"INFLUXDB_TOKEN": "wrong"}, {"INFLUXDB_URL": "http://127.0.0.1:9"}]
)
def test_who_cannot_be_asked_is_no_failure(
    installation: Installation,
    loading: Settings,
    ledger: Ledger,
    influxdb: FakeInfluxDB,
    variables: dict[str, str],
) -> None:
    write(influxdb, "another")
    assert len(asked(loading, ledger)) == 1
    installation.variables |= variables
    assert asked(load_settings(installation.environment), ledger) == ()


def test_a_server_that_is_silent_is_not_waited_for(
    loading: Settings, ledger: Ledger, influxdb: FakeInfluxDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "ASK_TIMEOUT", timedelta(seconds=0.2))
    write(influxdb, "another")
    influxdb.query_faults.append(Fault("hang"))
    began = time.monotonic()

    assert asked(loading, ledger) == ()

    # the fake would answer after 30 s
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("variable", ["INFLUXDB_TOKEN", "INFLUXDB_URL"])
def test_an_influxdb_that_is_off_is_not_asked(
    installation: Installation,
    loading: Settings,
    ledger: Ledger,
    influxdb: FakeInfluxDB,
    variable: str,
) -> None:
    write(influxdb, "another")
    del installation.variables[variable]
    assert asked(load_settings(installation.environment), ledger) == ()
    assert influxdb.server.log == []


def test_a_ledger_has_runs_only_by_their_receipts(ledger: Ledger) -> None:
    ledger.record([state()])
    assert not ledger.has_runs()
