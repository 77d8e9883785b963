"""Another server behind the gateway's port: it gets the requests for no stage, and no others."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.gateways import RunningGateway, Starter


class Other:
    """A server that knows `/` and `/ask`, and records its requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.requests.append((request.method, request.raw_path, dict(request.headers), await request.read()))
        if request.path == "/away":
            return web.Response(status=302, headers={"Location": "/"})
        if request.path not in ("/", "/ask", "/_aws/other"):
            return web.Response(status=404, text="no such file")
        return web.Response(text="<h1>page</h1>", content_type="text/html", headers={"X-Own": "1"})


@pytest.fixture
async def other() -> AsyncIterator[Other]:
    other = Other()
    server = web.Server(other.handle, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    other.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield other
    listening.close()
    await server.shutdown(1)


@pytest.fixture
async def gateway(start: Starter, other: Other) -> RunningGateway:
    return await start(fallback_url=other.url)


async def test_the_other_server_answers_a_request_for_no_stage(gateway: RunningGateway) -> None:
    async with gateway.client.get(gateway.url + "/") as answer:
        assert (answer.status, await answer.text()) == (200, "<h1>page</h1>")
        assert answer.content_type == "text/html"
        assert answer.headers["X-Own"] == "1"


async def test_the_other_server_gets_the_request_as_the_gateway_got_it(gateway: RunningGateway, other: Other) -> None:
    headers = {"Origin": "http://elsewhere.example", "Host": "127.0.0.1:9000"}
    async with gateway.client.post(
        URL(gateway.url + "/ask?a=%2F", encoded=True), data=b"body", headers=headers
    ) as answer:
        assert answer.status == 200
    ((method, path, seen, body),) = other.requests
    assert (method, path, body) == ("POST", "/ask?a=%2F", b"body")
    assert {name: seen[name] for name in headers} == headers


async def test_a_redirection_is_passed_on_not_followed(gateway: RunningGateway) -> None:
    async with gateway.client.get(gateway.url + "/away", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/")


async def test_a_path_that_the_other_server_does_not_know_is_forbidden_as_on_aws(gateway: RunningGateway) -> None:
    async with gateway.client.get(gateway.url + "/feed/below") as answer:
        assert (answer.status, await answer.json()) == (403, {"message": "Forbidden"})


@pytest.mark.parametrize("path", ["/_gateway/health", "/feed", "/ws/feed", "/feed/@connections/none"])
async def test_the_gateways_own_paths_never_reach_the_other_server(
    gateway: RunningGateway, other: Other, path: str
) -> None:
    async with gateway.client.get(gateway.url + path):
        assert other.requests == []


async def test_handshakes_never_reach_the_other_server(gateway: RunningGateway, other: Other) -> None:
    assert (await gateway.refused("/?token=secret")).status == 403
    client = await gateway.connect("/ws/feed")
    await client.send("hello")
    assert await client.receive() == "echo hello"
    assert other.requests == []


async def test_a_whole_url_in_place_of_a_path_is_forbidden(gateway: RunningGateway, other: Other) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET http://elsewhere.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 403 ")
    writer.close()
    assert other.requests == []


async def test_a_body_over_the_limit_is_refused(gateway: RunningGateway, other: Other) -> None:
    async with gateway.client.post(gateway.url + "/ask", data=io.BytesIO(b"x" * 1_048_577)) as answer:
        assert answer.status == 413
    assert other.requests == []


async def test_a_server_that_does_not_answer_is_a_bad_gateway(start: Starter) -> None:
    gateway = await start(fallback_url="http://127.0.0.1:1")
    async with gateway.client.get(gateway.url + "/") as answer:
        assert answer.status == 502
        assert "127.0.0.1:1" in (await answer.json())["message"]
