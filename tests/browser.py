"""Chromium without a window: how tests start it, look at a page on any screen, and have axe-core judge the page."""

import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-device-scale-factor=1",
    "--hide-scrollbars",
)
PATIENCE_S = 120.0
AXE = importlib.util.find_spec("axe_playwright_python")
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")

needs_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="neither Chromium nor its driver is installed"),
]
"""Marks of a module that opens pages."""
needs_axe = pytest.mark.skipif(
    AXE is None, reason="axe-playwright-python, which carries axe-core, is not installed"
)
on_every_screen = pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")]
)
"""A desk and a phone, in both themes."""


@contextmanager
def chromium(profile: Path, *, logs: Sequence[str] = ("browser",), window: str = "1280,900") -> Iterator[Any]:
    """A browser for the duration of a block.

    Args:
        profile: an empty folder.
        logs: those that `get_log` is to give: `browser` (the console) or `performance` (the network).
        window: width and height in pixels, for pages that `look` does not open.
    """
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={window}"):
        options.add_argument(flag)
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", dict.fromkeys(logs, "ALL"))
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def look(
    browser: Any,
    url: str,
    *,
    width: int = 1280,
    height: int = 900,
    scheme: str = "light",
    media: str = "screen",
) -> None:
    """Open a page on a screen of some size in pixels, light or dark, or as it would be printed."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.get(url)


def wait_until(holds: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until something holds, and fail by its name where it does not."""
    give_up_at = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > give_up_at:
            pytest.fail(f"waited {patience_s:g} s in vain until {what}")
        time.sleep(0.05)


def violations(browser: Any) -> list[Any]:
    """What axe-core finds on the page that is open and in its frames: rule, help, and the first elements of each."""
    assert AXE is not None
    assert AXE.origin is not None
    source = (Path(AXE.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    # A frame in a sandbox is of no origin, so axe must be told to listen to any.
    source += '\naxe.configure({allowedOrigins: ["<unsafe_all_origins>"]});'
    for frame in browser.find_elements("css selector", "iframe"):
        browser.switch_to.frame(frame)
        browser.execute_script(source)
        browser.switch_to.default_content()
    browser.execute_script(source)
    found: list[Any] = browser.execute_async_script(
        """const done = arguments[arguments.length - 1];
        axe.run(document, {resultTypes: ["violations"], runOnly: arguments[0]})
          .then((result) => done(result.violations.map((one) =>
            [one.id, one.help, one.nodes.length, one.nodes.slice(0, 3).map((node) =>
              [node.html.slice(0, 160), node.failureSummary.slice(0, 300)])])));""",
        list(RULES),
    )
    return found


def open_details(browser: Any) -> None:
    """Unfold whatever a page keeps folded."""
    browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")


def is_within(browser: Any, width: int) -> bool:
    """Whether a page needs no scrolling sideways."""
    return bool(browser.execute_script("return document.documentElement.scrollWidth") <= width)
