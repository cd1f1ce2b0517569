"""Pages as a browser shows them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

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


@contextmanager
def started_browser(chromium: Path) -> Iterator[Browser]:
    """A browser that asks nothing of its maker's servers."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(chromium), args=QUIET)
        yield started
        started.close()


@contextmanager
def opened_page(
    browser: Browser, address: str, width: int, scheme: Literal["light", "dark"]
) -> Iterator[Page]:
    """One of our pages, all unfolded: it fits, can be read, says no error and asks for nothing."""
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
    yield page
    page.close()
    assert (said, asked) == ([], [address])
