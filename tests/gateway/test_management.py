"""`@connections`: the requests of backends for a connection, and the rights that they need."""

from __future__ import annotations

import asyncio
import os
import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import botocore.session
import pytest
from yarl import URL

from samsocket.settings import FRAME_BYTES, MESSAGE_BYTES
from tests.support.gateways import DEADLINE

if TYPE_CHECKING:
    from aiohttp import web

    from tests.support.gateways import FakeAws, RunningGateway, Starter


@pytest.mark.parametrize("plain", [False, True])
async def test_a_post_reaches_its_client_by_both_paths(gateway: RunningGateway, plain: bool) -> None:
    client = await gateway.connect()
    answer = await gateway.post(client.connection_id, '{"type": "pong"}', plain=plain)
    assert (answer.status, answer.body) == (200, b"")
    assert await client.receive() == '{"type": "pong"}'


@pytest.mark.parametrize("base", ["", "/_aws/execute-api/realtime"])
async def test_a_second_slash_before_connections_does_not_matter(gateway: RunningGateway, base: str) -> None:
    client = await gateway.connect()
    url = f"{gateway.url}{base}/feed//@connections/{quote(client.connection_id, safe='')}"
    async with gateway.client.post(URL(url, encoded=True), data=b"hello") as response:
        assert response.status == 200
    assert await client.receive() == "hello"


