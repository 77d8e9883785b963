"""The ends of connections, and the events for the `$disconnect` function."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from samsocket.connection import expired
from samsocket.settings import FRAME_BYTES, MESSAGE_BYTES, Settings
from samsocket.tls import Authority
from tests.gateway.test_frames import frame
from tests.support.gateways import DEADLINE, sample_api, without

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.gateways import Client, FakeAws, RunningGateway, Starter


HANDSHAKE = (
    b"GET /ws/feed HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"


async def disconnected(aws: FakeAws) -> tuple[int, str]:
    context = (await aws.event("DISCONNECT"))["requestContext"]
    return context["disconnectStatusCode"], context["disconnectReason"]


async def write_raw(client: Client, data: bytes) -> None:
    """Write bytes as they are to the client's socket."""
    connection = client.websocket.get_extra_info("socket")
    transport = client.websocket._writer.transport
    assert connection is not None
    transport.write(data)


async def test_the_disconnect_event_has_the_keys_and_shapes_that_aws_prints(
    gateway: RunningGateway, aws: FakeAws
) -> None:
    client = await gateway.connect("/ws/feed?token=t")
    await client.close()
    event = await aws.event("DISCONNECT")
    host = f"127.0.0.1:{gateway.port}"
    assert set(event) == {"headers", "multiValueHeaders", "requestContext", "isBase64Encoded"}
    assert event["headers"] == {"Host": host, "x-api-key": "", "X-Forwarded-For": "", "x-restapi": ""}
    assert event["multiValueHeaders"] == {name: [value] for name, value in event["headers"].items()}
    connect = (await aws.event("CONNECT"))["requestContext"]
    assert set(event["requestContext"]) == {*connect, "disconnectStatusCode", "disconnectReason"}
    assert event["requestContext"]["routeKey"] == "$disconnect"


