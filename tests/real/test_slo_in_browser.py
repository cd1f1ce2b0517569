"""The page of SLOs as a browser shows it: wide and narrow, light and dark."""

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser

from tasks.reports.slo.page import write
from tests.support.browser import opened_page
from tests.support.slo_samples import AT, report, views


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_is_readable_and_silent(
    browser: Browser, tmp_path: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    address = write("production", AT, views(), report(), tmp_path).as_uri()
    with opened_page(browser, address, width, scheme) as page:
        wide = "[...document.querySelectorAll('.numbers')].filter(one => one.scrollWidth > one.parentElement.clientWidth).length"
        assert page.evaluate(wide) == 0
        drawn = "[...document.querySelectorAll('.budget path')].filter(one => getComputedStyle(one).stroke === 'none' && getComputedStyle(one).fill === 'none').length"
        assert page.evaluate(drawn) == 0
