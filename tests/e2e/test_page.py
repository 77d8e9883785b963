"""The page of the embedded stack in a real browser: two phones, each a client of the service."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from harness.stack import WITHIN, Stack
from tests.e2e.browsing import chromium, needs_browser
from tests.e2e.pages import Page, frame, until

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser that keeps to this machine."""
    with chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def page(stack: Stack, browser: webdriver.Chrome) -> Iterator[Page]:
    """The page, with two new users who are connected and see each other; nothing failed when the test ends."""
    listener, caller = stack.new_user(), stack.new_user()
    page = Page(browser, stack.running.page_url, (listener, f"jane_{listener}"), (caller, f"sam_{caller}"))
    page.looks()
    page.is_live()
    yield page
    assert page.complaints() == []


def test_a_call_is_seen_billed_and_ended_on_both_phones(page: Page) -> None:
    jane, sam = page.listener, page.caller
    sam.press(f"Call {jane.username}")
    jane.sees(".call.ongoing", sam.username)
    sam.sees(".call.ongoing", jane.username)
    sam.sees(".person.busy", jane.username)
    for phone in (jane, sam):  # the page's backend bills each minute of the call, which is short here
        phone.sees(".call .bill", "1.50 USD · 1 min")
    jane.press(f"Bill a minute of the call with {sam.username}")
    sam.sees(".call .bill", "3.00 USD · 2 min")
    sam.press(f"Hang up the call with {jane.username}")
    jane.sees(".call.ended", sam.username)
    sam.sees(".person.online", jane.username)


def test_a_call_lights_up_the_functions_that_logged_its_way_and_each_frame_says_how_long_it_took(page: Page) -> None:
    def lit(name: str) -> int:
        """How often a function has been lit up."""
        return int(page.run(f"return document.querySelector('.node[data-name={name}]').dataset.count ?? 0"))

    functions = ("ingest", "announce", "broadcast", "broadcast-wide")
    page.press("Clear")
    before = {name: lit(name) for name in functions}
    page.caller.press(f"Call {page.listener.username}")
    page.sees("#steps li", "put call_started on the bus")
    page.sees("#steps li", "ingested · call_started")
    page.until(lambda: all(lit(name) > before[name] for name in functions), "each function lit up")
    for side in ("listener", "caller"):
        page.sees(f"#log li[data-side='{side}'] .type", "call_started")
        page.sees(f"#log li[data-side='{side}'] .took", " ms")
    page.sees("#log .published .type", "call_started")
    page.caller.press(f"Hang up the call with {page.listener.username}")
    page.caller.sees(".call.ended")


def test_who_is_blocked_no_longer_sees_the_one_who_blocked_them(page: Page) -> None:
    jane, sam = page.listener, page.caller
    jane.press(f"Block {sam.username}")
    sam.sees(".notes li", f"{jane.username} blocked you")
    sam.lacks(".person", jane.username)
    jane.press(f"Unblock {sam.username}")
    sam.sees(".person.online", jane.username)


def test_a_phone_that_was_offline_hears_what_it_missed(page: Page) -> None:
    jane, sam = page.listener, page.caller
    jane.press("Go offline: the listener's phone")
    jane.sees(".line", "No network")
    sam.press(f"Add {jane.username} to favourites")
    sam.sees(".person.offline", jane.username)  # the grace period is over
    jane.lacks(".notes li", "added you")
    jane.press("Come back: the listener's phone")
    jane.sees(".notes li", f"{sam.username} added you to favorites")
    jane.sees(".why", "nothing missed (recovered)")
    page.sees("#log li[data-side='listener'] .type", "resumed")
    sam.sees(".person.online", jane.username)


def test_a_connection_that_is_lost_comes_back_and_resumes(stack: Stack, page: Page) -> None:
    gateway = f"{stack.running.page_url}_gateway/connections"
    for connection_id in stack.connection_ids(page.caller.user):
        urlopen(Request(f"{gateway}/{quote(connection_id)}/kill", method="POST"), timeout=WITHIN).close()
    page.caller.sees(".why", "recovered")
    page.caller.is_live()


def test_an_error_frame_is_shown_and_the_connection_lives(page: Page) -> None:
    field = page.browser.find_element(By.ID, "frame-text")
    field.clear()
    field.send_keys(frame("no such type"), Keys.ENTER)
    page.listener.sees(".why", "BAD_REQUEST")
    page.sees("#log .error", "error")
    page.listener.is_live()


def test_the_backends_buttons_act_on_the_two_users(page: Page) -> None:
    page.press("Notification to one")
    page.listener.sees(".notes li", "Your payout is on its way.")
    page.press("Be busy", "#listener ")
    page.caller.sees(".person.busy", page.listener.username)
    page.press("Session revoked")
    page.caller.sees(".why", "AUTH_FAILED")
    page.caller.is_live()  # with a new token


