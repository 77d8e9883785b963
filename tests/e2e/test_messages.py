"""Each message has exactly the keys and kinds of values that the API document shows."""

from __future__ import annotations

from typing import Any

import pytest

from harness.stack import Client, Message, Stack
from tests.e2e import documented

CALLS = documented.endpoints()["calls"][0]
FRIENDS = documented.endpoints()["notifications"][0]
ADDITIONS = {"id", "version", "position"}
"""The keys that we add to the documented ones; clients ignore keys that they don't know."""


def assert_as_documented(message: Message, kind: str) -> None:
    example = documented.example(kind)
    assert message["type"] == kind
    assert message.keys() - ADDITIONS == example.keys()
    assert documented.is_time(message["timestamp"])
    assert documented.shape(message["data"]) == documented.shape(example["data"])


async def hears_of(client: Client, kind: str, user: int) -> dict[str, Any]:
    """The data of the first message of a type about a user, which is as documented."""
    message = await client.hears(lambda it: it["type"] == kind and it["data"]["user_id"] == user)
    assert_as_documented(message, kind)
    data: dict[str, Any] = message["data"]
    return data


async def test_presence_messages_are_as_documented(stack: Stack) -> None:
    listener = stack.new_user()
    async with stack.connect("feed", stack.new_user()) as feed, stack.connect("presence", stack.new_user()) as presence:
        async with stack.connect("calls", listener, role="listener", username="jane_smith"):
            online = await hears_of(feed, "listener_online", listener)
            assert (online["username"], online["is_online"], online["is_busy"]) == ("jane_smith", True, False)
            assert await hears_of(presence, "presence_update", listener) == without_name(online)
            stack.publish("status_change", {"user_id": listener, "is_busy": True})
            busy = await hears_of(feed, "listener_busy", listener)
            assert busy == online | {"is_busy": True}
            assert await hears_of(presence, "status_change", listener) == without_name(busy)
            stack.publish("status_change", {"user_id": listener, "is_busy": False})
            available = await hears_of(feed, "listener_available", listener)
            assert available == online
            assert await hears_of(presence, "status_change", listener) == without_name(available)
        offline = await hears_of(feed, "listener_offline", listener)
        assert not offline["is_online"]
        assert offline["last_seen"] > online["last_seen"]
        assert await hears_of(presence, "presence_update", listener) == without_name(offline)


def without_name(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != "username"}


@pytest.mark.parametrize("kind", CALLS)
async def test_call_messages_are_as_documented(stack: Stack, kind: str) -> None:
    user = stack.new_user()
    call = documented.example(kind)["data"] | {"call_id": user, "user_id": user, "listener_id": stack.new_user()}
    async with stack.connect("calls", user) as client:
        stack.publish(kind, call)
        message = await client.hears(kind)
        assert_as_documented(message, kind)
        assert message["data"] == call


@pytest.mark.parametrize("kind", FRIENDS)
async def test_notification_messages_are_as_documented(stack: Stack, kind: str) -> None:
    user, friend = stack.new_user(), {"user_id": stack.new_user(), "username": "jane_smith"}
    async with stack.connect("notifications", user) as client:
        stack.publish(kind, friend, to=[user])
        message = await client.hears(kind)
        assert_as_documented(message, kind)
        assert message["data"].items() >= friend.items()


async def test_a_notification_says_what_was_done_in_the_documented_words(stack: Stack) -> None:
    user, example = stack.new_user(), documented.example("favorite_added")["data"]
    async with stack.connect("notifications", user) as client:
        stack.publish("favorite_added", {"user_id": 123, "username": "jane_smith"}, to=[user])
        assert (await client.hears("favorite_added"))["data"] == example


async def test_a_system_notification_is_passed_on_as_it_is(stack: Stack) -> None:
    user, whole = stack.new_user(), {"title": "Maintenance", "at": [1, 2.5, None], "nested": {"delivery": "kept"}}
    async with stack.connect("notifications", user) as client:
        stack.publish("system_notification", whole, to=[user])
        message = await client.hears("system_notification")
        assert message["data"] == whole
        assert message.keys() - ADDITIONS == {"type", "data", "timestamp"}


async def test_a_pong_is_as_documented(stack: Stack) -> None:
    async with stack.connect("feed", stack.new_user()) as client:
        pong = await client.pings()
        assert documented.is_time(pong.pop("timestamp"))
        assert pong.pop("position").keys() == {"since"}
        assert pong == {"type": "pong", "data": {}}


async def test_an_error_is_as_documented(stack: Stack) -> None:
    async with stack.connect("feed", token="no token") as client:
        error = await client.hears("error")
        assert documented.is_time(error.pop("timestamp"))
        assert error == {"type": "error", "data": {"code": "AUTH_FAILED", "message": "Invalid or expired token"}}
