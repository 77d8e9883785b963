"""The page of the embedded stack in a real browser: two tabs with two users."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from harness.stack import WITHIN, Stack
from tests.e2e.browsing import chromium, needs_browser

pytestmark = needs_browser

PATIENCE = 2 * WITHIN  # the browser takes its own share of a busy machine
ALL_CONNECTED = [f"{endpoint} connected" for endpoint in ("feed", "presence", "calls", "notifications")]


class Person:
    """A user with a browser tab."""

    def __init__(self, browser: webdriver.Chrome, page_url: str, user: int, username: str, role: str = "") -> None:
        self.user, self.username = user, username
        self._browser = browser
        browser.switch_to.new_window("tab")
        self._tab = browser.current_window_handle
        browser.get(f"{page_url}#{urlencode({'user': user, 'username': username, 'role': role})}")

    def sees(self, selector: str, text: str = "", count: int = 1) -> None:
        """Wait until the given number of elements of a selector show a text."""
        self._until(lambda: len(self._showing(selector, text)) >= count, f"{count} of {selector} {text!r}")

    def count(self, selector: str, text: str) -> int:
        """How many elements of a selector show a text."""
        return len(self._showing(selector, text))

    def lacks(self, selector: str, text: str) -> None:
        """Wait until no element of a selector shows a text."""
        self._until(lambda: not self._showing(selector, text), f"no {selector} {text!r}")

    def press(self, label: str) -> None:
        """Press a button by its accessible name, when it is enabled."""
        selector = f"button[aria-label='{label}']:enabled"
        self._until(lambda: self._pressed(selector), f"a button {label!r}")

    def sends(self, frame: str) -> None:
        """Send a text to the feed, as it is."""
        self.sees("#frame-text")
        field = self._browser.find_element(By.ID, "frame-text")
        field.clear()
        field.send_keys(frame, Keys.ENTER)

    def leaves(self) -> None:
        """Close the tab."""
        self._browser.switch_to.window(self._tab)
        self._browser.close()

    def is_connected(self) -> None:
        """Wait until all four endpoints are."""
        self._until(lambda: self._endpoints() == ALL_CONNECTED, "all four endpoints connected")

    def _endpoints(self) -> list[str]:
        rows = self._showing("#endpoints li")
        return [" ".join(row.text.split()[:2]) for row in rows]

    def _showing(self, selector: str, text: str = "") -> list[WebElement]:
        return [each for each in self._browser.find_elements(By.CSS_SELECTOR, selector) if text in each.text]

    def _pressed(self, selector: str) -> bool:
        self._browser.find_element(By.CSS_SELECTOR, selector).click()
        return True

    def _until(self, holds: Callable[[], object], what: str) -> None:
        self._browser.switch_to.window(self._tab)
        # Each message rebuilds a list: an element may be gone between finding and reading it.
        wait = WebDriverWait(self._browser, PATIENCE, 0.05, [NoSuchElementException, StaleElementReferenceException])
        wait.until(lambda _: holds(), f"{self.username} never saw {what}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser that keeps to this machine."""
    with chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def jane(stack: Stack, browser: webdriver.Chrome) -> Person:
    """A listener, connected to all four endpoints."""
    user = stack.new_user()
    person = Person(browser, stack.running.page_url, user, f"jane_{user}", "listener")
    person.is_connected()
    return person


@pytest.fixture
def sam(stack: Stack, browser: webdriver.Chrome, jane: Person) -> Person:
    """A user who calls listeners, in the second tab."""
    user = stack.new_user()
    person = Person(browser, stack.running.page_url, user, f"sam_{user}")
    person.is_connected()
    return person


def test_two_tabs_see_each_others_calls_and_notifications_as_they_happen(
    browser: webdriver.Chrome, jane: Person, sam: Person
) -> None:
    sam.sees(".card.online", jane.username)
    sam.sees("#everyone li", sam.username)
    sam.press(f"Call {jane.username}")
    jane.sees("#calls li", f"{sam.username} → {jane.username}")
    sam.sees(".card.busy", jane.username)
    sam.press(f"Add {jane.username} to favourites")
    jane.sees("#notifications li", f"{sam.username} added you to favorites")
    jane.press(f"End the call with {sam.username}")
    sam.sees("#calls li.ended", jane.username)
    sam.sees(".card.online", jane.username)
    sam.sees("#log .took", " ms")
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]  # nothing failed, nothing that the page's policy forbids


def test_a_user_who_closes_their_tab_goes_offline_after_the_grace_period(jane: Person, sam: Person) -> None:
    sam.sees(".card.online", jane.username)
    jane.leaves()
    sam.sees(".card.offline", jane.username)
    sam.lacks("#everyone li", jane.username)


def test_a_connection_that_is_lost_comes_back_with_a_snapshot(stack: Stack, jane: Person, sam: Person) -> None:
    sam.sees(".card.online", jane.username)
    asked_before = {endpoint: sam.count("#log .sent", endpoint) for endpoint in ("feed", "presence")}
    gateway = f"{stack.running.page_url}_gateway/connections"
    for connection_id in stack.connection_ids(sam.user):
        urlopen(Request(f"{gateway}/{quote(connection_id)}/kill", method="POST"), timeout=WITHIN).close()
    for endpoint, times in asked_before.items():
        sam.sees("#log .sent", endpoint, count=times + 1)
    sam.is_connected()
    sam.sees(".card.online", jane.username)


def test_an_error_frame_is_shown_and_the_connection_lives(jane: Person) -> None:
    jane.sends("no frame at all")
    jane.sees("#endpoints .why.wrong", "BAD_REQUEST")
    jane.sees("#log .error", "BAD_REQUEST")
    jane.is_connected()
