"""Chromium with an empty profile, in a window of any size, and the requests it makes: to test pages, and show them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
DRIVER = shutil.which("chromedriver") or ""
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
)


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A driver of the browser, whose profile is an empty folder; all its requests and complaints are logged."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (*QUIET, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.get("about:blank")  # the browser's own first page makes requests for a while
        yield driver
    finally:
        driver.quit()


def opened(browser: Any, url: str, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
    """Show a page in a window of ``width`` pixels, with ``scheme`` preferred; forget what was logged before."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": [feature]})
    window = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(url)


def asked_for(browser: Any) -> list[str]:
    """The addresses that a page requested since it was opened, or since the last call; not the browser's own."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in asked if not url.startswith(("chrome:", "chrome-untrusted:"))]
