"""Draws the pictures of the page in docs/: a call under way, light, dark and on a small screen.

`make screenshots` runs it: it starts a stack of its own and needs Chromium with its driver.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from harness.embedded_stack import embedded_stack
from operate.state import ROOT
from tests.e2e.browsing import CHROMIUM, DRIVER, chromium
from tests.e2e.pages import Page

DOCS = ROOT / "docs"
PICTURES = {
    "page.png": {"width": 1360, "height": 830, "prefers_color_scheme": "light"},
    "page-dark.png": {"width": 1360, "height": 830, "prefers_color_scheme": "dark"},
    "page-small.png": {"width": 360, "height": 740, "prefers_color_scheme": "light"},
}


def play(page: Page) -> None:
    """Let the caller call, be billed, and add the listener to their favourites."""
    jane, sam = page.listener, page.caller
    page.is_live()
    sam.press(f"Call {jane.username}")
    jane.sees(".call .bill", "1.50")
    sam.press(f"Add {jane.username} to favourites")
    jane.sees(".notes li", sam.username)
    page.sees(".node.lit[data-name='broadcast']")


def main() -> None:
    """Write the pictures."""
    if CHROMIUM is None or DRIVER is None:
        sys.exit("No Chromium with its driver is installed: apt-get install chromium chromium-driver")
    with tempfile.TemporaryDirectory() as scratch, embedded_stack(Path(scratch) / "stack", {}) as (_, running):
        for name, look in PICTURES.items():
            with chromium(Path(scratch) / name) as browser:
                page = Page(browser, running.page_url, (789, "jane_smith"), (123, "sam_lee"))
                page.looks(**look, prefers_reduced_motion="reduce")  # type: ignore[arg-type]  # or it is half lit
                play(page)
                browser.save_screenshot(str(DOCS / name))
                page.caller.press("Hang up the call with jane_smith")
                page.caller.sees(".call.ended")
            sys.stdout.write(f"{DOCS / name}\n")


if __name__ == "__main__":
    main()
