"""The page of the embedded stack in a real browser, as a person uses it: two phones, and the backend's buttons."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from harness.stack import WITHIN

AXE = Path(__file__).parent / "clients" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE = 2 * WITHIN  # the browser takes its own share of a busy machine


def until(browser: webdriver.Chrome, holds: Callable[[], object], what: str) -> None:
    """Wait until a condition holds in a browser."""
    # Each message rebuilds a list: an element may be gone between finding and reading it.
    wait = WebDriverWait(browser, PATIENCE, 0.05, [NoSuchElementException, StaleElementReferenceException])
    wait.until(lambda _: holds(), f"the browser never showed {what}")


class Phone:
    """One of the two phones of a page."""

    def __init__(self, page: Page, side: str, user: int, username: str) -> None:
        self._page, self.side, self.user, self.username = page, side, user, username

    def sees(self, selector: str, text: str = "") -> None:
        """Wait until an element of a selector shows a text."""
        self._page.sees(f"#{self.side} {selector}", text)

    def lacks(self, selector: str, text: str = "") -> None:
        """Wait until no element of a selector shows a text."""
        self._page.lacks(f"#{self.side} {selector}", text)

    def press(self, label: str) -> None:
        """Press a button by its accessible name or its text, when it is enabled."""
        self._page.press(label, f"#{self.side} ")

    def is_live(self) -> None:
        """Wait until it is connected."""
        self.sees(".line", "Live")


class Page:
    """The page in a browser's tab, with users of its own."""

    def __init__(self, browser: webdriver.Chrome, url: str, listener: tuple[int, str], caller: tuple[int, str]) -> None:
        self.browser = browser
        self.listener = Phone(self, "listener", *listener)
        self.caller = Phone(self, "caller", *caller)
        browser.get("about:blank")  # else only the fragment changes, and nothing is loaded
        users = (f"{phone.side}={phone.user},{quote(phone.username)}" for phone in (self.listener, self.caller))
        browser.get(f"{url}#{'&'.join(users)}")

    def is_live(self) -> None:
        """Wait until both phones are connected and see each other."""
        self.listener.is_live()
        self.caller.is_live()
        self.caller.sees(".person.online .name", self.listener.username)
        self.listener.sees(".person.online .name", self.caller.username)

    def sees(self, selector: str, text: str = "") -> None:
        """Wait until an element of a selector shows a text."""
        self.until(lambda: self._showing(selector, text), f"{selector} {text!r}")

    def lacks(self, selector: str, text: str = "") -> None:
        """Wait until no element of a selector shows a text."""
        self.until(lambda: not self._showing(selector, text), f"no {selector} {text!r}")

    def press(self, label: str, within: str = "") -> None:
        """Press a button by its accessible name or its text, when it is enabled."""
        self.until(lambda: self._pressed(label, within), f"a button {label!r}")

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until a condition holds."""
        until(self.browser, holds, what)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page and return what it returns."""
        return self.browser.execute_script(script, *arguments)

    def violations(self) -> list[str]:
        """Return what axe finds wrong with the page as it is: rules, elements and what to do."""
        self.run(AXE.read_text(encoding="utf-8"))
        found = self.browser.execute_async_script(
            "const done = arguments[0];"
            "axe.run().then(({violations}) => done(violations.flatMap(({id, nodes}) =>"
            " nodes.map(({target, failureSummary}) => `${id} ${target}: ${failureSummary}`))),"
            " (error) => done([String(error)]))"
        )
        return list(found)

    def looks(self, *, width: int = 1360, height: int = 1000, **features: str) -> None:
        """Emulate a screen of a size, and media features such as `prefers_color_scheme="dark"`."""
        command = self.browser.execute_cdp_cmd
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        command("Emulation.setDeviceMetricsOverride", size)
        chosen = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        command("Emulation.setEmulatedMedia", {"features": chosen})

    def complaints(self) -> list[str]:
        """Return what the browser's console has, from failures to what the page's policy forbids."""
        return [entry["message"] for entry in self.browser.get_log("browser")]  # type: ignore[no-untyped-call]

    def _showing(self, selector: str, text: str) -> list[WebElement]:
        return [each for each in self.browser.find_elements(By.CSS_SELECTOR, selector) if text in each.text]

    def _pressed(self, label: str, within: str) -> bool:
        buttons: Iterable[WebElement] = self.browser.find_elements(By.CSS_SELECTOR, f"{within}button:enabled")
        for button in buttons:
            if label in (button.get_attribute("aria-label"), button.text):
                button.click()
                return True
        return False


def frame(kind: str, **data: Any) -> str:
    """Return a frame's text."""
    return json.dumps({"type": kind, "data": data})