async def test_posts_arrive_in_order(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    for number in range(100):
        await gateway.post(client.connection_id, str(number))
    assert [await client.receive() for _ in range(100)] == [str(number) for number in range(100)]


async def test_a_post_that_is_not_utf_8_is_sent_with_replacement_characters(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    await gateway.post(client.connection_id, b"a\xffb")
    assert await client.receive() == "a\ufffdb"


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("connection_id", ["AAAAAAAAAAAAAAA=", "-_3x4y5z6a7b8c9="])
async def test_an_unknown_connection_is_gone(gateway: RunningGateway, method: str, connection_id: str) -> None:
    answer = await gateway.manage(method, connection_id)
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (410, "GoneException")


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("connection_id", ["nonsense", "x", "AAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAA=", "ü"])
async def test_a_connection_id_of_the_wrong_form_is_a_bad_request(
    gateway: RunningGateway, method: str, connection_id: str
) -> None:
    answer = await gateway.manage(method, connection_id)
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (400, "BadRequestException")


async def test_a_connection_of_another_stage_is_gone(gateway: RunningGateway) -> None:
    client = await gateway.connect("/ws/feed")
    assert (await gateway.post(client.connection_id, "x", stage="calls")).status == 410
    assert (await gateway.post(client.connection_id, "x", stage="feed")).status == 200


async def test_a_connection_that_was_closed_is_gone(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    await client.close()
    await aws.event("DISCONNECT")
    assert (await gateway.post(client.connection_id, "x")).status == 410


async def test_a_post_during_connect_is_gone(gateway: RunningGateway, aws: FakeAws) -> None:
    statuses = []

    async def connect(event: dict[str, Any]) -> dict[str, int]:
        statuses.append((await gateway.post(event["requestContext"]["connectionId"], "too early")).status)
        return {"statusCode": 200}

    aws.functions["connect"] = connect
    client = await gateway.connect()
    assert statuses == [410]
    assert (await gateway.post(client.connection_id, "now")).status == 200


@pytest.mark.parametrize("stage", ["nowhere", "feed/more", ""])
async def test_an_unknown_stage_is_forbidden(gateway: RunningGateway, stage: str) -> None:
    client = await gateway.connect()
    assert (await gateway.post(client.connection_id, "x", stage=stage)).status == 403


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS"])
async def test_other_methods_are_forbidden(gateway: RunningGateway, method: str) -> None:
    client = await gateway.connect()
    assert (await gateway.manage(method, client.connection_id)).status == 403


async def test_a_post_of_more_than_32_kb_closes_its_connection_with_1009(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    assert (await gateway.post(client.connection_id, b"a" * FRAME_BYTES)).status == 200
    assert await client.receive() == "a" * FRAME_BYTES
    assert (await gateway.post(client.connection_id, b"a" * (FRAME_BYTES + 1))).status == 200
    assert (await client.closed())[0] == 1009
    assert (await aws.event("DISCONNECT"))["requestContext"]["disconnectStatusCode"] == 1009
    assert (await gateway.post(client.connection_id, b"a")).status == 410


async def test_128_kb_are_accepted_and_a_byte_more_is_too_large(start: Starter) -> None:
    gateway = await start(settings={"post_frame_bytes": MESSAGE_BYTES})
    client = await gateway.connect(max_msg_size=0)
    assert (await gateway.post(client.connection_id, b"a" * MESSAGE_BYTES)).status == 200
    assert await client.receive() == "a" * MESSAGE_BYTES
    answer = await gateway.post(client.connection_id, b"a" * (MESSAGE_BYTES + 1))
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (413, "PayloadTooLargeException")


@pytest.mark.parametrize("size", [MESSAGE_BYTES + 1, 3 * 1024 * 1024])
async def test_a_body_without_a_content_length_is_measured(gateway: RunningGateway, size: int) -> None:
    async def chunks() -> Any:
        for start in range(0, size, 60_000):
            yield b"a" * min(60_000, size - start)

    client = await gateway.connect()
    url = gateway.management_url(client.connection_id)
    async with gateway.client.post(url, data=chunks()) as response:
        assert response.status == 413


async def test_a_client_that_does_not_read_is_429_while_others_are_served(start: Starter) -> None:
    gateway = await start(settings={"buffer_bytes": 100_000})
    lazy, other = await gateway.connect(), await gateway.connect()
    lazy.websocket._response.connection.protocol.pause_reading()  # type: ignore[union-attr]
    payload = os.urandom(16_000).hex()
    async with asyncio.timeout(DEADLINE):
        while (answer := await gateway.post(lazy.connection_id, payload)).status == 200:
            pass
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (429, "LimitExceededException")
    assert (await gateway.post(other.connection_id, "x")).status == 200
    assert await other.receive() == "x"
    lazy.websocket._response.connection.protocol.resume_reading()  # type: ignore[union-attr]
    assert await lazy.receive() == payload

    async def served_again() -> bool:
        return (await gateway.post(lazy.connection_id, "x")).status == 200

    await gateway.until(served_again)


async def test_requests_over_the_accounts_rate_are_429(start: Starter) -> None:
    gateway = await start(settings={"requests_per_second": 0.001, "requests_burst": 3})
    client = await gateway.connect()  # takes one, too
    answers = [await gateway.post(client.connection_id, "x") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].headers["x-amzn-ErrorType"] == "LimitExceededException"


async def test_get_returns_the_connect_time_the_identity_and_the_last_activity(
    gateway: RunningGateway, aws: FakeAws
) -> None:
    client = await gateway.connect(headers={"User-Agent": "tests"})
    before = (await gateway.manage("GET", client.connection_id)).json()
    assert set(before) == {"connectedAt", "identity", "lastActiveAt"}
    assert before["identity"] == {"sourceIp": "127.0.0.1", "userAgent": "tests"}
    connected_at = (await aws.event("CONNECT"))["requestContext"]["connectedAt"]
    assert datetime.strptime(before["connectedAt"], "%Y-%m-%dT%H:%M:%S.%f%z") == datetime.fromtimestamp(
        connected_at / 1000, UTC
    )

    async def later() -> bool:
        await client.send('{"action": "note"}')
        after = (await gateway.manage("GET", client.connection_id)).json()
        assert after["connectedAt"] == before["connectedAt"]
        return bool(after["lastActiveAt"] > before["lastActiveAt"])

    await gateway.until(later)


async def test_delete_closes_with_1000_and_invokes_disconnect(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    answer = await gateway.manage("DELETE", client.connection_id)
    assert (answer.status, answer.body) == (204, b"")
    assert (await gateway.post(client.connection_id, "x")).status == 410
    assert await client.closed() == (1000, "")
    assert (await aws.event("DISCONNECT"))["requestContext"]["disconnectStatusCode"] == 1000


async def test_a_message_posted_before_a_delete_still_arrives(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    await gateway.post(client.connection_id, "last words")
    await gateway.manage("DELETE", client.connection_id)
    assert await client.receive() == "last words"
    assert await client.closed() == (1000, "")


async def test_a_client_that_waits_for_100_continue_gets_it(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    url = gateway.management_url(client.connection_id)
    async with gateway.client.post(url, data=b"x", expect100=True) as response:
        assert response.status == 200
    assert await client.receive() == "x"


async def test_a_client_keeps_its_connection_from_post_to_post_until_it_wants_it_closed(
    gateway: RunningGateway,
) -> None:
    client = await gateway.connect()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    path = f"/feed/@connections/{quote(client.connection_id, safe='')}"
    for number, wish in enumerate(["", "", "Connection: close\r\n"]):
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n{wish}Content-Length: 1\r\n\r\n"
        writer.write(f"{head}{number}".encode())
        async with asyncio.timeout(DEADLINE):
            status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = dict(line.split(": ", 1) for line in lines if line)
        assert status == "HTTP/1.1 200 OK"
        assert abs(parsedate_to_datetime(headers.pop("Date")).timestamp() - time.time()) < 60
        assert re.fullmatch(r"[\w-]{15}=", headers.pop("x-amzn-RequestId"))
        assert headers == {"Content-Length": "0"} | ({"Connection": "close"} if wish else {})
        assert await client.receive() == str(number)
    async with asyncio.timeout(DEADLINE):
        assert await reader.read() == b""
    writer.close()


async def test_the_sdk_reads_answers_and_errors_as_from_aws(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    sdk: Any = botocore.session.Session().create_client(
        "apigatewaymanagementapi",
        region_name="us-east-1",
        endpoint_url=f"{gateway.url}/_aws/execute-api/realtime/feed",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )

    def use() -> dict[str, Any]:
        sdk.post_to_connection(ConnectionId=client.connection_id, Data=b"from the SDK")
        found: dict[str, Any] = sdk.get_connection(ConnectionId=client.connection_id)
        sdk.delete_connection(ConnectionId=client.connection_id)
        with pytest.raises(sdk.exceptions.GoneException):
            sdk.post_to_connection(ConnectionId=client.connection_id, Data=b"x")
        with pytest.raises(sdk.exceptions.PayloadTooLargeException):
            sdk.post_to_connection(ConnectionId=client.connection_id, Data=b"x" * (MESSAGE_BYTES + 1))
        return found

    found = await asyncio.to_thread(use)
    assert found["Identity"]["SourceIp"] == "127.0.0.1"
    assert found["ConnectedAt"] <= found["LastActiveAt"]
    assert await client.receive() == "from the SDK"


def denies_key(name: str) -> Any:
    def enforces(request: web.BaseRequest) -> bool:
        return f"Credential={name}/" in request.headers.get("Authorization", "")

    return enforces


def signed(key: str) -> dict[str, str]:
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/execute-api/aws4_request, x=y"}


async def test_the_emulators_refusal_is_passed_on_in_awss_shape(gateway: RunningGateway, aws: FakeAws) -> None:
    aws.enforces = denies_key("BAD")
    client = await gateway.connect()
    url = gateway.management_url(client.connection_id)
    async with gateway.client.post(url, data=b"x", headers=signed("BAD")) as response:
        assert response.status == 403
        assert response.headers["x-amzn-ErrorType"] == "AccessDeniedException"
        assert "is not authorized" in (await response.json())["Message"]
    async with gateway.client.post(url, data=b"x", headers=signed("GOOD")) as response:
        assert response.status == 200


async def test_the_emulator_gets_the_request_as_it_came(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    aws.requests.clear()
    url = gateway.management_url(client.connection_id)
    headers = {**signed("KEY"), "X-Amz-Date": "20260101T000000Z", "X-Amz-Security-Token": "session"}
    async with gateway.client.post(url, data=b"body", headers=headers) as response:
        assert response.status == 200
    [(method, path, shown, body)] = aws.requests
    assert (method, body) == ("POST", b"body")
    assert path == url.raw_path
    assert shown.items() >= {**headers, "Host": f"127.0.0.1:{gateway.port}"}.items()


@pytest.mark.parametrize(("headers", "asked"), [({}, 2), (signed("A"), 6)])
async def test_a_granted_right_is_remembered_for_each_method_unless_the_next_signature_may_be_wrong(
    gateway: RunningGateway, aws: FakeAws, headers: dict[str, str], asked: int
) -> None:
    client = await gateway.connect()
    aws.requests.clear()
    for method in ("POST", "GET") * 3:
        url = gateway.management_url(client.connection_id)
        async with gateway.client.request(method, url, data=b"x", headers=headers) as response:
            assert response.status == 200
    assert len(aws.requests) == asked


async def test_an_emulator_that_fails_grants_nothing(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    aws.failing = 503
    for plain in (False, True):
        assert (await gateway.post(client.connection_id, "x", plain=plain)).status == 500
    aws.failing = None
    assert (await gateway.post(client.connection_id, "x")).status == 200


async def test_a_burst_of_requests_checks_the_right_once(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    aws.requests.clear()
    answers = await asyncio.gather(*(gateway.post(client.connection_id, "x") for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert len(aws.requests) == 1


async def test_a_denied_right_is_checked_again(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    url = gateway.management_url(client.connection_id)
    aws.enforces = lambda _: True
    async with gateway.client.post(url, data=b"x", headers=signed("KEY")) as response:
        assert response.status == 403
    aws.enforces = lambda _: False
    async with gateway.client.post(url, data=b"x", headers=signed("KEY")) as response:
        assert response.status == 200


async def test_a_path_that_an_enforcing_emulator_cannot_judge_is_forbidden(
    gateway: RunningGateway, aws: FakeAws
) -> None:
    aws.enforces = lambda request: "Authorization" not in request.headers
    client = await gateway.connect()
    url = gateway.management_url(client.connection_id, plain=True)
    async with gateway.client.post(url, data=b"x", headers=signed("KEY")) as response:
        assert response.status == 403
        assert "/_aws/execute-api/realtime/feed" in (await response.json())["message"]


async def test_an_emulator_that_cannot_be_asked_is_an_internal_error(start: Starter, aws: FakeAws) -> None:
    aws.endpoint_url = "http://127.0.0.1:1"
    gateway = await start()
    assert (await gateway.post("AAAAAAAAAAAAAAA=", "x")).status == 500
