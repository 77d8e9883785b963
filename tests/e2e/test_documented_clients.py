"""The clients that the API document prints work as they are, but for the address; wscat works too."""

from __future__ import annotations

import asyncio
import json
import time
from asyncio.subprocess import PIPE
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from harness.stack import Stack, eventually
from tests.e2e import documented
from tests.e2e.javascript import WSCAT, documented_clients

ENDPOINTS = list(documented.endpoints())
KINDS = ["class", "hook"]


def client(kind: str, endpoint: str, token: str) -> dict[str, str]:
    return {"name": f"{kind} on {endpoint}", "kind": kind, "endpoint": endpoint, "token": token}


def close(stack: Stack, endpoint: str, connection_id: str) -> None:
    """Close a connection from the server's side, as a backend may."""
    management = stack.aws("apigatewaymanagementapi", f"{stack.running.management_url}/{endpoint}")
    management.delete_connection(ConnectionId=connection_id)


def test_the_document_has_four_endpoints_and_thirteen_types() -> None:
    assert ENDPOINTS == ["feed", "presence", "calls", "notifications"]
    assert len(documented.types()) == 13


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_connects_to_each_endpoint_and_its_heartbeat_is_answered(stack: Stack, kind: str) -> None:
    token = stack.token(stack.new_user())
    async with documented_clients(stack, *(client(kind, endpoint, token) for endpoint in ENDPOINTS)) as clients:
        for endpoint in ENDPOINTS:
            name = f"{kind} on {endpoint}"
            await clients.does(name, "log", lambda deed: deed["words"] == ["WebSocket connected"])
            sent = await clients.does(name, "send")
            assert sent["message"]["type"] == "ping"
            assert (await clients.hears(name, "pong"))["data"] == {}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_hears_every_type_of_message(stack: Stack, kind: str) -> None:
    user, listener = stack.new_user(), stack.new_user()
    token = stack.token(user)
    call = {"call_id": user, "user_id": user, "listener_id": listener, "call_type": "audio", "status": "ongoing"}
    friend = {"user_id": listener, "username": "jane_smith"}
    async with documented_clients(stack, *(client(kind, endpoint, token) for endpoint in ENDPOINTS)) as clients:
        await eventually(lambda: len(stack.connection_ids(user)) == len(ENDPOINTS), "all are connected")
        async with stack.connect("calls", listener, role="listener", username="jane_smith"):
            for kind_of_call in ("call_started", "call_billing", "call_ended"):
                stack.publish(kind_of_call, call)
                await clients.hears(f"{kind} on calls", kind_of_call)
                if kind_of_call == "call_started":  # while it waits to be posted, a state may be superseded
                    await clients.hears(f"{kind} on feed", "listener_busy")
            for notification in ("favorite_added", "favorite_removed", "system_notification"):
                stack.publish(notification, friend, to=[user])
            await clients.hears(f"{kind} on feed", "listener_available")
            await clients.hears(f"{kind} on presence", "status_change")
        for endpoint, kinds in (
            ("feed", ["listener_online", "listener_offline"]),
            ("presence", ["presence_update"]),
            ("notifications", ["favorite_added", "favorite_removed", "system_notification"]),
        ):
            for each in kinds:
                await clients.hears(f"{kind} on {endpoint}", each)
        for notification in ("user_blocked", "user_unblocked"):
            stack.publish(notification, friend, to=[user])
            await clients.hears(f"{kind} on notifications", notification)
        heard = {deed["message"]["type"] for deed in clients.deeds if deed["did"] == "hear"}
        assert heard - {"pong"} == {*documented.types(), "system_notification"}
        if kind == "class":
            handled = {deed["handler"] for deed in clients.deeds if deed["did"] == "handle"}
            assert handled == {"onPresenceUpdate", "onCallStarted", "onFavoriteAdded"}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_comes_back_after_the_server_has_closed_its_connection(stack: Stack, kind: str) -> None:
    user, name = stack.new_user(), f"{kind} on feed"
    async with documented_clients(stack, client(kind, "feed", stack.token(user))) as clients:
        await clients.hears(name, "pong")
        (connection_id,) = stack.connection_ids(user)
        close(stack, "feed", connection_id)
        assert (await clients.does(name, "close"))["code"] == 1000
        before = len(clients.deeds)
        await clients.does(name, "log", lambda deed: deed["words"] == ["WebSocket connected"], after=before)
        await clients.hears(name, "pong", after=before)
        assert connection_id not in stack.connection_ids(user)


def expired(stack: Stack) -> str:
    return stack.token(stack.new_user(), ttl=-60)


def malformed(stack: Stack) -> str:
    return stack.token(stack.new_user()).rpartition(".")[0]


def unsigned(stack: Stack) -> str:
    return jwt.encode({"sub": str(stack.new_user()), "exp": time.time() + 60}, "", algorithm="none")


def wrongly_signed(stack: Stack) -> str:
    claims = {"sub": str(stack.new_user()), "exp": time.time() + 60}
    return jwt.encode(claims, "another secret of thirty-two bytes", algorithm="HS256", headers={"kid": "local"})


def absent(_stack: Stack) -> str:
    return ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("token", [expired, malformed, unsigned, wrongly_signed, absent])
async def test_a_client_without_a_good_token_hears_an_error(
    stack: Stack, kind: str, token: Callable[[Stack], str]
) -> None:
    refused = client(kind, "presence", token(stack))
    stack.issued.append(refused["token"])
    async with documented_clients(stack, refused, speed=1) as clients:
        error = await clients.hears(refused["name"], "error")
        assert error["data"] == {"code": "AUTH_FAILED", "message": "Invalid or expired token"}
        await clients.does(refused["name"], "close")


async def test_the_page_as_printed_is_refused_because_its_sample_token_is_invalid(stack: Stack) -> None:
    async with documented_clients(stack, {"name": "page", "kind": "page"}, speed=1) as clients:
        assert (await clients.hears("page", "error"))["data"]["code"] == "AUTH_FAILED"


async def test_wscat_talks_to_the_service(stack: Stack) -> None:
    url = f"{stack.running.websocket_url}/calls?token={stack.token(stack.new_user())}"
    options = ["--connect", url, "--execute", '{"type": "ping"}', "--wait", "-1"]
    process = await asyncio.create_subprocess_exec(WSCAT, *options, stdin=PIPE, stdout=PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(15):
            pong: dict[str, Any] = json.loads(await process.stdout.readline())
        assert pong["type"] == "pong"
    finally:
        process.terminate()
        await process.wait()