async def test_the_clients_code_and_reason_are_reported(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    await client.close(3001, b"bye")
    assert await disconnected(aws) == (3001, "bye")


async def test_a_close_frame_without_a_code_is_reported_as_1005(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    await write_raw(client, b"\x88\x80mask")
    assert await disconnected(aws) == (1005, "Client-side close frame status not set")


async def test_a_socket_that_breaks_is_reported_as_1006(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    client.websocket._writer.transport.abort()
    assert (await disconnected(aws))[0] == 1006


async def test_disconnect_runs_after_the_connection_is_gone(gateway: RunningGateway, aws: FakeAws) -> None:
    statuses: asyncio.Queue[int] = asyncio.Queue()

    async def disconnect(event: dict[str, Any]) -> dict[str, int]:
        connection_id = event["requestContext"]["connectionId"]
        statuses.put_nowait((await gateway.post(connection_id, "late")).status)
        return {"statusCode": 200}

    aws.functions["disconnect"] = disconnect
    client = await gateway.connect()
    await client.close()
    async with asyncio.timeout(DEADLINE):
        assert await statuses.get() == 410


async def test_a_client_does_not_wait_for_its_disconnect_function(gateway: RunningGateway, aws: FakeAws) -> None:
    answer = asyncio.Event()

    async def disconnect(_: dict[str, Any]) -> dict[str, int]:
        await answer.wait()
        return {"statusCode": 200}

    aws.functions["disconnect"] = disconnect
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(HANDSHAKE + CLOSE)
    async with asyncio.timeout(DEADLINE):
        assert (await reader.read()).endswith(b"\x88\x02\x03\xe8"), "the answer to the close frame, and the end"
    answer.set()
    writer.close()


async def test_the_end_of_a_connection_by_tls_is_no_error(
    start: Starter, aws: FakeAws, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    gateway = await start(tls=authority.server_context())
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=trusting, server_hostname="localhost")
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(CLOSE)
    await reader.readexactly(4)
    writer.close()
    assert await disconnected(aws) == (1000, "")
    await gateway.gateway.close()
    assert not [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert (await aws.event("CONNECT"))["headers"]["x-forwarded-proto"] == "https"


async def test_a_disconnect_function_that_fails_harms_nobody(gateway: RunningGateway, aws: FakeAws) -> None:
    aws.functions["disconnect"] = lambda _: {"nonsense": 1}
    client, other = await gateway.connect(), await gateway.connect()
    await client.close()
    await aws.event("DISCONNECT")
    await other.send("hello")
    assert await other.receive() == "echo hello"


async def test_without_a_disconnect_route_a_connection_ends_silently(start: Starter) -> None:
    gateway = await start(without("$disconnect"))
    client = await gateway.connect()
    await client.close()

    async def gone() -> bool:
        return await gateway.connections() == []

    await gateway.until(gone)


async def test_a_binary_frame_closes_with_1003(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    await client.websocket.send_bytes(b"\x00")
    assert (await client.closed())[0] == 1003
    assert (await disconnected(aws))[0] == 1003


async def test_a_message_of_128_kb_in_frames_of_32_kb_is_accepted(gateway: RunningGateway, aws: FakeAws) -> None:
    aws.functions["default"] = lambda event: {"statusCode": 200, "body": str(len(event["body"]))}
    client = await gateway.connect()
    frames = [frame(FRAME_BYTES, opcode=1 if index == 0 else 0, fin=index == 3) for index in range(4)]
    await write_raw(client, b"".join(frames))
    assert await client.receive() == str(MESSAGE_BYTES)


async def test_a_message_over_128_kb_closes_with_1009(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    frames = [frame(FRAME_BYTES, opcode=1 if index == 0 else 0, fin=False) for index in range(4)]
    await write_raw(client, b"".join(frames) + frame(1, opcode=0))
    assert (await client.closed())[0] == 1009
    assert (await disconnected(aws))[0] == 1009


@pytest.mark.parametrize(("size", "taken"), [(FRAME_BYTES, True), (FRAME_BYTES + 1, False)])
async def test_a_single_frame_over_32_kb_closes_with_1009(
    gateway: RunningGateway, aws: FakeAws, size: int, taken: bool
) -> None:
    aws.functions["default"] = lambda event: {"statusCode": 200, "body": str(len(event["body"]))}
    client = await gateway.connect()
    await client.send("a" * size)
    if taken:
        assert await client.receive() == str(size)
    else:
        assert (await client.closed())[0] == 1009
        assert (await disconnected(aws))[0] == 1009


async def test_text_that_is_not_utf_8_closes_with_1007(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    await write_raw(client, b"\x81\x81\x00\x00\x00\x00\xff")
    assert (await client.closed())[0] == 1007
    assert (await disconnected(aws))[0] == 1007


async def test_a_breach_of_the_protocol_closes_with_1002(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    await write_raw(client, b"\x83\x80mask")
    assert (await client.closed())[0] == 1002


async def test_an_idle_connection_is_closed_with_1001(start: Starter, aws: FakeAws) -> None:
    gateway = await start(settings={"idle_timeout": 0.1})
    client = await gateway.connect()
    assert await client.closed() == (1001, "Going away")
    assert await disconnected(aws) == (1001, "Going away")


async def test_pings_are_answered_but_do_not_keep_a_connection_from_being_idle(start: Starter, aws: FakeAws) -> None:
    gateway = await start(settings={"idle_timeout": 0.5})
    websocket = await gateway.open("/ws/feed", autoping=False)
    received: list[aiohttp.WSMsgType] = []
    async with asyncio.timeout(DEADLINE):
        while not received or received[-1] is aiohttp.WSMsgType.PONG:
            if not websocket.closed:
                await websocket.ping()
            received.append((await websocket.receive()).type)
    assert received[0] is aiohttp.WSMsgType.PONG
    assert websocket.close_code == 1001
    assert await disconnected(aws) == (1001, "Going away")


@pytest.mark.parametrize("traffic", ["message", "post"])
async def test_traffic_either_way_keeps_a_connection_from_being_idle(gateway: RunningGateway, traffic: str) -> None:
    client = await gateway.connect()
    before = (await gateway.connections())[0]["last_active_at"]

    async def active() -> bool:
        if traffic == "message":
            await client.send('{"action": "note"}')
        else:
            assert (await gateway.post(client.connection_id, "x")).status == 200
        return bool((await gateway.connections())[0]["last_active_at"] > before)

    await gateway.until(active)


def test_a_connection_is_idle_only_from_its_last_traffic_on() -> None:
    settings = Settings(idle_timeout=600, max_age=7_200)
    assert not expired(opened=0, last_active=1_000, now=1_599.9, settings=settings)
    assert expired(opened=0, last_active=1_000, now=1_600, settings=settings)
    assert not expired(opened=0, last_active=7_199, now=7_199.9, settings=settings)
    assert expired(opened=0, last_active=7_199, now=7_200, settings=settings)


async def test_a_busy_connection_is_closed_at_its_greatest_age_too(start: Starter, aws: FakeAws) -> None:
    gateway = await start(settings={"max_age": 0.3})
    client = await gateway.connect()
    closed = asyncio.create_task(client.closed())
    while not closed.done():
        await client.send('{"action": "note"}')
        await asyncio.wait([closed], timeout=0.05)
    assert await closed == (1001, "Going away")
    assert await disconnected(aws) == (1001, "Going away")


async def test_stopping_the_gateway_closes_every_connection_and_invokes_disconnect(
    gateway: RunningGateway, aws: FakeAws
) -> None:
    reading = [asyncio.create_task((await gateway.connect()).closed()) for _ in range(3)]
    await gateway.gateway.close()
    assert set(await asyncio.gather(*reading)) == {(1001, "Going away")}
    assert (await aws.event("DISCONNECT", count=3))["requestContext"]["disconnectStatusCode"] == 1001


async def test_a_client_whose_connect_function_runs_while_the_gateway_stops_is_closed_as_the_others(
    gateway: RunningGateway, aws: FakeAws
) -> None:
    answer = asyncio.Event()

    async def connect(_: dict[str, Any]) -> dict[str, int]:
        await answer.wait()
        return {"statusCode": 200}

    aws.functions["connect"] = connect
    opening = asyncio.create_task(gateway.open())
    await aws.event("CONNECT")
    closing = asyncio.create_task(gateway.gateway.close())
    await asyncio.sleep(0)
    answer.set()
    websocket = await opening
    assert (await websocket.receive()).data == 1001
    await closing
    assert await disconnected(aws) == (1001, "Going away")


@pytest.mark.parametrize("changed", [{"stages": {"calls": {}}}, {"api_id": "other"}])
async def test_a_connection_of_a_stage_or_api_that_is_taken_out_of_the_template_is_closed(
    gateway: RunningGateway, changed: dict[str, Any]
) -> None:
    leaving = await gateway.connect()
    staying = await gateway.connect("/ws/calls")
    gateway.gateway.adopt([sample_api(**changed)])
    assert await leaving.closed() == (1001, "Going away")
    if "stages" in changed:
        await staying.send("hello")
        assert await staying.receive() == "echo hello"


async def test_a_client_that_never_reads_does_not_keep_a_closed_connection(start: Starter, aws: FakeAws) -> None:
    gateway = await start(settings={"buffer_bytes": 200_000})
    client = await gateway.connect()
    connection = client.websocket.get_extra_info("socket")
    assert connection is not None
    client.websocket._response.connection.protocol.pause_reading()  # type: ignore[union-attr]
    statuses: set[int] = set()
    async with asyncio.timeout(DEADLINE):
        while 429 not in statuses:
            statuses.add((await gateway.post(client.connection_id, os.urandom(16_000).hex())).status)
    assert statuses == {200, 429}
    assert (await gateway.manage("DELETE", client.connection_id)).status == 204
    assert await disconnected(aws) == (1000, "")
    assert (await gateway.post(client.connection_id, "x")).status == 410


async def test_a_ping_is_answered_with_its_own_payload(gateway: RunningGateway) -> None:
    websocket = await gateway.open("/ws/feed", autoping=False)
    await websocket.ping(b"payload")
    message = await websocket.receive(timeout=DEADLINE)
    assert (message.type, message.data) == (aiohttp.WSMsgType.PONG, b"payload")
