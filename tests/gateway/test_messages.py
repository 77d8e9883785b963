"""A client's messages: which function gets them, and what the client gets back."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from samsocket.api import Integration, Route, Throttle
from samsocket.settings import MESSAGE_BYTES
from tests.support.gateways import FunctionError, sample_api, without

if TYPE_CHECKING:
    from tests.support.gateways import FakeAws, RunningGateway, Starter


async def test_a_route_with_a_selected_route_response_answers_the_client(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    await client.send('{"type": "ping"}')
    assert await client.receive() == 'echo {"type": "ping"}'


async def test_a_route_without_a_response_sends_nothing_to_the_client(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    await client.send('{"action": "note"}')
    await aws.event("MESSAGE")
    await client.send("hello")
    assert await client.receive() == "echo hello"


@pytest.mark.parametrize("status", [200, 301, 401, 501])
async def test_the_status_of_an_answer_to_a_message_does_not_matter(
    gateway: RunningGateway, aws: FakeAws, status: int
) -> None:
    aws.functions["default"] = lambda _: {"statusCode": status, "body": "answer"}
    client = await gateway.connect()
    await client.send("hello")
    assert await client.receive() == "answer"


@pytest.mark.parametrize("answer", [{"statusCode": 200}, {"statusCode": 200, "body": None}])
async def test_an_answer_without_a_body_is_an_empty_frame(
    gateway: RunningGateway, aws: FakeAws, answer: dict[str, Any]
) -> None:
    aws.functions["default"] = lambda _: answer
    client = await gateway.connect()
    await client.send("hello")
    assert await client.receive() == ""


async def test_a_message_over_the_accounts_rate_closes_its_connection_with_1008(start: Starter, aws: FakeAws) -> None:
    gateway = await start(settings={"requests_per_second": 0.001, "requests_burst": 3})
    client, other = await gateway.connect(), await gateway.connect()
    await client.send("in time")
    assert await client.receive() == "echo in time"
    await client.send("too much")
    assert (await client.closed())[0] == 1008
    assert (await aws.event("DISCONNECT"))["requestContext"]["disconnectStatusCode"] == 1008
    assert [event["body"] for event in aws.events if "body" in event] == ["in time"]
    assert [row["connection_id"] for row in await gateway.connections()] == [other.connection_id]


async def test_a_routes_own_throttle_applies_to_that_route_alone(start: Starter) -> None:
    gateway = await start(sample_api(throttles={("feed", "note"): Throttle(rate=0.001, burst=1)}))
    client = await gateway.connect()
    await client.send('{"action": "note"}')
    await client.send("hello")
    assert await client.receive() == "echo hello"
    await client.send('{"action": "note"}')
    assert (await client.closed())[0] == 1008


async def test_the_message_event_has_the_keys_and_shapes_that_aws_sends(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect("/ws/feed?token=t")
    await client.send('{"action": "note"}')
    event = await aws.event("MESSAGE")
    assert set(event) == {"requestContext", "body", "isBase64Encoded"}
    assert event["body"] == '{"action": "note"}'
    context, connect = event["requestContext"], (await aws.event("CONNECT"))["requestContext"]
    assert set(context) == {*connect, "messageId"}
    assert context["routeKey"] == "note"
    assert context["messageId"] not in (context["requestId"], connect["requestId"])
    for same in ("connectionId", "stage", "apiId", "domainName", "identity"):
        assert context[same] == connect[same]


async def test_connected_at_is_the_same_in_every_event(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    await client.send("one")
    await client.receive()
    await client.close()
    await aws.event("DISCONNECT")
    assert len({event["requestContext"]["connectedAt"] for event in aws.events}) == 1
    assert len({event["requestContext"]["requestId"] for event in aws.events}) == 3


async def test_messages_of_one_connection_run_in_parallel(gateway: RunningGateway, aws: FakeAws) -> None:
    second_came = asyncio.Event()

    async def default(event: dict[str, Any]) -> dict[str, Any]:
        if event["body"] == "first":
            await second_came.wait()
        else:
            second_came.set()
        return {"statusCode": 200, "body": event["body"]}

    aws.functions["default"] = default
    client = await gateway.connect()
    await client.send("first")
    await aws.event("MESSAGE", body="first")
    await client.send("second")
    assert {await client.receive(), await client.receive()} == {"first", "second"}


async def test_concurrent_invocations_of_one_function_are_limited(start: Starter, aws: FakeAws) -> None:
    gateway = await start(concurrency=2)
    release = asyncio.Event()

    async def default(event: dict[str, Any]) -> dict[str, Any]:
        await release.wait()
        return {"statusCode": 200, "body": event["body"]}

    aws.functions["default"] = default
    client = await gateway.connect()
    for number in range(20):
        await client.send(str(number))
    await client.send('{"action": "note"}')  # another function, which does not wait for this one
    await aws.event("MESSAGE", body='{"action": "note"}')
    assert len([event for event in aws.events if event.get("body", "").isdecimal()]) == 2
    release.set()
    assert {await client.receive() for _ in range(20)} == {str(number) for number in range(20)}


def fail(_: dict[str, Any]) -> None:
    raise FunctionError("boom")


@pytest.mark.parametrize("function", [fail, lambda _: None, lambda _: {"body": "no status"}])
@pytest.mark.parametrize("message", ["hello", '{"action": "note"}'])
async def test_an_integration_that_fails_sends_the_error_frame_of_aws(
    gateway: RunningGateway, aws: FakeAws, function: Any, message: str
) -> None:
    aws.functions.update(default=function, note=function)
    client = await gateway.connect()
    await client.send(message)
    frame = await client.receive()
    request_id = (await aws.event("MESSAGE"))["requestContext"]["requestId"]
    assert frame == (
        f'{{"message": "Internal server error", "connectionId":"{client.connection_id}", "requestId":"{request_id}"}}'
    )


async def test_the_connection_lives_on_after_an_error_frame(gateway: RunningGateway, aws: FakeAws) -> None:
    echo, aws.functions["default"] = aws.functions["default"], fail
    client = await gateway.connect()
    await client.send("hello")
    await client.receive()
    aws.functions["default"] = echo
    await client.send("again")
    assert await client.receive() == "echo again"


async def test_an_integration_that_is_too_slow_sends_a_frame_that_says_so(start: Starter, aws: FakeAws) -> None:
    slow = Route(key="$default", integration=Integration(function="default", timeout=0.05))
    gateway = await start(sample_api(routes={"$default": slow}))
    aws.functions["default"] = lambda _: asyncio.Event().wait()
    client = await gateway.connect()
    await client.send("hello")
    assert json.loads(await client.receive())["message"] == "Endpoint request timed out"


async def test_a_message_that_no_route_matches_is_answered_with_forbidden(start: Starter, aws: FakeAws) -> None:
    gateway = await start(without("$default"))
    client = await gateway.connect()
    await client.send('{"action": "nobody"}')
    frame = json.loads(await client.receive())
    assert frame["message"] == "Forbidden"
    assert frame["connectionId"] == client.connection_id
    assert set(frame) == {"message", "connectionId", "requestId"}


async def test_an_answer_for_a_client_that_left_is_dropped(gateway: RunningGateway, aws: FakeAws) -> None:
    gone = asyncio.Event()

    async def default(_: dict[str, Any]) -> dict[str, Any]:
        await gone.wait()
        return {"statusCode": 200, "body": "late"}

    aws.functions["default"] = default
    client = await gateway.connect()
    await client.send("hello")
    await aws.event("MESSAGE")
    await client.close()
    await aws.event("DISCONNECT")
    gone.set()
    other = await gateway.connect()
    assert (await gateway.post(other.connection_id, "still here")).status == 200
    assert await other.receive() == "still here"


async def test_text_of_every_kind_arrives_as_it_was_sent(gateway: RunningGateway, aws: FakeAws) -> None:
    text = 'ünï "quoted" \\ \u2028 \U0001f600 \x00'
    client = await gateway.connect()
    await client.send(text)
    assert await client.receive() == f"echo {text}"


async def test_an_answer_of_invalid_text_is_sent_with_replacement_characters(
    gateway: RunningGateway, aws: FakeAws
) -> None:
    aws.functions["default"] = lambda _: {"statusCode": 200, "body": "a\ud800b"}
    client = await gateway.connect()
    await client.send("hello")
    assert await client.receive() == "a?b"


async def test_an_empty_message_goes_to_the_default_route(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    await client.send("")
    assert await client.receive() == "echo "
    assert (await aws.event("MESSAGE"))["body"] == ""


async def test_an_answer_over_128_kb_is_an_internal_server_error(start: Starter, aws: FakeAws) -> None:
    gateway = await start()
    aws.functions["default"] = lambda event: {"statusCode": 200, "body": "a" * int(event["body"])}
    client = await gateway.connect(max_msg_size=0)
    await client.send(str(MESSAGE_BYTES))
    assert await client.receive() == "a" * MESSAGE_BYTES
    await client.send(str(MESSAGE_BYTES + 1))
    assert json.loads(await client.receive())["message"] == "Internal server error"


async def test_a_route_can_be_selected_by_a_stage_variable(start: Starter, aws: FakeAws) -> None:
    stages = {"feed": {"version": "v1"}, "calls": {}}
    routes = dict(sample_api().routes)
    routes["v1-note"] = Route(key="v1-note", integration=Integration(function="default"), two_way=True)
    expression = "${stageVariables.version}-${request.body.action}"
    gateway = await start(sample_api(stages=stages, routes=routes, selection_expression=expression))
    for path, key in [("/feed", "v1-note"), ("/calls", "$default")]:
        client = await gateway.connect(path)
        await client.send('{"action": "note"}')
        await client.receive()
        assert aws.events[-1]["requestContext"]["routeKey"] == key
