"""The page of the embedded stack on a real socket: its files, and the requests that the stack accepts."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import jwt
import pytest
from yarl import URL

from local import site
from operate.errors import CommandError
from operate.logs import Line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from operate.deployment import Deployment

PORT = 8080
OWN = {"Host": "localhost:8080", "Origin": "http://localhost:8080"}
SECRET = "a secret that the page must never see"


class FakeDeployment:
    """A stack's secret, and its bus, which refuses the events that a test selects."""

    def __init__(self) -> None:
        self.published: list[tuple[str, dict[str, Any], str]] = []
        self.logged: list[Line] = []
        self.refuses = False

    def token_keys(self) -> dict[str | None, str]:
        return {"local": SECRET}

    def log_reader(self, since_ms: int) -> FakeDeployment:
        return self

    def read(self) -> list[Line]:
        lines, self.logged = self.logged, []
        return lines

    def publish(self, detail_type: str, detail: str, source: str) -> str:
        if self.refuses:
            raise CommandError("EventBridge refused the event")
        self.published.append((detail_type, json.loads(detail), source))
        return f"event-{len(self.published)}"


class Page:
    """The headers of a browser."""

    def __init__(self, client: aiohttp.ClientSession, url: str) -> None:
        self.client, self.url = client, url

    async def get(self, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
        url = URL(self.url + path, encoded=True)
        async with self.client.get(url, headers=OWN | headers) as answer:
            return answer.status, await answer.text(), dict(answer.headers)

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, str) else json.dumps(body)
        sent = OWN | {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        sent = {name: value for name, value in sent.items() if value}
        async with self.client.post(self.url + path, data=data.encode(), headers=sent) as answer:
            return answer.status, await answer.json()


@pytest.fixture
def deployment() -> FakeDeployment:
    return FakeDeployment()


@pytest.fixture
async def page(deployment: FakeDeployment) -> AsyncIterator[Page]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(site.serving(cast("Deployment", deployment), PORT))
        yield Page(await stack.enter_async_context(aiohttp.ClientSession()), url)


async def test_the_page_is_html_that_may_run_nothing_but_its_own_files(page: Page) -> None:
    status, text, headers = await page.get("/")
    assert status == 200
    assert text.startswith("<!doctype html>")
    assert headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


async def test_the_page_may_open_websockets_to_this_machine_and_to_stacks_with_tls_alone(page: Page) -> None:
    _, _, headers = await page.get("/")
    directives = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert directives["connect-src"].split() == ["'self'", "ws://localhost:*", "ws://127.0.0.1:*", "wss:"]


FILES = [*(("/", file) for file in site.PAGE.iterdir()), *(("/client/", file) for file in site.CLIENT.iterdir())]


async def test_each_file_of_the_page_and_of_the_client_is_served_as_what_it_is(page: Page) -> None:
    kinds = {".html": "text/html", ".css": "text/css", ".svg": "image/svg+xml"}
    kinds |= dict.fromkeys((".mjs", ".js"), "text/javascript")
    for at, file in FILES:
        status, text, headers = await page.get(f"{at}{file.name}")
        assert (status, text) == (200, file.read_text(encoding="utf-8"))
        assert headers["Content-Type"].split(";")[0] == kinds[file.suffix]
        assert headers["X-Content-Type-Options"] == "nosniff"


async def test_a_file_that_has_not_changed_is_not_sent_again(page: Page) -> None:
    _, _, headers = await page.get("/page.mjs")
    status, text, _ = await page.get("/page.mjs", **{"If-None-Match": headers["Etag"]})
    assert (status, text) == (304, "")


@pytest.mark.parametrize(
    "path",
    [
        "/../site.py",
        "/%2e%2e/site.py",
        "/..%2fsite.py",
        "/%2e%2e%2fsite.py",
        "//etc/passwd",
        "/page.css/..",
        "/x%00",
        "/",
    ],
)
async def test_a_path_cannot_leave_its_folder(tmp_path: Path, deployment: FakeDeployment, path: str) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    (tmp_path / "site.py").write_text("secret")
    (folder / "page.css").write_text("")
    async with site.serving(cast("Deployment", deployment), PORT, folder) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 "))
    assert b"secret" not in answer


async def test_a_token_is_made_for_the_requested_user(page: Page) -> None:
    asked = {"user": "789", "username": "jane_smith", "role": "listener"}
    status, answer = await page.post("/_local/token", asked)
    assert status == 200
    claims = jwt.decode(answer["token"], SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["username"], claims["role"]) == ("789", "jane_smith", "listener")


async def test_a_token_has_no_claim_that_was_not_requested(page: Page) -> None:
    _, answer = await page.post("/_local/token", {"user": "5"})
    assert jwt.decode(answer["token"], SECRET, algorithms=["HS256"]).keys() == {"sub", "iat", "exp"}


async def test_an_event_is_put_on_the_bus(page: Page, deployment: FakeDeployment) -> None:
    detail = {"user_id": 5, "is_busy": True, "note": "für später"}
    assert await page.post("/_local/events", {"type": "status_change", "detail": detail}) == (
        200,
        {"event_id": "event-1"},
    )
    assert deployment.published == [("status_change", detail, "realtime-page")]


async def test_the_reason_of_a_refusal_by_the_bus_is_returned(page: Page, deployment: FakeDeployment) -> None:
    deployment.refuses = True
    status, answer = await page.post("/_local/events", {"type": "status_change", "detail": {}})
    assert (status, answer) == (502, {"message": "EventBridge refused the event"})


async def test_what_functions_log_is_told(page: Page, deployment: FakeDeployment) -> None:
    assert await page.post("/_local/flow", {}) == (200, {"last": 0, "lines": []})
    deployment.logged = [Line(5, "ingest", "1", '{"message": "ingested", "audiences": 2}')]
    line = {"at": 5, "function": "ingest", "message": "ingested", "facts": {"audiences": 2}}
    assert await page.post("/_local/flow", {"after": 0}) == (200, {"last": 1, "lines": [line]})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/_local/token", {}),
        ("/_local/token", {"user": 5}),
        ("/_local/token", {"user": "5", "role": 1}),
        ("/_local/token", "no json"),
        ("/_local/token", []),
        ("/_local/events", {"type": "call_ended"}),
        ("/_local/events", {"type": "", "detail": {}}),
        ("/_local/events", {"type": "call_ended", "detail": "{}"}),
        ("/_local/flow", {"after": "1"}),
        ("/_local/flow", {"after": True}),
        ("/_local/flow", []),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_with_the_reason(
    page: Page, deployment: FakeDeployment, path: str, body: Any
) -> None:
    status, answer = await page.post(path, body)
    assert status == 400
    assert answer["message"]
    assert deployment.published == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Host": "rebound.example:8080", "Origin": "http://rebound.example:8080"}, 421),
        ({"Host": "localhost:8080", "Origin": "http://localhost:9"}, 403),
        ({"Host": "localhost.rebound.example", "Origin": "http://localhost.rebound.example"}, 421),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
@pytest.mark.parametrize("path", ["/_local/token", "/_local/events", "/_local/flow"])
async def test_another_sites_page_gets_nothing(
    page: Page, deployment: FakeDeployment, path: str, headers: dict[str, str], status: int
) -> None:
    body = {"user": "5", "type": "session_revoked", "detail": {"user_id": 5}}
    got, answer = await page.post(path, body, **headers)
    assert got == status
    assert answer.keys() == {"message"}
    assert deployment.published == []


async def test_a_name_that_was_rebound_to_this_machine_does_not_get_even_the_page(page: Page) -> None:
    status, _, _ = await page.get("/", Host="rebound.example:8080")
    assert status == 421


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "localhost:9000", "localhost"])
async def test_each_name_of_this_machine_is_accepted_with_any_forwarded_port(page: Page, host: str) -> None:
    status, _ = await page.post("/_local/token", {"user": "5"}, Host=host, Origin=f"http://{host}")
    assert status == 200


async def test_a_default_port_is_in_no_browsers_host(deployment: FakeDeployment) -> None:
    async with (
        site.serving(cast("Deployment", deployment), 80) as url,
        aiohttp.ClientSession() as client,
        client.get(url, headers={"Host": "localhost"}) as answer,
    ):
        assert answer.status == 200


async def test_a_token_cannot_be_requested_with_get(page: Page) -> None:
    async with page.client.get(page.url + "/_local/token", headers=OWN) as answer:
        assert answer.status == 404
