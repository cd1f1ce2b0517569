"""The report as a browser shows it: wide and narrow, light and dark, and on paper."""

from typing import Literal

import pytest
from playwright.sync_api import Browser

from tasks.reports.page import write
from tests.support.browser import opened_page
from tests.support.report_samples import morning


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(morning(), tmp_path_factory.mktemp("report")).html.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_fits_is_readable_and_silent(
    browser: Browser, address: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    with opened_page(browser, address, width, scheme) as page:
        sizes = page.evaluate(
            "[...document.querySelectorAll('svg.panel text')].map(one => one.getBoundingClientRect().height)"
        )
        assert min(sizes) > 9


def test_the_colours_follow_the_scheme(browser: Browser, address: str) -> None:
    strokes = set()
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page = browser.new_page(color_scheme=scheme)
        page.goto(address)
        line = page.locator("#requests svg.panel path[style*='--s0']").first
        strokes.add(line.evaluate("one => getComputedStyle(one).stroke"))
        page.close()
    assert strokes == {"rgb(0, 114, 178)", "rgb(88, 176, 232)"}


def test_on_paper_it_is_light_and_nothing_is_folded_away(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 720, "height": 900}, color_scheme="dark")
    page.goto(address)
    folded = page.locator("#requests details.passing p", has_text="keys.unique")
    assert not folded.is_visible()
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert folded.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    page.close()
