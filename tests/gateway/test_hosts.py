"""Web pages reach the gateway as clients alone; one whose own name was rebound to this machine does not reach it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.gateways import FakeAws, RunningGateway, Starter

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
MANAGEMENT = "/_aws/execute-api/realtime/feed/@connections/none"
ALL = ["/ws/feed", "/feed", MANAGEMENT, "/feed/@connections/none", "/_gateway/connections", "/_gateway/settings", "/"]
FOREIGN = [
    "rebound.example",
    "rebound.example:8080",
    "localhost.rebound.example:8080",
    "127.0.0.1.rebound.example",
    "192.168.1.5:8080",
    "[2001:db8::1]:8080",
    "localhost:8080@rebound.example",
    "localhost:",
    "",
]


async def ask(gateway: RunningGateway, path: str, *lines: str) -> tuple[int, str]:
    """Send a request whose headers are all given, and return the answer's status and text."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write("\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode())
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split()[1])
    text = "" if status == 101 else (await reader.read(65_536)).decode()
    writer.transport.abort()
    return status, text


def handshake(host: str, **headers: str) -> list[str]:
    return [f"{name}: {value}" for name, value in {"Host": host, **HANDSHAKE, **headers}.items()]


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", ALL)
async def test_a_foreign_host_is_refused_for_every_path(
    gateway: RunningGateway, aws: FakeAws, path: str, host: str
) -> None:
    client = await gateway.connect()
    seen = len(aws.requests)
    status, text = await ask(gateway, path, *handshake(host))
    assert status == 421
    assert client.connection_id not in text
    assert len(aws.requests) == seen


@pytest.mark.parametrize("lines", [[], ["Host: localhost", "Host: localhost"], ["Host: localhost", "Host: x.example"]])
async def test_a_request_must_name_one_host(gateway: RunningGateway, lines: list[str]) -> None:
    status, _ = await ask(gateway, "/_gateway/settings", *lines)
    assert status in (400, 421)


@pytest.mark.parametrize("port", ["", ":80", ":8080", ":50505"])
@pytest.mark.parametrize("name", ["localhost", "LocalHost", "127.0.0.1", "127.8.8.8", "[::1]"])
async def test_each_name_of_this_machine_is_served_with_any_forwarded_port(
    gateway: RunningGateway, name: str, port: str
) -> None:
    assert (await ask(gateway, "/_gateway/health", f"Host: {name}{port}"))[0] == 200
    assert (await ask(gateway, "/ws/feed", *handshake(f"{name}{port}")))[0] == 101


async def test_further_names_can_be_allowed_and_are_the_domain_name(start: Starter, aws: FakeAws) -> None:
    gateway = await start(hosts=["Realtime.example", "192.168.1.5", "2001:DB8::1"])
    assert (await ask(gateway, "/ws/feed", *handshake("realtime.example:8080")))[0] == 101
    assert (await aws.event("CONNECT"))["requestContext"]["domainName"] == "realtime.example:8080"
    assert (await ask(gateway, "/ws/feed", *handshake("192.168.1.5")))[0] == 101
    assert (await ask(gateway, "/ws/feed", *handshake("[2001:db8::1]:8080")))[0] == 101
    assert (await ask(gateway, "/ws/feed", *handshake("other.example")))[0] == 421


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "http://localhost:3000", "null", "file://"])
async def test_clients_may_be_pages_of_any_origin(gateway: RunningGateway, origin: str) -> None:
    assert (await ask(gateway, "/ws/feed", *handshake("localhost:8080", Origin=origin)))[0] == 101


@pytest.mark.parametrize(
    "mark",
    [
        "Origin: https://elsewhere.example",
        "Origin: http://localhost:3000",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("path", [MANAGEMENT, "/_gateway/health", "/_gateway/connections", "/_gateway/settings"])
async def test_no_page_manages_connections_or_controls_the_gateway(
    gateway: RunningGateway, aws: FakeAws, path: str, method: str, mark: str
) -> None:
    client = await gateway.connect()
    name, _, value = mark.partition(": ")
    async with gateway.client.request(method, gateway.url + path, headers={name: value}, data=b"{}") as answer:
        assert answer.status == 403
        assert client.connection_id not in await answer.text()
        assert not [header for header in answer.headers if header.lower().startswith("access-control-")]
    assert not [request for request in aws.requests if "@connections" in request[1]]


@pytest.mark.parametrize("site", ["none", "same-origin"])
async def test_a_person_may_read_the_connections_with_a_browser(gateway: RunningGateway, site: str) -> None:
    answer = await gateway.control("GET", "connections", headers={"Sec-Fetch-Site": site})
    assert answer.status == 200
