"""Headless Chromium for tests of the pages: Debian's chromium and chromium-driver, by Selenium."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
DRIVER = shutil.which("chromedriver")


def missing() -> str | None:
    """What tests in a browser lack here; None if they can run."""
    if find_spec("selenium") is None:
        return "needs selenium"
    if CHROMIUM is None or DRIVER is None:
        return "needs chromium and chromium-driver"
    return None


@contextmanager
def browser(width: int = 1200, height: int = 1000, *, dark: bool = False) -> Iterator[Any]:
    """A browser that is ended with the block. It records its console and every request."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    assert CHROMIUM is not None
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "hide-scrollbars"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        # A window of the new headless mode is at least 500 pixels wide; the emulated screen is not.
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        yield driver
    finally:
        driver.quit()


def open_page(driver: Any, path: Path) -> None:
    """Open a page and wait until its charts are drawn."""
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get(path.resolve().as_uri())
    WebDriverWait(driver, 60).until(lambda here: here.execute_script(_IS_DRAWN))


_IS_DRAWN = """
const shown = [...document.querySelectorAll(".chart")].filter((chart) => chart.offsetParent !== null);
return shown.length > 0 && shown.every((chart) => chart.childElementCount > 0);
"""


def console_errors(driver: Any) -> list[str]:
    """Messages of the console since the last call, warnings included."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def requests(driver: Any) -> list[str]:
    """Every address that was asked for since the last call, data in the page not included."""
    found = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.append(message["params"]["request"]["url"])
    return [address for address in found if not address.startswith("data:")]


def screenshot(driver: Any, path: Path, *, whole: bool = False) -> None:
    """A PNG of the window, or of the whole page."""
    import base64

    options = {"format": "png", "captureBeyondViewport": whole}
    path.write_bytes(base64.b64decode(driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]))
