"""Fixtures that every test may ask for: real servers, started when first needed."""

import gc
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from absl.logging import get_absl_handler
from hypothesis import settings

from tests.support.process import QUIET
from tests.support.servers import (
    AlertmanagerServer,
    InfluxServer,
    NodeExporter,
    PostgresServer,
    PrefectServer,
    PrometheusServer,
    VictoriaServer,
    find_chromium,
)

if TYPE_CHECKING:
    from tests.support.installation import Installation
    from tests.support.workbench import Bench

# Before anything imports prefect or Great Expectations, which read them at import.
os.environ.update(QUIET)
# How long an example takes says more of the machine than of the code.
settings.register_profile("fedvitals", deadline=None)
settings.load_profile("fedvitals")
# Whatever proxy the machine uses is not for servers on loopback.
for variable in ("no_proxy", "NO_PROXY"):
    os.environ.setdefault(variable, "127.0.0.1,localhost")

# When Prefect sets logging up, absl's handler closes what was stderr when absl was imported, unless it
# still is: that is pytest's, and a worker ends without a word.
get_absl_handler().python_handler.setStream(sys.__stderr__)

# A fake server tells each request on standard error, unless some logger above it has a handler just
# then; a command's own words are what tests look at there.
logging.getLogger("werkzeug").setLevel(logging.ERROR)

REAL = Path(__file__).parent / "real"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect without a look for garbage, of which thousands of tests leave next to none."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_unconfigure() -> None:
    """Undo what commands run in this process did at their end: duckdb would tell of leaks."""
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything under tests/real."""
    for item in items:
        if item.path.is_relative_to(REAL):
            item.add_marker("real")


@pytest.fixture(scope="session")
def influxdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    """The session's influxd; leave it running, or ask for `make_influxdb`."""
    with InfluxServer(tmp_path_factory.mktemp("influxd")) as server:
        yield server


@pytest.fixture
def make_influxdb(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], InfluxServer]]:
    """Starts an influxd of the test's own, to be stopped, killed and started at will."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(InfluxServer(tmp_path_factory.mktemp("influxd")))


@pytest.fixture
def make_bucket(influxdb: InfluxServer) -> Iterator[Callable[..., str]]:
    """Makes buckets in `influxdb`: `make_bucket(retention_seconds=0)` returns the name."""
    with ExitStack() as stack:

        def make(retention_seconds: int = 0) -> str:
            name = influxdb.make_bucket(retention_seconds)
            stack.callback(influxdb.delete_bucket, name)
            return name

        yield make


@pytest.fixture
def bucket(make_bucket: Callable[..., str]) -> str:
    """A fresh bucket in `influxdb` that keeps its points for ever."""
    return make_bucket()


@pytest.fixture
def make_prometheus(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., PrometheusServer]]:
    """Starts a Prometheus; takes what PrometheusServer takes after `home`."""
    with ExitStack() as stack:

        def make(history: str | Path | None = None, **options: Any) -> PrometheusServer:
            home = tmp_path_factory.mktemp("prometheus")
            return stack.enter_context(PrometheusServer(home, history, **options))

        yield make


@pytest.fixture(scope="session")
def victoria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaServer]:
    """The session's VictoriaMetrics, which keeps a sample as often as it is sent."""
    with VictoriaServer(tmp_path_factory.mktemp("victoria")) as server:
        yield server


@pytest.fixture(scope="session")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlertmanagerServer]:
    """An Alertmanager that tells nobody."""
    with AlertmanagerServer(tmp_path_factory.mktemp("alertmanager")) as server:
        yield server


@pytest.fixture
def make_alertmanager(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., AlertmanagerServer]]:
    """Starts an Alertmanager: `make_alertmanager(webhook=None, token=None)`."""
    with ExitStack() as stack:

        def make(webhook: str | None = None, token: str | None = None) -> AlertmanagerServer:
            home = tmp_path_factory.mktemp("alertmanager")
            return stack.enter_context(AlertmanagerServer(home, webhook, token))

        yield make


@pytest.fixture(scope="session")
def node_exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeExporter]:
    """A node exporter of this machine."""
    with NodeExporter(tmp_path_factory.mktemp("node_exporter")) as server:
        yield server


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server; run flows against it in child processes with its `client_env()`."""
    with PrefectServer(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path) -> "Iterator[Bench]":
    """Tools on the local disk for one measurement with the fields share_ratio and size_bytes."""
    # most tests need none of what it imports
    from tests.support.workbench import a_bench

    bench = a_bench(tmp_path)
    yield bench
    bench.ledger.close()


@pytest.fixture
def bare(tmp_path: Path) -> "Installation":
    """An installation without configuration, and without a Prefect server."""
    from tests.support.installation import Installation

    return Installation(tmp_path)


@pytest.fixture
def installed(tmp_path: Path, prefect_server: PrefectServer) -> "Installation":
    """An installation whose runs are recorded in the session's Prefect server."""
    from tests.support.installation import Installation

    return Installation(tmp_path, {"PREFECT_API_URL": prefect_server.api_url})


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A PostgreSQL; ask for `database` for a fresh database in it."""
    # pytest's own folders are closed to the user that root has to run it as.
    with (
        tempfile.TemporaryDirectory(prefix="fedvitals-postgresql-") as home,
        PostgresServer(Path(home)) as server,
    ):
        yield server


@pytest.fixture
def database(postgresql: PostgresServer) -> str:
    """The SQLAlchemy URL of a fresh, empty PostgreSQL database."""
    return postgresql.make_database()


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser's binary."""
    return find_chromium()
