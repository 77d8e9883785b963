"""A client that was away gets the missed messages after it names the last message that it received."""

from __future__ import annotations

from typing import Any

from harness.stack import Client, Message, Stack


def billing(user: int, witness: int, number: int) -> dict[str, Any]:
    return {"call_id": 1, "user_id": user, "listener_id": witness, "duration_minutes": number, "status": "ongoing"}


def events(client: Client) -> list[Message]:
    """Return the messages about events that a client received, without answers."""
    return [each for each in client.heard if "id" in each]


async def publish(stack: Stack, user: int, other: int, witness: Client, *minutes: int) -> list[Message]:
    """Publish events one after the other; return them as the other participant heard them."""
    heard = []
    for number in minutes:
        stack.publish("call_billing", billing(user, other, number))
        heard.append(await witness.hears("call_billing"))
    assert [each["data"]["duration_minutes"] for each in heard] == list(minutes)
    return heard


async def test_missed_messages_come_in_order_and_with_the_ids_that_others_heard(stack: Stack) -> None:
    user, other = stack.new_user(), stack.new_user()
    async with stack.connect("calls", other) as witness:
        async with stack.connect("calls", user) as before:
            await publish(stack, user, other, witness, 1)
            last = await before.hears("call_billing")
        missed = await publish(stack, user, other, witness, 2, 3, 4)
        async with stack.connect("calls", user) as after:
            await after.send("resume", last_id=last["id"])
            resumed = await after.hears("resumed")
            assert resumed["data"] == {"recovered": True, "replayed": 3}
            assert events(after) == missed
            (live,) = await publish(stack, user, other, witness, 5)
            assert await after.hears(lambda it: it.get("id") == live["id"]) == live


async def test_many_missed_messages_cost_a_client_that_takes_arrays_a_single_frame(stack: Stack) -> None:
    user, other = stack.new_user(), stack.new_user()
    async with stack.connect("calls", other) as witness:
        first, *missed = await publish(stack, user, other, witness, *range(1, 8))
        async with stack.connect("calls", user, query={"batch": "true"}) as after:
            await after.send("resume", last_id=first["id"])
            assert (await after.hears("resumed"))["data"] == {"recovered": True, "replayed": 6}
            assert events(after) == missed
            assert after.frames == 3  # with the pong that all begin with, and `resumed`


async def test_messages_for_everyone_are_replayed_to_a_new_connection_of_any_shard(stack: Stack) -> None:
    async with stack.connect("notifications", stack.new_user()) as witness:
        stack.publish("system_notification", {"title": "first"}, to="everyone")
        first = await witness.hears("system_notification")
        stack.publish("system_notification", {"title": "second"}, to="everyone")
        second = await witness.hears(lambda it: it["data"].get("title") == "second")
    for _ in range(6):  # of four shards
        async with stack.connect("notifications", stack.new_user()) as client:
            await client.send("resume", last_id=first["id"])
            await client.hears("resumed")
            assert second in client.heard
            assert first not in client.heard


async def test_a_client_that_was_away_for_too_long_is_told_so(stack: Stack) -> None:
    async with stack.connect("calls", stack.new_user()) as client:
        await client.send("resume", last_id="0" * 28)
        assert (await client.hears("resumed"))["data"] == {"recovered": False, "replayed": 0}


async def test_resume_without_an_id_is_answered_with_what_to_send(stack: Stack) -> None:
    async with stack.connect("calls", stack.new_user()) as client:
        await client.send("resume")
        error = await client.hears("error")
        assert error["data"] == {
            "code": "BAD_REQUEST",
            "message": "last_id: must be the id of a message that you have heard",
        }
        await client.pings()
