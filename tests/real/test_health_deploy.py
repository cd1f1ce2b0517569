"""A deploy announces itself: `maintenance start`, the service is away, `stop`, and what still fails."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tests.support.installation import Installation, entry

pytestmark = pytest.mark.slow


@pytest.fixture
def service() -> Iterator[HTTPServer]:
    with HTTPServer() as server:
        yield server


@pytest.fixture
def here(tmp_path: Path, service: HTTPServer) -> Installation:
    made = Installation(tmp_path).configure({"a": entry("a")})
    made.write_yaml("health.yaml", {"endpoints": {"/health": {}}, "training": None})
    made.variables["FED_VIT_API_URL"] = service.url_for("").rstrip("/")
    return made


def checked(here: Installation) -> tuple[int, str, str]:
    """Exit code, state, and the headline of the status page."""
    ran = here.here("health", "--json")
    page = (here.home / "reports/health/production/health-status.html").read_text("utf-8")
    (headline,) = re.findall("<h1>(.*)</h1>", page)
    return ran.code, ran.document["api_health"]["/health"]["state"], headline


def test_a_deploy_is_no_finding_and_a_failed_one_is(
    here: Installation, service: HTTPServer
) -> None:
    service.expect_request("/health").respond_with_data('{"status": "ok"}')
    assert checked(here) == (0, "up", "1 check, all up")

    here.here("maintenance", "start", "--for", "15m", "--reason", "deploy 4.2")
    service.clear()
    service.expect_request("/health").respond_with_data("restarting", status=503)
    assert checked(here) == (0, "maintenance", "1 check, all in maintenance")
    page = (here.home / "reports/health/production/health-status.html").read_text("utf-8")
    assert "all checks: deploy 4.2" in page

    here.here("maintenance", "stop")
    assert checked(here) == (1, "down", "1 check, all down")
    page = (here.home / "reports/health/production/health-status.html").read_text("utf-8")
    assert "HTTP 503 instead of 200" in page
    assert "deploy 4.2" not in page
