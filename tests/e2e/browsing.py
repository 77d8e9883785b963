"""A real browser for end-to-end tests, where one is installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")

needs_browser = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="no Chromium with its driver is installed: apt-get install chromium chromium-driver",
)


@contextmanager
def chromium(profile: Path, *arguments: str) -> Iterator[webdriver.Chrome]:
    """A browser that keeps to this machine, with a fresh profile and further command-line arguments."""
    options = Options()
    options.binary_location = str(CHROMIUM)
    for name in (
        *("headless", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"),
        *("disable-component-update", "disable-sync", "window-size=1360,1000", f"user-data-dir={profile}"),
        *(["no-sandbox"] if os.geteuid() == 0 else []),
        *arguments,
    ):
        options.add_argument(f"--{name}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield browser
    finally:
        browser.quit()
