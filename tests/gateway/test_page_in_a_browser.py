"""The gateway's page in a real browser, beside clients on real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from samsocket.activity import Activity, problems_shown
from tests.e2e.browsing import chromium, needs_browser
from tests.e2e.pages import AXE
from tests.support.gateways import FunctionError, sample_api

if TYPE_CHECKING:
    from tests.support.gateways import FakeAws, RunningGateway, Starter

pytestmark = [needs_browser, pytest.mark.timeout(300)]

PATIENCE = 60.0
AXE_RUN = (
    "const done = arguments[0];"
    "axe.run().then(({violations}) => done(violations.flatMap(({id, nodes}) =>"
    " nodes.map(({target, failureSummary}) => `${id} ${target}: ${failureSummary}`))),"
    " (error) => done([String(error)]))"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser that keeps to this machine."""
    with chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


class Page:
    """The page in a browser; the gateway goes on while the browser is asked, because other threads ask it."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self.browser = browser

    async def do(self, act: Callable[[], Any]) -> Any:
        """Do something in the browser."""
        return await asyncio.to_thread(act)

    async def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until a condition holds in the browser."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if await self.do(holds):
                    return
            except (NoSuchElementException, StaleElementReferenceException):
                pass  # its list was built anew
            assert time.monotonic() < deadline, f"the browser never showed {what}"

    async def sees(self, selector: str, text: str = "") -> None:
        """Wait until an element of a selector shows a text."""
        await self.until(lambda: self.shown(selector, text), f"{selector} {text!r}")

    async def lacks(self, selector: str, text: str = "") -> None:
        """Wait until no element of a selector shows a text."""
        await self.until(lambda: not self.shown(selector, text), f"no {selector} {text!r}")

    async def press(self, selector: str) -> None:
        """Press a control."""
        await self.do(lambda: self.browser.find_element(By.CSS_SELECTOR, selector).click())

    async def types(self, *keys: str) -> None:
        """Press keys."""
        await self.do(lambda: ActionChains(self.browser).send_keys(*keys).perform())

    async def run(self, script: str) -> Any:
        """Run a script in the page and return what it returns."""
        return await self.do(lambda: self.browser.execute_script(script))

    def shown(self, selector: str, text: str) -> bool:
        """Return whether an element is there and contains a text."""
        found = self.browser.find_elements(By.CSS_SELECTOR, selector)
        return any(text in each.text for each in found if each.is_displayed())

    def looks(self, width: int, scheme: str) -> None:
        """Emulate a screen."""
        command = self.browser.execute_cdp_cmd
        command(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        command("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def violations(self) -> list[str]:
        """Return what axe finds wrong with the page as it is."""
        self.browser.execute_script(AXE.read_text(encoding="utf-8"))
        return list(self.browser.execute_async_script(AXE_RUN))

    def complaints(self) -> list[str]:
        """Return what the browser's console has, from failures to what the page's policy forbids."""
        return [entry["message"] for entry in self.browser.get_log("browser")]  # type: ignore[no-untyped-call]


async def opened(browser: webdriver.Chrome, gateway: RunningGateway, path: str = "/") -> Page:
    """Open the page of a gateway."""
    page = Page(browser)
    await page.do(lambda: browser.get("about:blank"))  # the page of the test before may miss its gateway
    await page.do(page.complaints)
    await page.do(lambda: page.looks(1360, "light"))
    await page.do(lambda: browser.get(f"http://localhost:{gateway.port}{path}"))
    await page.sees("#state", "live")
    return page


async def test_it_shows_connections_routes_frames_each_way_and_what_failed(
    browser: webdriver.Chrome, start: Starter, aws: FakeAws
) -> None:
    def fail(_: Any) -> Any:
        raise FunctionError("no such room")

    aws.functions["note"] = fail
    activity = Activity()
    gateway = await start(sample_api(name="Chat"), activity=activity)
    page = await opened(browser, gateway)
    await page.sees("#stages h3", "Chat, feed: 0 open")
    await page.sees("#stages code", f"ws://localhost:{gateway.port}/ws/feed")
    for route in ("$connect", "$default", "$disconnect", "note"):
        await page.sees("#routes td", route)
    with problems_shown(activity):
        client = await gateway.connect()
        await page.sees("#stages h3", "Chat, feed: 1 open")
        await page.sees("#stages .connections", client.connection_id)
        await page.sees("#state", "1 connection")
        await client.send('{"hello": "<b>world</b>"}')
        await page.sees("#log .heard .text", '{"hello": "<b>world</b>"}')
        await page.sees("#log .heard .what", "$default · 200 · ")
        await page.sees("#log .heard .what", " ms")
        await page.sees("#log .sent .text", "echo ")
        await client.send('{"action": "note"}')
        await page.sees("#log .heard.bad .what", "note · 502")
        await page.sees("#log .problem .text", "no such room")
        await page.sees("#log .sent .text", "Internal server error")
    activity.add("log", function="Echo", text="a line of its output")
    await page.sees("#log .log .who", "Echo")
    await page.sees("#log .log .text", "a line of its output")
    await client.close(4000, b"done")
    await page.sees("#log .closed .what", "4000 · done")
    await page.sees("#stages h3", "Chat, feed: 0 open")
    assert await page.do(page.complaints) == []


async def test_one_connection_alone_can_be_shown_and_the_list_paused_and_cleared(
    browser: webdriver.Chrome, start: Starter
) -> None:
    gateway = await start(activity=Activity())
    page = await opened(browser, gateway)
    first, second = await gateway.connect(), await gateway.connect()
    await first.send("from the first")
    await second.send("from the second")
    await page.sees("#log .heard", "from the first")
    await page.sees("#log .heard", "from the second")
    await page.sees(".connections button", first.connection_id)
    await page.press(f'.connections button[data-key="{first.connection_id}"]')
    await page.lacks("#log .heard", "from the second")
    await page.sees("#log .heard", "from the first")
    await page.press(f'.connections button[data-key="{first.connection_id}"]')
    await page.sees("#log .heard", "from the second")
    await page.press("[name=frames]")
    await page.lacks("#log .heard")
    await page.sees("#log .opened")
    await page.press("[name=frames]")
    await page.press("#pause")
    await first.send("meanwhile")
    await page.sees("#count", "since the pause")
    await page.lacks("#log .heard", "meanwhile")
    await page.press("#pause")
    await page.sees("#log .heard", "meanwhile")
    await page.press("#clear")
    await page.lacks("#log li")
    assert await page.do(page.complaints) == []


async def test_the_keyboard_reaches_a_frame_and_opens_it(browser: webdriver.Chrome, start: Starter) -> None:
    gateway = await start(activity=Activity())
    page = await opened(browser, gateway)
    client = await gateway.connect()
    await client.send('{"a":{"b":1}}')
    await page.sees("#log .sent", "echo")
    for _ in range(30):
        await page.types(Keys.TAB)
        if await page.run("return document.activeElement.matches('#log .heard summary')"):
            break
    assert await page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    await page.types(Keys.ENTER)
    await page.sees("#log .heard pre", '"b": 1')
    await client.send("another")
    await page.sees("#log .heard", "another")
    assert await page.run("return document.activeElement.matches('#log .heard summary')"), "the focus stays"


async def test_it_is_accessible_light_and_dark_on_a_desk_and_on_a_small_phone(
    browser: webdriver.Chrome, start: Starter, aws: FakeAws
) -> None:
    aws.functions["note"] = lambda _: {"statusCode": 500}
    gateway = await start(activity=Activity())
    page = await opened(browser, gateway)
    client = await gateway.connect()
    await client.send("x" * 500)
    await client.send('{"action": "note"}')
    await page.sees("#log .bad")
    await page.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    for width in (1360, 360):
        for scheme in ("light", "dark"):
            await page.do(lambda width=width, scheme=scheme: page.looks(width, scheme))  # type: ignore[misc]
            assert await page.do(page.violations) == [], (width, scheme)
            assert await page.run("return document.documentElement.scrollWidth") <= width


async def test_it_says_when_the_gateway_is_gone_and_begins_anew_with_the_next(
    browser: webdriver.Chrome, start: Starter
) -> None:
    gateway = await start(activity=Activity())
    page = await opened(browser, gateway)
    client = await gateway.connect()
    await client.send("the first run")
    await page.sees("#log .heard", "the first run")
    await gateway.gateway.close()
    await page.sees("#state.wrong", "does not answer")
    again = await start(activity=Activity(), port=gateway.port)
    await page.sees("#state", "live")
    await page.lacks("#log .heard", "the first run")
    other = await again.connect()
    await other.send("the second run")
    await page.sees("#log .heard", "the second run")


async def test_beside_another_server_it_stands_below_the_gateways_own_path(
    browser: webdriver.Chrome, start: Starter
) -> None:
    gateway = await start(activity=Activity(), fallback_url="http://127.0.0.1:1")
    page = await opened(browser, gateway, "/_gateway/page/")
    await page.sees("#stages h3", "feed: 0 open")
    assert await page.do(page.complaints) == []
