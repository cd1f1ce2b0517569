"""The report as a browser shows it: wide and narrow, light and dark, and on paper."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, sync_playwright

from tasks.reports.page import write
from tests.support.report_samples import morning

QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-quic",
]  # fmt: skip
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const light = colour => {
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const part = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(
      value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const style = getComputedStyle(document.documentElement);
  const card = light(style.getPropertyValue("--card"));
  return ["ink", "muted", "accent", "good", "warn", "high", "bad", "idle", "limit"].map(name => {
    const other = light(style.getPropertyValue("--" + name));
    return (Math.max(card, other) + 0.05) / (Math.min(card, other) + 0.05);
  });
}"""


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(chromium), args=QUIET)
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(morning(), tmp_path_factory.mktemp("report")).html.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_fits_is_readable_and_silent(
    browser: Browser, address: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert min(page.evaluate(CONTRAST)) >= 4.5
    sizes = page.evaluate(
        "[...document.querySelectorAll('svg.panel text')].map(one => one.getBoundingClientRect().height)"
    )
    assert min(sizes) > 9
    page.close()
    assert said == []
    assert asked == [address]


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
