"""A real server for the pages, and a real browser to look at them."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from study.service.launcher import Launcher
from study.service.settings import ServiceSettings
from tests.study.service.support import serving

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
PATIENCE_S = 30.0


@contextmanager
def served(home: Path, launcher: Launcher | None = None, **settings: Any) -> Iterator[str]:
    """The address of a service over a home, for the duration of a block."""
    settings = {"rate_per_s": 1000.0, "burst": 10_000, "poll_s": 0.3, "port": 0} | settings
    with serving(ServiceSettings(home=home, **settings), launcher) as running:
        yield running.url


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A browser without a window."""
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.binary_location = BROWSER
    options.page_load_strategy = "normal"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def look(browser: Any, url: str, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
    """Open a page on a screen of some size, light or dark."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen", "features": features})
    browser.get(url)


def wait_until(holds: Any, what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until something holds, and fail by its name where it does not."""
    give_up_at = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > give_up_at:
            pytest.fail(f"waited {patience_s:g} s in vain until {what}")
        time.sleep(0.05)
