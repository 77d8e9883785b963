"""Handshakes: which clients are accepted, with which status, and the events for the `$connect` function."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from samsocket.api import Integration, Route, Throttle
from samsocket.settings import MESSAGE_BYTES
from tests.support.gateways import DEADLINE, FunctionError, sample_api, without

if TYPE_CHECKING:
    from tests.support.gateways import FakeAws, RunningGateway, Starter

HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize("path", ["/ws/feed", "/feed", "/ws/feed/", "/feed/", "/_aws/execute-api/realtime/feed"])
async def test_a_client_connects_to_a_stage_by_each_of_its_urls(
    gateway: RunningGateway, aws: FakeAws, path: str
) -> None:
    await gateway.connect(f"{path}?token=t")
    event = await aws.event("CONNECT")
    assert event["requestContext"]["stage"] == "feed"


async def test_the_prefix_of_the_mapping_keys_can_be_set(start: Starter) -> None:
    gateway = await start(url_prefix="live/v1/")
    await gateway.connect("/live/v1/feed")
    assert (await gateway.refused("/ws/feed")).status == 403


@pytest.mark.parametrize("path", ["/ws/nowhere", "/nowhere", "/ws/feed/more", "/feed/more", "/", "/ws", "/ws/feed//"])
async def test_an_unknown_stage_and_a_path_below_a_stage_are_forbidden(
    gateway: RunningGateway, aws: FakeAws, path: str
) -> None:
    assert (await gateway.refused(path)).status == 403
    assert aws.events == []


@pytest.mark.parametrize("status", [301, 400, 401, 403, 429, 500, 501])
async def test_a_refused_handshake_keeps_the_functions_status(
    gateway: RunningGateway, aws: FakeAws, status: int
) -> None:
    aws.functions["connect"] = lambda _: {"statusCode": status, "body": "not passed on"}
    url = gateway.url + "/ws/feed"
    async with gateway.client.get(url, headers=HANDSHAKE, allow_redirects=False) as response:
        assert (response.status, await response.read()) == (status, b"")
    assert await gateway.connections() == []


@pytest.mark.parametrize("status", [200, 201, 204, "200"])
async def test_any_status_of_success_lets_the_client_in(
    gateway: RunningGateway, aws: FakeAws, status: int | str
) -> None:
    aws.functions["connect"] = lambda _: {"statusCode": status}
    await gateway.connect()


def fail(_: dict[str, Any]) -> None:
    raise FunctionError("boom")


@pytest.mark.parametrize(
    "function",
    [
        fail,
        lambda _: None,
        lambda _: "ok",
        lambda _: {},
        lambda _: {"statusCode": "ok"},
        lambda _: {"statusCode": 99},
        lambda _: {"statusCode": True},
        lambda _: {"statusCode": 200, "body": {"a": 1}},
        lambda _: {"statusCode": 200, "headers": "x"},
    ],
)
async def test_a_function_that_fails_or_returns_no_proxy_response_is_a_502(
    gateway: RunningGateway, aws: FakeAws, function: Any
) -> None:
    aws.functions["connect"] = function
    assert (await gateway.refused()).status == 502


async def test_a_function_slower_than_its_integrations_timeout_is_a_504(start: Starter, aws: FakeAws) -> None:
    slow = Route(key="$connect", integration=Integration(function="connect", timeout=0.05))
    gateway = await start(sample_api(routes={"$connect": slow}))
    aws.functions["connect"] = lambda _: asyncio.Event().wait()
    assert (await gateway.refused()).status == 504


@pytest.mark.parametrize("invoke_status", [403, 404, 429, 500])
async def test_a_function_that_lambda_does_not_run_is_a_500(
    gateway: RunningGateway, aws: FakeAws, invoke_status: int
) -> None:
    aws.invoke_status = invoke_status
    assert (await gateway.refused()).status == 500


async def test_an_emulator_that_is_gone_is_a_500(start: Starter, aws: FakeAws) -> None:
    aws.endpoint_url = "http://127.0.0.1:1"
    gateway = await start()
    assert (await gateway.refused()).status == 500


async def test_without_a_connect_route_everybody_is_let_in(start: Starter, aws: FakeAws) -> None:
    gateway = await start(without("$connect"))
    client = await gateway.connect()
    await client.send("hello")
    assert await client.receive() == "echo hello"
    assert [event["requestContext"]["eventType"] for event in aws.events] == ["MESSAGE"]


async def test_a_mock_integration_lets_everybody_in(start: Starter, aws: FakeAws) -> None:
    gateway = await start(sample_api(routes={"$connect": Route(key="$connect", integration=Integration(kind="MOCK"))}))
    await gateway.connect()
    assert aws.events == []


async def test_an_integration_that_is_not_served_is_a_500(start: Starter) -> None:
    http = Route(key="$connect", integration=Integration(kind="HTTP_PROXY"))
    gateway = await start(sample_api(routes={"$connect": http}))
    assert (await gateway.refused()).status == 500


async def test_the_subprotocol_that_the_function_returns_is_answered(gateway: RunningGateway, aws: FakeAws) -> None:
    aws.functions["connect"] = lambda _: {"statusCode": 200, "headers": {"sec-websocket-PROTOCOL": " bearer "}}
    client = await gateway.connect(protocols=["bearer", "token"])
    assert client.websocket.protocol == "bearer"


async def test_a_subprotocol_that_the_function_does_not_return_is_not_answered(gateway: RunningGateway) -> None:
    client = await gateway.connect(protocols=["bearer", "token"])
    assert client.websocket.protocol is None


async def test_compression_is_negotiated_with_a_client_that_offers_it(start: Starter) -> None:
    gateway = await start(settings={"post_frame_bytes": MESSAGE_BYTES})
    client, plain = await gateway.connect(compress=15, max_msg_size=0), await gateway.connect()
    assert (client.websocket.compress, plain.websocket.compress) == (15, 0)
    text = "a" * 20_000
    await client.send(text)
    assert await client.receive() == f"echo {text}"
    for other in (client, plain):
        await gateway.post(other.connection_id, text)
        assert await other.receive() == text


async def test_compression_can_be_switched_off(start: Starter) -> None:
    gateway = await start(settings={"compression": False})
    client = await gateway.connect(compress=15)
    assert client.websocket.compress == 0


async def test_a_message_is_measured_after_it_is_decompressed(gateway: RunningGateway, aws: FakeAws) -> None:
    aws.functions["default"] = lambda event: {"statusCode": 200, "body": str(len(event["body"]))}
    client = await gateway.connect(compress=15)
    await client.send("a" * MESSAGE_BYTES)
    assert await client.receive() == str(MESSAGE_BYTES)
    await client.send("a" * (MESSAGE_BYTES + 1_000))
    assert (await client.closed())[0] == 1009
    assert (await aws.event("DISCONNECT"))["requestContext"]["disconnectStatusCode"] == 1009


async def test_headers_of_more_than_10_kb_are_refused_and_cookies_are_passed_on(
    gateway: RunningGateway, aws: FakeAws
) -> None:
    await gateway.connect("/feed", headers={"Cookie": "a=1; b=2"})
    assert aws.events[0]["headers"]["Cookie"] == "a=1; b=2"
    assert aws.events[0]["multiValueHeaders"]["Cookie"] == ["a=1; b=2"]
    await gateway.connect("/feed", headers={"Cookie": "a" * 8_000})
    refused = await gateway.refused("/feed", headers={"Cookie": "a" * 8_000, "X-More": "b" * 3_000})
    assert refused.status == 431
    assert len(aws.events) == 2


async def test_other_headers_of_the_functions_answer_are_not_passed_on(gateway: RunningGateway, aws: FakeAws) -> None:
    aws.functions["connect"] = lambda _: {"statusCode": 200, "headers": {"Set-Cookie": "a=1", "X-Mine": "x"}}
    client = await gateway.connect()
    answered = client.websocket._response.headers
    assert "Set-Cookie" not in answered
    assert "X-Mine" not in answered


async def test_a_url_over_4096_characters_is_refused_before_any_function_runs(
    gateway: RunningGateway, aws: FakeAws
) -> None:
    path = "/ws/feed?token="
    assert (await gateway.refused(path + "a" * (4097 - len(path)))).status == 414
    assert aws.events == []
    await gateway.connect(path + "a" * (4096 - len(path)))


async def test_new_connections_over_the_rate_are_throttled(start: Starter) -> None:
    gateway = await start(settings={"connects_per_second": 0.001})
    assert (await gateway.refused()).status == 429
    await gateway.control("PATCH", "settings", json={"connects_per_second": 500})
    await gateway.connect()


async def test_handshakes_take_from_the_accounts_bucket(start: Starter) -> None:
    gateway = await start(settings={"requests_per_second": 0.001, "requests_burst": 1})
    await gateway.connect()
    assert (await gateway.refused()).status == 429


async def test_a_routes_own_throttle_refuses_handshakes_of_that_stage(start: Starter) -> None:
    gateway = await start(sample_api(throttles={("feed", "$connect"): Throttle(rate=0.001, burst=1)}))
    await gateway.connect("/ws/feed")
    assert (await gateway.refused("/ws/feed")).status == 429
    await gateway.connect("/ws/calls")


async def test_a_request_without_an_upgrade_is_a_426(gateway: RunningGateway, aws: FakeAws) -> None:
    async with gateway.client.get(gateway.url + "/ws/feed") as response:
        assert (response.status, response.headers["Upgrade"]) == (426, "websocket")
    assert aws.events == []


@pytest.mark.parametrize("broken", ["Sec-WebSocket-Key", "Sec-WebSocket-Version"])
async def test_an_incomplete_handshake_is_a_400(gateway: RunningGateway, aws: FakeAws, broken: str) -> None:
    headers = {name: value for name, value in HANDSHAKE.items() if name != broken}
    async with gateway.client.get(gateway.url + "/ws/feed", headers=headers) as response:
        assert response.status == 400
    assert aws.events == []


async def test_the_connect_event_has_the_keys_and_shapes_that_aws_prints(gateway: RunningGateway, aws: FakeAws) -> None:
    before = int(time.time() * 1000)
    await gateway.connect("/feed?token=t", headers={"User-Agent": "tests"})
    event = await aws.event("CONNECT")
    assert set(event) == {
        "headers",
        "multiValueHeaders",
        "queryStringParameters",
        "multiValueQueryStringParameters",
        "requestContext",
        "isBase64Encoded",
    }
    assert event["isBase64Encoded"] is False
    context = event["requestContext"]
    assert set(context) == {
        "routeKey",
        "eventType",
        "extendedRequestId",
        "requestTime",
        "messageDirection",
        "stage",
        "connectedAt",
        "requestTimeEpoch",
        "identity",
        "requestId",
        "domainName",
        "connectionId",
        "apiId",
    }
    assert (context["routeKey"], context["messageDirection"], context["apiId"]) == ("$connect", "IN", "realtime")
    assert context["requestId"] == context["extendedRequestId"]
    assert context["identity"] == {"userAgent": "tests", "sourceIp": "127.0.0.1"}
    assert context["domainName"] == f"127.0.0.1:{gateway.port}"
    assert before <= context["connectedAt"] <= context["requestTimeEpoch"]
    time.strptime(context["requestTime"], "%d/%b/%Y:%H:%M:%S +0000")


async def test_connection_ids_must_be_encoded_in_urls(gateway: RunningGateway, aws: FakeAws) -> None:
    clients = [await gateway.connect() for _ in range(5)]
    for client in clients:
        assert client.connection_id.endswith("=")
        assert len(base64.urlsafe_b64decode(client.connection_id)) == 11
    assert len({client.connection_id for client in clients}) == 5


async def test_the_function_sees_the_clients_headers_and_those_that_api_gateway_adds(
    gateway: RunningGateway, aws: FakeAws
) -> None:
    headers = [("Authorization", "Bearer x"), ("X-Twice", "one"), ("X-Twice", "two")]
    await gateway.connect("/feed", headers=headers)
    event = await aws.event("CONNECT")
    assert event["headers"]["Authorization"] == "Bearer x"
    assert event["headers"]["X-Twice"] == "two"
    assert event["multiValueHeaders"]["X-Twice"] == ["one", "two"]
    assert event["headers"]["X-Forwarded-For"] == "127.0.0.1"
    assert event["headers"]["X-Forwarded-Port"] == str(gateway.port)
    assert event["headers"]["X-Forwarded-Proto"] == "http"
    assert event["headers"]["X-Amzn-Trace-Id"].startswith("Root=1-")
    assert event["headers"]["Host"] == f"127.0.0.1:{gateway.port}"
    assert not {name.lower() for name in event["headers"]} & {"connection", "upgrade"}
    assert set(event["headers"]) == set(event["multiValueHeaders"])


async def test_multi_level_mapping_keys_lower_the_case_of_header_names(gateway: RunningGateway, aws: FakeAws) -> None:
    await gateway.connect("/ws/feed", headers={"X-Mixed-Case": "Value"})
    event = await aws.event("CONNECT")
    assert event["headers"]["x-mixed-case"] == "Value"
    assert all(name == name.lower() for name in event["headers"])


async def test_the_query_string_is_decoded_with_single_and_multiple_values(
    gateway: RunningGateway, aws: FakeAws
) -> None:
    url = URL(f"{gateway.url}/ws/feed?types=a%2Cb&watch=1&watch=2&empty=&plus=a+b", encoded=True)
    await gateway.open(url)
    event = await aws.event("CONNECT")
    assert event["queryStringParameters"] == {"types": "a,b", "watch": "2", "empty": "", "plus": "a b"}
    assert event["multiValueQueryStringParameters"]["watch"] == ["1", "2"]


async def test_without_a_query_string_the_event_has_no_such_key(gateway: RunningGateway, aws: FakeAws) -> None:
    await gateway.connect("/ws/feed")
    assert "queryStringParameters" not in await aws.event("CONNECT")


async def test_stage_variables_reach_the_function(start: Starter, aws: FakeAws) -> None:
    gateway = await start(sample_api(stages={"feed": {"level": "3"}}))
    await gateway.connect()
    assert (await aws.event("CONNECT"))["stageVariables"] == {"level": "3"}


async def test_a_client_that_left_during_connect_is_reported_as_disconnected(
    gateway: RunningGateway, aws: FakeAws
) -> None:
    left = asyncio.Event()

    async def connect(_: dict[str, Any]) -> dict[str, int]:
        await left.wait()
        return {"statusCode": 200}

    aws.functions["connect"] = connect
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    lines = [
        "GET /ws/feed HTTP/1.1",
        "Host: localhost",
        *(f"{name}: {value}" for name, value in HANDSHAKE.items()),
        "",
        "",
    ]
    writer.write("\r\n".join(lines).encode())
    await aws.event("CONNECT")
    writer.transport.abort()
    # The gateway notices on its own loop turn: this request is served after it.
    await gateway.control("GET", "health")
    left.set()
    event = await aws.event("DISCONNECT")
    assert event["requestContext"]["disconnectStatusCode"] == 1006


async def test_neither_tokens_nor_query_strings_nor_headers_are_logged(
    gateway: RunningGateway, aws: FakeAws, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "s3cr3t-token"
    caplog.set_level(logging.DEBUG)
    client = await gateway.connect(
        f"/ws/feed?token={secret}", protocols=["bearer", secret], headers={"Authorization": secret}
    )
    await client.send("hello")
    await client.receive()
    await client.close()
    await aws.event("DISCONNECT")
    aws.functions["connect"] = fail
    await gateway.refused(f"/ws/feed?token={secret}", protocols=["bearer", secret])
    await gateway.refused(f"/ws/nowhere?token={secret}")
    logged = "\n".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records)
    assert "$connect 200" in logged
    assert secret not in logged


@pytest.mark.parametrize("line", ["GET /ws/feed?token={} HTTP/1.1", "GET /ws/feed HTTP/1.1\r\nAuthorization: {}"])
async def test_a_request_that_cannot_be_parsed_is_not_logged_either(
    gateway: RunningGateway, caplog: pytest.LogCaptureFixture, line: str
) -> None:
    caplog.set_level(logging.DEBUG)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write((line.format("s3cr3t-token" * 3000) + "\r\n\r\n").encode())
    async with asyncio.timeout(DEADLINE):
        answer = await reader.read()
    assert answer.split()[1] == b"400"
    assert b"s3cr3t" not in answer
    assert "bad request from 127.0.0.1" in caplog.text
    assert "s3cr3t" not in caplog.text
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_second_client_connects_while_the_functions_of_a_first_still_run(
    gateway: RunningGateway, aws: FakeAws
) -> None:
    release = asyncio.Event()

    async def connect(event: dict[str, Any]) -> dict[str, int]:
        if event["requestContext"]["stage"] == "feed":
            await release.wait()
        return {"statusCode": 200}

    aws.functions["connect"] = connect
    first = asyncio.create_task(gateway.open("/ws/feed"))
    await aws.event("CONNECT")
    await gateway.open("/ws/calls")
    release.set()
    async with asyncio.timeout(DEADLINE):
        await first