def test_a_phone_can_be_another_users_and_a_reload_keeps_them(stack: Stack, page: Page) -> None:
    mira = stack.new_user()
    page.browser.find_element(By.CSS_SELECTOR, "#listener .settings summary").click()
    for name, text in (("user", str(mira)), ("username", f"mira_{mira}")):
        field = page.browser.find_element(By.CSS_SELECTOR, f"#listener [name={name}]")
        field.clear()
        field.send_keys(text)
    page.press("Connect", "#listener ")
    page.caller.sees(".person.online .name", f"mira_{mira}")
    page.sees("#listener pre", f"mira_{mira}")  # the claims of its token
    page.browser.refresh()
    page.listener.sees(".who h2", f"mira_{mira}")
    page.listener.is_live()


def test_the_keyboard_reaches_a_call(page: Page) -> None:
    label = f"Call {page.listener.username}"
    for _ in range(60):
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        if page.run("return document.activeElement.getAttribute('aria-label')") == label:
            break
    outline = page.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    ActionChains(page.browser).send_keys(Keys.ENTER).perform()
    page.listener.sees(".call.ongoing")
    page.caller.press(f"Hang up the call with {page.listener.username}")
    page.caller.sees(".call.ended")


def test_it_is_accessible_light_and_dark_on_a_desk_and_on_a_small_phone(page: Page) -> None:
    page.caller.press(f"Call {page.listener.username}")
    page.caller.press(f"Add {page.listener.username} to favourites")
    page.caller.sees(".call.ongoing")
    page.listener.sees(".notes li")
    page.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    for width in (1360, 360):
        for scheme in ("light", "dark"):
            page.looks(width=width, prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
            assert page.violations() == [], (width, scheme)
            assert page.run("return document.documentElement.scrollWidth") <= width
            assert page.run("return document.getAnimations().length") == 0
    page.caller.press(f"Hang up the call with {page.listener.username}")
    page.caller.sees(".call.ended")


def test_it_uses_another_stack_given_its_url_and_a_token_for_each_phone(stack: Stack, page: Page) -> None:
    listener, caller = stack.new_user(), stack.new_user()
    given = {
        "url": stack.running.websocket_url,
        "listener": stack.token(listener, username="mira", role="listener"),
        "caller": stack.token(caller, username="tom"),
    }
    page.browser.find_element(By.CSS_SELECTOR, "#where summary").click()
    for name, text in given.items():
        page.browser.find_element(By.CSS_SELECTOR, f"#stack [name={name}]").send_keys(text)
    url = page.browser.find_element(By.CSS_SELECTOR, "#stack [name=url]")
    url.clear()
    url.send_keys("ws://elsewhere.example/ws")
    page.press("Use this stack")
    page.sees("#stack-problem", "must begin with wss://")
    url.clear()
    url.send_keys(given["url"])
    page.press("Use this stack")
    page.listener.sees(".who h2", "mira")
    page.caller.sees(".person.online .name", "mira")
    page.sees("#flow-state", "the logs of that stack are not here")
    page.press("Notification to one")
    page.sees("#outcome", "realtime publish system_notification --stack NAME")
    stack.publish("favorite_added", {"user_id": caller, "username": "tom"}, to=[listener])
    page.listener.sees(".notes li", "tom added you to favorites")


SHARE = """
const [url, token, done] = arguments;
import("/client/shared.js").then(({ share }) => {
  window.heard = [];
  window.realtime = share({ url, token: () => token, endpoints: ["notifications"] }, { name: "test" });
  realtime.on("message", ({ type, data }) => heard.push(`${type} ${data.text ?? ""}`));
  done(true);
}, (error) => done(String(error)));
"""


HEARD = "return heard.filter((each) => each === `system_notification ${arguments[0]}`).length"


def test_tabs_that_share_have_one_connection_and_the_next_one_leads_when_a_tab_is_closed(
    stack: Stack, browser: webdriver.Chrome
) -> None:
    user = stack.new_user()
    token = stack.token(user)
    first = browser.current_window_handle
    tabs = []
    for _ in range(3):
        browser.switch_to.new_window("tab")
        tabs.append(browser.current_window_handle)
        browser.get(f"{stack.running.page_url}page.css")  # a document of the page's origin that runs nothing itself
        assert browser.execute_async_script(SHARE, stack.running.websocket_url, token) is True

    def all_hear(text: str) -> None:
        for tab in tabs:
            browser.switch_to.window(tab)
            until(browser, lambda: browser.execute_script(HEARD, text) == 1, f"{text} in each tab")

    def close(tab: str) -> None:
        browser.switch_to.window(tab)
        browser.close()

    until(browser, lambda: len(stack.connection_ids(user)) == 1, "a connection")
    stack.publish("system_notification", {"text": "one"}, to=[user])
    all_hear("one")
    assert len(stack.connection_ids(user)) == 1
    close(tabs.pop(0))
    stack.publish("system_notification", {"text": "two"}, to=[user])  # perhaps while no tab is connected
    all_hear("two")
    for tab in tabs:
        close(tab)
    browser.switch_to.window(first)
