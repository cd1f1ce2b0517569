"""The status page as a browser shows it: wide and narrow, light and dark."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, sync_playwright

from tasks.reports.health.page import write
from tests.real.test_report_in_browser import CONTRAST, QUIET
from tests.support.health_samples import status_page


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(chromium), args=QUIET)
        yield started
        started.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_is_readable_and_silent(
    browser: Browser, tmp_path: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    address = write(status_page(), tmp_path).as_uri()
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert min(page.evaluate(CONTRAST)) >= 4.5
    # each state of the bars has a colour of its own, and no table is cut
    colours = page.evaluate(
        "[...document.querySelectorAll('.days path')].map(one => getComputedStyle(one).stroke)"
    )
    assert len(set(colours)) == 4
    wide = "[...document.querySelectorAll('.uptime')].filter(one => one.scrollWidth > one.parentElement.clientWidth).length"
    assert page.evaluate(wide) == 0
    page.close()
    assert (said, asked) == ([], [address])
