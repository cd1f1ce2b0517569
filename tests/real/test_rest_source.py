"""The shipped REST and TLS measurements against the real demo service, faults and all."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from tasks.core.batch import Batch
from tasks.core.catalogue import Catalogue
from tasks.core.errors import CertificateInvalid, SourceRefused, SourceUnavailable
from tasks.core.measurement import Measurement
from tasks.core.services import Service
from tasks.core.settings import shipped
from tasks.core.window import Window
from tasks.http import Limits
from tasks.sources.rest import RestSource
from tasks.sources.scrape import ScrapeSource, fetch_page
from tasks.sources.tls import TlsSource
from tasks.validation.suites import read_suite
from tasks.validation.validate import validate
from tests.support.running_server import RunningServer, started

CATALOGUE = Catalogue.read(shipped("config") / "metrics.yaml")
REST = [entry for entry in CATALOGUE.values() if entry.source == "rest"]
CLIENTS = CATALOGUE["clients"]
COUNT = "/api/clients/count"
TOKEN = "s3cret"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """In the testing environment, with HTTPS, and its training done."""
    folder = str(tmp_path_factory.mktemp("tls"))
    with started("--https-port", "0", "--tls-dir", folder, FED_VIT_AUTORL_ENV="testing") as running:
        while _state(running) in ("idle", "running"):
            time.sleep(0.05)
        yield running


def _state(running: RunningServer) -> str:
    answer = requests.get(f"{running.http}/api/training/status", timeout=5)
    return str(answer.json()["state"])


@pytest.fixture
def faults(server: RunningServer) -> Iterator[str]:
    """Where faults are set; they are cleared afterwards."""
    url = f"{server.http}/testing/faults"
    yield url
    requests.delete(url, timeout=5).raise_for_status()


def window() -> Window:
    now = datetime.now(UTC)
    return Window(now - timedelta(hours=2), now + timedelta(hours=2))


def extract(
    url: str, entry: Measurement, token: str | None = None, limits: Limits | None = None
) -> Batch:
    secret = SecretStr(token) if token else None
    source = RestSource(Service(url=url, token=secret, origin="FED_VIT_API_URL"), limits)
    try:
        return source.extract(entry, "testing", window())
    finally:
        source.close()


def row(batch: Batch) -> dict[str, Any]:
    (found,) = batch.frame[list(batch.measurement.fields)].to_dict("records")
    return dict(found)


def add(faults: str, **fault: Any) -> None:
    requests.post(faults, json={"path": COUNT, **fault}, timeout=5).raise_for_status()


@pytest.mark.parametrize("entry", REST, ids=lambda entry: entry.name)
def test_each_measurement_is_offered_whole_and_passes(
    server: RunningServer, entry: Measurement
) -> None:
    batch = extract(server.http, entry)
    assert (batch.warnings, batch.dropped, batch.rejected_values) == ((), {}, 0)
    assert batch.values == len(entry.fields)
    validated = validate(batch, read_suite(shipped("expectations"), entry))
    assert validated.bad.empty
    # of a run of 4 rounds with 40 clients these are the facts
    expected = {"active_clients_within_limit", "accuracy_ratio_within_limit"}
    assert {check.check_id for check in validated.verdict.failed} <= expected


def test_values_are_those_of_the_bodies(server: RunningServer) -> None:
    body = requests.get(f"{server.http}{COUNT}", timeout=5).json()
    assert row(extract(server.http, CLIENTS)) == {
        "total_clients": 40.0,
        "connected_clients": float(body["connected"]),
        "active_clients": float(body["active"]),
    }
    run = row(extract(server.http, CATALOGUE["training_run"]))
    assert run == {"state": "finished", "run_id": server.run_id}
    progress = row(extract(server.http, CATALOGUE["training_progress"]))
    assert (progress["completed_rounds"], progress["planned_rounds"]) == (4.0, 4.0)


def test_security_is_on_its_metrics_page(server: RunningServer) -> None:
    page = fetch_page(Service(url=server.http, origin="FED_VIT_API_URL"))
    batch = ScrapeSource(page, None).extract(CATALOGUE["security_events"], "testing", window())
    assert 89.9 < row(batch)["certificate_days"] <= 90.0
    assert batch.warnings == (
        "unauthorized_requests_per_second: needs two scrapes",
        "encryption_failures_per_second: needs two scrapes",
    )


def test_a_missing_field_is_not_offered(server: RunningServer, faults: str) -> None:
    add(faults, kind="missing_field", field="connected", times=1)
    batch = extract(server.http, CLIENTS)
    assert batch.warnings == ("connected_clients: not offered by this service",)
    assert batch.values == 2
    assert extract(server.http, CLIENTS).values == 3


def test_half_a_document_comes_right_the_next_time(server: RunningServer, faults: str) -> None:
    add(faults, kind="malformed_json", times=1)
    with pytest.raises(SourceUnavailable, match="the answer is truncated"):
        extract(server.http, CLIENTS)
    assert extract(server.http, CLIENTS).values == 3


def test_an_error_comes_right_the_next_time(server: RunningServer, faults: str) -> None:
    add(faults, kind="error_500", times=1)
    with pytest.raises(SourceUnavailable, match="a fault was set"):
        extract(server.http, CLIENTS)
    assert extract(server.http, CLIENTS).values == 3


def test_slow_is_waited_for_up_to_the_limit(server: RunningServer, faults: str) -> None:
    add(faults, kind="slow", seconds=1.0, times=2)
    with pytest.raises(SourceUnavailable, match="timed out"):
        extract(server.http, CLIENTS, limits=Limits(silence=0.3))
    assert extract(server.http, CLIENTS).values == 3


def test_a_path_that_is_not_there(server: RunningServer) -> None:
    assert CLIENTS.rest is not None
    rest = CLIENTS.rest.model_copy(update={"endpoint": "/api/nothing"})
    batch = extract(server.http, CLIENTS.model_copy(update={"rest": rest}))
    assert (batch.values, batch.warnings) == (
        0,
        ("/api/nothing is not offered by this service",),
    )


def test_the_token_opens_the_door() -> None:
    with started(FED_VIT_API_TOKEN=TOKEN) as guarded:
        assert extract(guarded.http, CLIENTS, TOKEN).values == 3
        for token in (None, "wrong"):
            with pytest.raises(SourceRefused) as caught:
                extract(guarded.http, CLIENTS, token)
            assert caught.value.status == 401
        page = fetch_page(
            Service(url=guarded.http, token=SecretStr(TOKEN), origin="FED_VIT_API_URL")
        )
        assert page.samples["fed_vit_autorl_unauthorized_requests_total"][()] == 2.0


def test_its_certificate_is_trusted_once_its_ca_is(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert server.https is not None
    assert server.ca_file is not None
    entry = CATALOGUE["tls_certificate"]
    suite = read_suite(shipped("expectations"), entry)

    def verdict() -> tuple[list[str], bool]:
        source = TlsSource(Service(url=server.https or "", origin="FED_VIT_API_URL"))
        batch = source.extract(entry, "testing", window())
        assert batch.values == 5
        assert 89.9 < row(batch)["certificate_days"] <= 90.0
        validated = validate(batch, suite)
        return [check.check_id for check in validated.verdict.failed], row(batch)["trusted"]

    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    assert verdict() == (["trusted_holds"], False)
    with pytest.raises(CertificateInvalid, match="set REQUESTS_CA_BUNDLE"):
        extract(server.https, CLIENTS)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", server.ca_file)
    assert verdict() == ([], True)
    assert extract(server.https, CLIENTS).values == 3
