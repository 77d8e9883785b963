"""A client that was away gets the missed messages after it names the last message that it received."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

from harness.stack import Client, Message, Stack
from tests.e2e.resuming import Resuming


def billing(user: int, witness: int, number: int) -> dict[str, Any]:
    return {"call_id": 1, "user_id": user, "listener_id": witness, "duration_minutes": number, "status": "ongoing"}


def bare(message: Message) -> Message:
    """Return a message without the position, which depends on the audience."""
    return {name: value for name, value in message.items() if name != "position"}


def events(client: Client) -> list[Message]:
    """Return the messages about events that a client received, without answers."""
    return [bare(each) for each in client.heard if "id" in each]


async def publish(stack: Stack, user: int, other: int, witness: Client, *minutes: int) -> list[Message]:
    """Publish events one after the other; return them as the other participant heard them."""
    heard = []
    for number in minutes:
        stack.publish("call_billing", billing(user, other, number))
        heard.append(bare(await witness.hears("call_billing")))
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
            assert bare(await after.hears(lambda it: it.get("id") == live["id"])) == live


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
            assert second["id"] in {each["id"] for each in events(client)}
            assert first["id"] not in {each["id"] for each in events(client)}


async def test_a_client_that_was_away_for_too_long_is_told_so(stack: Stack) -> None:
    async with stack.connect("calls", stack.new_user()) as client:
        await client.send("resume", last_id="0" * 28)
        assert (await client.hears("resumed"))["data"] == {"recovered": False, "replayed": 0}


async def test_resume_without_an_id_is_answered_with_what_to_send(stack: Stack) -> None:
    async with stack.connect("calls", stack.new_user()) as client:
        await client.socket.send_json({"type": "resume", "data": {}})
        error = await client.hears("error")
        assert error["data"] == {
            "code": "BAD_REQUEST",
            "message": "last_id: must be the id of a message that you have received",
        }
        await client.pings()


async def test_a_client_with_many_drops_hears_every_numbered_event_and_few_of_them_twice(stack: Stack) -> None:
    """150 numbered events for one user, as many for everyone, and 17 drops at any moment."""
    chance = random.Random(17)
    user, me = stack.new_user(), Resuming()
    numbers = range(150)

    async def publish() -> None:
        for number in numbers:
            for to, name in ([user], user), ("everyone", "everyone"):
                detail = {"number": f"{number} {name}"}
                await asyncio.to_thread(stack.publish, "system_notification", detail, to=to)
            await asyncio.sleep(0.1)  # so that they come between all drops

    async def listen(seconds: float) -> None:
        async with stack.connect("notifications", user, settled=False) as client:
            await me.begin(client)
            with contextlib.suppress(AssertionError):
                await client.hears(lambda _: False, within=seconds)
            me.end(client)

    await listen(0.5)
    publishing = asyncio.create_task(publish())
    drops = 0
    while drops < 17 or not publishing.done():
        await asyncio.sleep(chance.uniform(0, 0.5))
        await listen(chance.uniform(0, 1))
        drops += 1
    await publishing
    expected = {f"{number} {name}" for number in numbers for name in (user, "everyone")}
    for _ in range(20):
        await listen(1)
        heard = {message["data"].get("number") for message in me.heard.values()}
        if expected <= heard:
            break
    assert expected - heard == set()
    assert all(each["recovered"] for each in me.answers)
    assert me.repeated < 0.02 * len(me.heard)
    # Those that were recorded while it was away, and posted when it was back: more on a busy machine, where posts come
    # late. A resume that repeated the last five minutes brought over a thousand.
    assert me.overlapping <= 10 * drops


async def test_a_client_that_had_received_nothing_misses_nothing(stack: Stack) -> None:
    user, other = stack.new_user(), stack.new_user()
    async with stack.connect("calls", other) as witness:
        async with stack.connect("calls", user, settled=False) as before:
            position = (await before.pings())["position"]
        missed = await publish(stack, user, other, witness, 1, 2)
        async with stack.connect("calls", user) as after:
            await after.send("resume", position=position)
            resumed = await after.hears("resumed")
            assert resumed["data"] == {"recovered": True, "replayed": 2, "complete": True}
            assert events(after) == missed
            await after.send("resume", position=position | resumed["position"])
            assert (await after.hears("resumed"))["data"]["replayed"] == 0
