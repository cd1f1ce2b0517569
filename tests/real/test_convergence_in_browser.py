"""The convergence report as a browser shows it: wide and narrow, light and dark."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, sync_playwright

from tasks.reports.convergence.page import write
from tests.real.test_report_in_browser import CONTRAST, QUIET
from tests.support.convergence_samples import several, single


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(chromium), args=QUIET)
        yield started
        started.close()


@pytest.fixture(scope="module", params=["single", "several"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    report = single() if request.param == "single" else several()
    return write(report, tmp_path_factory.mktemp("convergence")).html.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_fits_is_readable_and_silent(
    browser: Browser, address: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert min(page.evaluate(CONTRAST)) >= 4.5
    heights = page.evaluate(
        "[...document.querySelectorAll('svg.broad text, svg.heat text')].map(one => one.getBoundingClientRect().height)"
    )
    assert min(heights) > 9
    page.close()
    assert (said, asked) == ([], [address])
