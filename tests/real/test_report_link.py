"""The report of a run as its reader finds it: from the run's page in Prefect's UI, in a browser."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Page, Route, expect
from pytest_httpserver import HTTPServer

from tests.support.browser import started_browser
from tests.support.fakes.training import ROUND, FakeTraining, a_round
from tests.support.faulty import constant, faulty_prometheus
from tests.support.installation import Installation, entry
from tests.support.servers import PrefectServer

pytestmark = pytest.mark.timeout(600)
SPAN = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T01:00:00Z")
Serve = Callable[[Path], str]
UI_MILLISECONDS = 120_000.0
"""A busy machine needs its time to draw Prefect's pages."""
expect.set_options(timeout=UI_MILLISECONDS)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A web server over a folder, below /fl/reports as behind a proxy; returns the base URL."""
    running: list[tuple[ThreadingHTTPServer, Thread]] = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(_Below, "/fl/reports", directory=str(folder))
        )
        thread = Thread(target=server.serve_forever)
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/fl/reports"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


class _Below(SimpleHTTPRequestHandler):
    def __init__(self, prefix: str, *arguments: Any, **options: Any) -> None:
        self.prefix = prefix
        super().__init__(*arguments, **options)

    def translate_path(self, path: str) -> str:
        """A path below the prefix is one in the folder; there is nothing else."""
        below = path.removeprefix(self.prefix)
        return super().translate_path("/nowhere" if below == path else below)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the test's output is no access log."""


@pytest.fixture
def collecting(tmp_path: Path, prefect_server: PrefectServer) -> Iterator[Installation]:
    """An installation in a folder whose name a URL cannot hold as it is."""
    with faulty_prometheus() as prometheus:
        prometheus.queries |= {"a": [constant()]}
        variables = {"PREFECT_API_URL": prefect_server.api_url, "PROMETHEUS_URL": prometheus.url}
        yield Installation(tmp_path / "a home", variables).configure({"a": entry("a")})


@pytest.fixture
def following(
    tmp_path: Path, prefect_server: PrefectServer, httpserver: HTTPServer
) -> Installation:
    start = datetime.now(UTC) - timedelta(hours=1)
    training = FakeTraining(httpserver, [a_round(n, start + n * ROUND) for n in (1, 2, 3)])
    return Installation(
        tmp_path, {"PREFECT_API_URL": prefect_server.api_url, "FED_VIT_API_URL": training.url}
    )


@contextmanager
def opened_page(chromium: Path) -> Iterator[Page]:
    """A page of a browser that reaches this machine alone. Runs in this process come before it, since
    playwright's loop would make Prefect's calls asynchronous."""
    with started_browser(chromium) as browser:
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        context.route("**/*", _only_loopback)
        context.set_default_timeout(UI_MILLISECONDS)
        yield context.new_page()


def _only_loopback(route: Route) -> None:
    if urlsplit(route.request.url).hostname in ("127.0.0.1", None):
        route.continue_()
    else:
        route.abort()


def published(server: PrefectServer, key: str) -> dict[str, Any]:
    """The newest artifact of that key."""
    asked = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC", "limit": 1}
    (found,) = requests.post(f"{server.api_url}/artifacts/filter", json=asked, timeout=10).json()
    return dict(found)


def open_artifact(page: Page, server: PrefectServer, artifact: dict[str, Any]) -> None:
    """From the page of the flow run, as its reader goes."""
    page.goto(f"{server.url}/runs/flow-run/{artifact['flow_run_id']}")
    page.get_by_text("Artifacts", exact=True).first.click()
    page.get_by_role("link").filter(has_text=artifact["key"]).first.click()
    page.wait_for_url("**/artifacts/artifact/*")


def test_the_page_of_a_run_in_prefect_leads_to_its_report(
    collecting: Installation, prefect_server: PrefectServer, chromium: Path, serve: Serve
) -> None:
    base = serve(collecting.home / "reports")
    collecting.variables["FEDVITALS_REPORT_URL"] = f"{base}/"

    ran = collecting.here("collect", *SPAN)

    artifact = published(prefect_server, "collect-production-report")
    with opened_page(chromium) as page:
        open_artifact(page, prefect_server, artifact)
        with page.expect_popup() as opened:
            page.get_by_role("link", name="The report").click()
        expect(opened.value.get_by_role("banner")).to_contain_text("collect in production")
        address = opened.value.url
    assert address.startswith(f"{base}/2")
    assert f"\nreport   {address} ({collecting.home}/reports/" in ran.out


@pytest.mark.parametrize("is_served", [False, True], ids=["no web server", "another folder"])
def test_a_report_that_no_web_server_shows_is_named_by_host_and_path(
    collecting: Installation, prefect_server: PrefectServer, chromium: Path, is_served: bool
) -> None:
    page_of_report = collecting.folder / "elsewhere" / "metrics-report.html"
    if is_served:
        collecting.variables["FEDVITALS_REPORT_URL"] = "http://127.0.0.1:9/reports"

    ran = collecting.here("collect", *SPAN, "--output", str(page_of_report.parent))

    artifact = published(prefect_server, "collect-production-report")
    place = f"{socket.gethostname()}:{page_of_report}"
    assert artifact["data"] == f"The report: `{place}`\n"
    assert f"\nreport   {page_of_report}\n" in ran.out
    with opened_page(chromium) as page:
        open_artifact(page, prefect_server, artifact)
        expect(page.get_by_text(place)).to_be_visible()
        assert page.locator("a[href^='file:']").count() == 0


def test_the_report_of_a_training_is_linked_too(
    following: Installation, prefect_server: PrefectServer, serve: Serve
) -> None:
    base = serve(following.home / "reports")
    following.variables["FEDVITALS_REPORT_URL"] = base

    ran = following.here("federated")

    data = published(prefect_server, "convergence-production-report")["data"]
    assert data.startswith(f"[Convergence report]({base}/")
    shown = requests.get(data.partition("(")[2].removesuffix(")"), timeout=10)
    assert (shown.status_code, "Too short" in shown.text) == (200, True)
    assert f"\nreport   {base}/" in ran.out
