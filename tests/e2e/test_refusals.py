"""Refused clients and frames: the reason, how it is sent, and what the client may do next."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from harness.reconfiguring import reconfigured
from harness.stack import Client, Stack
from tests.e2e import documented


async def error_of(client: Client) -> dict[str, Any]:
    data: dict[str, Any] = (await client.hears("error"))["data"]
    return data


@pytest.mark.parametrize("endpoint", documented.endpoints())
async def test_a_token_is_good_for_the_endpoints_of_its_scope_alone(stack: Stack, endpoint: str) -> None:
    user = stack.new_user()
    others = [each for each in documented.endpoints() if each != endpoint]
    async with stack.connect(endpoint, user, scope=" ".join(others), settled=False) as client:
        assert (await error_of(client))["code"] == "PERMISSION_DENIED"
        assert await client.closed() == 1000
    assert not stack.is_connected(user)
    async with stack.connect(endpoint, user, scope=endpoint):
        assert stack.is_connected(user)


async def test_a_newcomer_at_the_limit_replaces_the_dead(stack: Stack) -> None:
    user, limit = stack.new_user(), int(stack.parameters["MaxConnectionsPerUser"])
    async with stack.withheld_disconnects(), AsyncExitStack() as contexts:
        for _ in range(limit):
            await contexts.enter_async_context(stack.connect("calls", user))
        before = set(stack.connection_ids(user))
        dead = sorted(before)[0]
        await stack.kill(dead)
        stack.change_session(dead, lease_until=1)
        newcomer = await contexts.enter_async_context(stack.connect("feed", user))
        await newcomer.pings()
        after = set(stack.connection_ids(user))
        assert (len(after), before - after) == (limit, {dead})
        assert not stack.connection(dead)


async def test_at_the_limit_a_living_connection_that_makes_room_is_told_and_closed(stack: Stack) -> None:
    user, limit = stack.new_user(), int(stack.parameters["MaxConnectionsPerUser"])
    async with AsyncExitStack() as contexts:
        oldest, *_ = [await contexts.enter_async_context(stack.connect("calls", user)) for _ in range(limit)]
        async with stack.connect("calls", user) as newcomer:
            assert await error_of(oldest) == {"code": "CONNECTION_LIMIT", "message": "Replaced by a newer connection"}
            assert await oldest.closed() == 1000
            await newcomer.pings()


async def test_with_the_policy_reject_a_connection_over_the_limit_is_refused_and_the_others_stay(stack: Stack) -> None:
    user, limit = stack.new_user(), int(stack.parameters["MaxConnectionsPerUser"])
    with reconfigured(stack, "Connect", MAX_CONNECTIONS_POLICY="reject"):
        await refuses_one_too_many(stack, user, limit)


async def refuses_one_too_many(stack: Stack, user: int, limit: int) -> None:
    async with AsyncExitStack() as contexts:
        clients = [await contexts.enter_async_context(stack.connect("calls", user)) for _ in range(limit)]
        async with stack.connect("feed", user, settled=False) as one_too_many:
            assert (await error_of(one_too_many))["code"] == "CONNECTION_LIMIT"
            assert await one_too_many.closed() == 1000
        for client in clients:
            await client.pings()
        assert len(stack.connection_ids(user)) == limit


async def test_a_flood_is_refused_and_served_again_after_the_wait_that_the_answer_names(stack: Stack) -> None:
    # Slower than the default rate, which is more than the emulator can serve.
    with reconfigured(stack, "Default", MESSAGE_RATE="1", MESSAGE_BURST="2"):
        async with stack.connect("notifications", stack.new_user()) as client:
            for _ in range(20):  # one by one: each instance of the function counts for itself
                await client.send("ping")
                await client.hears(lambda it: it["type"] in {"pong", "error"})
            errors = [message["data"] for message in client.heard if message["type"] == "error"]
            assert {error["code"] for error in errors} == {"RATE_LIMITED"}
            waits = [error["retry_after"] for error in errors]
            assert all(isinstance(wait, int) and wait > 0 for wait in waits)
            await asyncio.sleep(max(waits))  # as the answer requires
            await client.pings()


@pytest.mark.parametrize(
    "garbage",
    ["", "{", "nonsense", "[]", "null", "{}", '{"type": 1}', '{"type": "shout"}', '{"type": "ping", "data": []}', "\0"],
)
async def test_garbage_is_a_bad_request_and_the_connection_lives(stack: Stack, garbage: str) -> None:
    async with stack.connect("presence", stack.new_user()) as client:
        await client.socket.send_str(garbage)
        error = await error_of(client)
        assert error["code"] == "BAD_REQUEST"
        assert error["message"]
        await client.pings()


@pytest.mark.parametrize("query", [{"types": "call_started"}, {"batch": "maybe"}, {"watch": "1,,a/b"}])
async def test_a_connection_with_an_invalid_query_gets_an_error_and_is_closed(
    stack: Stack, query: dict[str, str]
) -> None:
    async with stack.connect("feed", stack.new_user(), query=query, settled=False) as client:
        assert (await error_of(client))["code"] == "BAD_REQUEST"
        assert await client.closed() == 1000


async def test_watching_is_refused_on_endpoints_without_presence(stack: Stack) -> None:
    async with stack.connect("calls", stack.new_user()) as client:
        for kind in ("watch", "unwatch", "sync"):
            await client.send(kind, user_ids=[1])
            assert (await error_of(client))["code"] == "BAD_REQUEST"
        await client.pings()


async def test_a_refused_client_can_get_the_status_of_its_handshake(stack: Stack) -> None:
    with reconfigured(stack, "Connect", REJECTION_MODE="handshake", MAX_CONNECTIONS_POLICY="reject"):
        user, limit = stack.new_user(), int(stack.parameters["MaxConnectionsPerUser"])
        assert await status(stack, "feed", "no token") == 401
        assert await status(stack, "feed", stack.token(user, ttl=-60)) == 401
        assert await status(stack, "feed", stack.token(user, scope="calls")) == 403
        async with AsyncExitStack() as contexts:
            for _ in range(limit):
                await contexts.enter_async_context(stack.connect("calls", user))
            assert await status(stack, "feed", stack.token(user)) == 429


async def status(stack: Stack, endpoint: str, token: str) -> int:
    """The status with which a handshake is refused."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        async with stack.connect(endpoint, token=token):
            pass
    return refusal.value.status


@pytest.mark.parametrize("offered", [["bearer", "{token}"], ["{token}", "bearer"], ["json", "Bearer", "{token}"]])
async def test_a_token_may_come_as_a_subprotocol(stack: Stack, offered: list[str]) -> None:
    user = stack.new_user()
    protocols = [each.format(token=stack.token(user)) for each in offered]
    url = f"{stack.running.websocket_url}/calls"
    async with aiohttp.ClientSession() as http, http.ws_connect(url, protocols=protocols) as socket:
        assert socket.protocol == next(each for each in offered if each.lower() == "bearer")
        await Client(socket).pings()
        assert stack.is_connected(user)


async def test_a_token_may_come_in_a_header(stack: Stack) -> None:
    user = stack.new_user()
    headers = {"Authorization": f"Bearer {stack.token(user)}"}
    url = f"{stack.running.websocket_url}/calls"
    async with aiohttp.ClientSession() as http, http.ws_connect(url, headers=headers) as socket:
        await Client(socket).pings()
        assert stack.is_connected(user)
