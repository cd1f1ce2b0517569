"""The status page as a browser shows it: wide and narrow, light and dark."""

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser

from tasks.reports.health.page import write
from tests.support.browser import opened_page
from tests.support.health_samples import status_page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_is_readable_and_silent(
    browser: Browser, tmp_path: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    address = write(status_page(), tmp_path).as_uri()
    with opened_page(browser, address, width, scheme) as page:
        # each state of the bars has a colour of its own, and no table is cut
        colours = page.evaluate(
            "[...document.querySelectorAll('.days path')].map(one => getComputedStyle(one).stroke)"
        )
        assert len(set(colours)) == 4
        wide = "[...document.querySelectorAll('.uptime')].filter(one => one.scrollWidth > one.parentElement.clientWidth).length"
        assert page.evaluate(wide) == 0
