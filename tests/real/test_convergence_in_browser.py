"""The convergence report as a browser shows it: wide and narrow, light and dark."""

from typing import Literal

import pytest
from playwright.sync_api import Browser

from tasks.reports.convergence.page import write
from tests.support.browser import opened_page
from tests.support.convergence_samples import several, single


@pytest.fixture(scope="module", params=["single", "several"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    report = single() if request.param == "single" else several()
    return write(report, tmp_path_factory.mktemp("convergence")).html.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_fits_is_readable_and_silent(
    browser: Browser, address: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    with opened_page(browser, address, width, scheme) as page:
        heights = page.evaluate(
            "[...document.querySelectorAll('svg.broad text, svg.heat text')].map(one => one.getBoundingClientRect().height)"
        )
        assert min(heights) > 9
