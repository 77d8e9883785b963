"""Each message reaches the users whom it concerns, and nobody else."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from harness.stack import Client, Message, Stack
from tests.samples import queued


def call(user: int, listener: int, call_id: int | None = None) -> dict[str, Any]:
    both = {"call_id": call_id or user, "user_id": user, "listener_id": listener}
    return both | {"call_type": "audio", "status": "ongoing"}


async def hears_nothing_but(client: Client, last: str) -> None:
    """Wait for a message that must be the last one; nothing else came before it."""
    await client.hears(last)
    assert [message["type"] for message in client.heard if message["type"] != "pong"] == [last]


def about(user: int, client: Client) -> list[Message]:
    """The messages that a client has received about a user."""
    return [message for message in client.heard if message["data"].get("user_id") == user]


async def test_a_call_reaches_its_two_participants_and_nobody_else(stack: Stack) -> None:
    user, listener, stranger = stack.new_user(), stack.new_user(), stack.new_user()
    async with (
        stack.connect("calls", user) as caller,
        stack.connect("calls", user) as second_device,
        stack.connect("calls", listener) as callee,
        stack.connect("calls", stranger) as other,
        stack.connect("notifications", user) as notified,
    ):
        stack.publish("call_started", call(user, listener))
        for client in (caller, second_device, callee):
            await hears_nothing_but(client, "call_started")
        stack.publish("call_billing", call(stranger, stack.new_user()))
        await hears_nothing_but(other, "call_billing")
        stack.publish("favorite_added", {"user_id": 1, "username": "jane_smith"}, to=[user])
        await hears_nothing_but(notified, "favorite_added")


async def test_a_notification_reaches_its_recipient_only(stack: Stack) -> None:
    addressee, sender, stranger = stack.new_user(), stack.new_user(), stack.new_user()
    async with (
        stack.connect("notifications", addressee) as addressed,
        stack.connect("notifications", sender) as own,
        stack.connect("notifications", stranger) as other,
    ):
        stack.publish("user_blocked", {"user_id": sender, "username": "jane_smith"}, to=[addressee])
        await hears_nothing_but(addressed, "user_blocked")
        stack.publish("system_notification", {}, to=[sender, stranger])
        await hears_nothing_but(own, "system_notification")
        await hears_nothing_but(other, "system_notification")


async def test_a_system_notification_can_be_for_everyone(stack: Stack) -> None:
    async with AsyncExitStack() as contexts:
        clients = [
            await contexts.enter_async_context(stack.connect("notifications", stack.new_user())) for _ in range(12)
        ]
        calls = await contexts.enter_async_context(stack.connect("calls", user := stack.new_user()))
        stack.publish("system_notification", {"title": "Maintenance at noon"}, to="everyone")
        for client in clients:
            await hears_nothing_but(client, "system_notification")
        stack.publish("call_billing", call(user, stack.new_user()))
        await hears_nothing_but(calls, "call_billing")


async def test_a_connection_hears_the_types_that_it_asked_for(stack: Stack) -> None:
    user = stack.new_user()
    async with (
        stack.connect("calls", user) as all_types,
        stack.connect("calls", user, query={"types": "call_ended"}) as ends,
        stack.connect("calls", user, query={"batch": "true"}) as batched,
    ):
        for kind in ("call_started", "call_ended"):
            stack.publish(kind, call(user, stack.new_user()))
            await all_types.hears(kind)
            await batched.hears(kind)
        await hears_nothing_but(ends, "call_ended")


async def test_clients_hear_once_of_an_event_that_the_bus_delivers_twice(stack: Stack) -> None:
    user = stack.new_user()
    event: dict[str, Any] = {
        "id": f"twice-{user}",
        "source": "tests",
        "time": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "detail-type": "call_started",
        "detail": call(user, stack.new_user()),
    }
    async with stack.connect("calls", user) as client:
        for _ in range(2):
            stack.aws("lambda").invoke(
                FunctionName=stack.outputs["IngestFunctionName"], Qualifier="live", Payload=json.dumps(queued(event))
            )
        await client.hears("call_started")
        stack.publish("call_ended", call(user, event["detail"]["listener_id"]))
        await client.hears("call_ended")
        assert [message["type"] for message in client.heard if message["type"] != "pong"] == [
            "call_started",
            "call_ended",
        ]


async def test_several_connections_of_a_user_are_one_presence(stack: Stack) -> None:
    listener, witness = stack.new_user(), stack.new_user()
    async with (
        stack.connect("feed", stack.new_user()) as feed,
        stack.connect("calls", listener, role="listener"),
        stack.connect("feed", listener, role="listener"),
        stack.connect("notifications", listener, role="listener"),
        stack.connect("calls", witness, role="listener"),
    ):
        await feed.hears(lambda it: it["data"].get("user_id") == witness)
        assert [message["type"] for message in about(listener, feed)] == ["listener_online"]


async def test_busy_and_available_follow_calls(stack: Stack) -> None:
    listener, one, other, witness = (stack.new_user() for _ in range(4))
    async with (
        stack.connect("feed", stack.new_user()) as feed,
        stack.connect("calls", listener, role="listener") as callee,
    ):
        for kind, of in (("call_started", one), ("call_started", other), ("call_ended", one), ("call_ended", one)):
            stack.publish(kind, call(of, listener))
            await callee.hears(kind)
        stack.publish("call_ended", call(other, listener))
        await feed.hears(lambda it: it["type"] == "listener_available" and it["data"]["user_id"] == listener)
        stack.publish("call_started", call(one, listener))  # late: it has ended
        await callee.hears("call_started")
        async with stack.connect("calls", witness, role="listener"):
            await feed.hears(lambda it: it["data"].get("user_id") == witness)
        told = [(message["type"], message["data"]["is_busy"]) for message in about(listener, feed)]
        assert told == [("listener_online", False), ("listener_busy", True), ("listener_available", False)]


async def test_a_user_who_is_no_listener_is_not_on_the_feed(stack: Stack) -> None:
    caller, witness = stack.new_user(), stack.new_user()
    async with (
        stack.connect("feed", stack.new_user()) as feed,
        stack.connect("presence", stack.new_user()) as presence,
        stack.connect("calls", caller, role="caller"),
        stack.connect("calls", witness, role="listener"),
    ):
        await presence.hears(lambda it: it["data"].get("user_id") == caller)
        await feed.hears(lambda it: it["data"].get("user_id") == witness)
        assert not about(caller, feed)
