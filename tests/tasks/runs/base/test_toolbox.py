"""Pages of metrics that sources keep for the rates of the next run."""

from contextlib import suppress
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tasks.core.settings import Settings, load_settings
from tasks.runs.base.plan import Request, make_plan
from tasks.runs.base.run import Run
from tasks.runs.base.toolbox import opened_toolbox
from tests.support.installation import Installation, entry


@pytest.fixture
def settings(tmp_path: Path, httpserver: HTTPServer) -> Settings:
    installation = Installation(tmp_path).configure(
        {
            "logins": {
                **entry("x"),
                "fields": {
                    "logins": {"unit": "1", "scrape": {"metric": "logins_total", "as": "rate"}}
                },
            }
        }
    )
    installation.variables["FED_VIT_API_URL"] = httpserver.url_for("").rstrip("/")
    return load_settings(installation.environment)


def read(settings: Settings, flow: str, is_failing: bool = False) -> bytes | None:
    """Open the sources once for the flow; return the page that its next run measures from."""
    with Run(flow, settings) as run:
        plan = make_plan(run, Request())
        with suppress(KeyboardInterrupt), opened_toolbox(run, plan):
            if is_failing:
                raise KeyboardInterrupt
        pages = run.ledger.last_page(f"production {flow}", plan.environment.services["api"].url)
    return None if pages is None else pages[1]


def test_each_flow_measures_rates_from_its_own_last_page(
    settings: Settings, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/metrics").respond_with_data("logins_total 1\n")
    assert read(settings, "collect") == b"logins_total 1\n"
    httpserver.clear()
    httpserver.expect_request("/metrics").respond_with_data("logins_total 2\n")
    assert read(settings, "federated") == b"logins_total 2\n"
    assert read(settings, "collect", is_failing=True) == b"logins_total 1\n"
    assert read(settings, "collect") == b"logins_total 2\n"
