"""Every client of fedvitals, each called as a run calls it: for answers that attack it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import influxdb_client  # noqa: F401, so that each child does not import it
from pydantic import SecretStr

from tasks.channels.grafana import GrafanaChannel
from tasks.channels.heartbeat import Heartbeat
from tasks.core.catalogue import Catalogue
from tasks.core.errors import FedvitalsError
from tasks.core.message import Message
from tasks.core.services import InfluxService, InfluxTuning, Service
from tasks.core.settings import shipped
from tasks.core.training import TrainingRun
from tasks.core.window import Window
from tasks.runs.convergence import history_of_folder
from tasks.sinks import influxdb_checks
from tasks.sinks.influxdb_http import InfluxHttp
from tasks.sinks.influxdb_read import InfluxReader
from tasks.sources import discovery, inventory
from tasks.sources.federated import FederatedSource
from tasks.sources.files import read_file
from tasks.sources.prometheus import PrometheusSource
from tasks.sources.rest import RestSource
from tasks.sources.scrape import fetch_page

CATALOGUE = Catalogue.read(shipped("config") / "metrics.yaml")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALWAYS = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
LAST_MINUTES = Window(NOW - timedelta(minutes=2), NOW)
MESSAGE = Message("r", NOW, "it ran")


def service(url: str) -> Service:
    return Service(url=url, origin="X")


def influxdb(url: str) -> InfluxService:
    token = SecretStr("t0ken")
    return InfluxService(url=url, origin="X", token=token, org="o", bucket="b")


def metrics_page(url: str) -> None:
    fetch_page(service(url))


def query_range(url: str) -> None:
    entry = next(one for one in CATALOGUE.values() if one.source == "prometheus")
    PrometheusSource(service(url)).extract(entry, "production", LAST_MINUTES)


def rest(url: str) -> None:
    entry = next(one for one in CATALOGUE.values() if one.source == "rest")
    RestSource(service(url)).extract(entry, "production", ALWAYS)


def history(url: str) -> None:
    source = FederatedSource(service(url), lambda *_: None)
    source.extract(CATALOGUE["fl_rounds"], "production", ALWAYS)


def doctor_prometheus(url: str) -> None:
    _raise_failed(discovery.check(service(url)))


def doctor_influxdb(url: str) -> None:
    _raise_failed(influxdb_checks.check(influxdb(url)))


def probe(url: str) -> None:
    entry = next(one for one in CATALOGUE.values() if one.source == "prometheus")
    discovery.probe(service(url), entry, NOW)


def list_metrics(url: str) -> None:
    inventory.look(service(url), NOW)


def write(url: str) -> None:
    InfluxHttp(influxdb(url), timedelta(seconds=5)).write(b"m f=1\n", "s")


def read_back(url: str) -> None:
    InfluxReader(influxdb(url), InfluxTuning(), 0.0).counts(
        CATALOGUE["fl_rounds"], "production", LAST_MINUTES, timedelta(hours=1)
    )


def grafana(url: str) -> None:
    GrafanaChannel(service(url), timedelta()).send(MESSAGE)


def heartbeat(url: str) -> None:
    Heartbeat(SecretStr(url)).send(MESSAGE)


def read_run(file: str) -> None:
    read_file(Path(file))


def read_history(folder: Path) -> tuple[list[TrainingRun], list[str]]:
    return history_of_folder(folder, [])


def _raise_failed(checks: tuple[object, ...]) -> None:
    for check in checks:
        if not check.ok:  # type: ignore[attr-defined]
            raise FedvitalsError(problem=check.detail)  # type: ignore[attr-defined]
