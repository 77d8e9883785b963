"""Each user has one correct presence, and clients and backends hear of each change once."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime

from harness.reconfiguring import reconfigured
from harness.stack import Client, Message, Predicate, Queue, Stack, eventually
from tests.e2e.documented import is_time

FLAP_SECONDS = 3.0
LEASE_SECONDS = 60
"""The shortest lease. Tests do not wait for it: they change the tables so that it has expired."""
COUNTS_AFTER_SECONDS = 30
"""After the handshake, a 410 counts; nor do tests wait for this."""


def about(user: int, kind: str) -> Predicate:
    """Whether a message of a type is about a user."""
    return lambda message: message["type"] == kind and message["data"]["user_id"] == user


def told_of(user: int, client: Client) -> list[str]:
    """The types of the messages that a client has received about a user, without answers to its own frames."""
    return [message["type"] for message in client.heard if message["data"].get("user_id") == user]


async def hears_all_until_now(stack: Stack, *clients: Client) -> None:
    """Wait until clients on feed have all earlier messages: one more listener comes online, and they hear of it."""
    witness = stack.new_user()
    async with stack.connect("calls", witness, role="listener"):
        for client in clients:
            await client.hears(lambda message: message["data"].get("user_id") == witness)


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


async def test_closing_three_devices_in_turn_sets_a_user_offline_once_after_the_last_grace_period(stack: Stack) -> None:
    listener, grace = stack.new_user(), float(stack.parameters["GracePeriodSeconds"])
    async with (
        stack.connect("feed", stack.new_user()) as feed,
        stack.connect("calls", listener, role="listener") as phone,
        stack.connect("notifications", listener, role="listener") as tablet,
        stack.connect("feed", listener, role="listener") as laptop,
    ):
        await phone.socket.close()
        await eventually(lambda: len(stack.connection_ids(listener)) == 2, "two devices are left")
        await tablet.socket.close()
        await eventually(lambda: len(stack.connection_ids(listener)) == 1, "one device is left")
        await hears_all_until_now(stack, feed)
        assert told_of(listener, feed) == ["listener_online"]
        await laptop.socket.close()
        offline = await feed.hears(about(listener, "listener_offline"))
        assert seconds_between(offline["data"]["last_seen"], offline["timestamp"]) >= grace
        await hears_all_until_now(stack, feed)
        assert told_of(listener, feed) == ["listener_online", "listener_offline"]


async def test_nobody_hears_of_a_reconnect_within_the_grace_period(stack: Stack) -> None:
    listener = stack.new_user()
    async with stack.connect("feed", stack.new_user()) as feed, stack.bus_events() as bus:
        async with stack.connect("calls", listener, role="listener"):
            pass
        await asyncio.sleep(FLAP_SECONDS)  # a short loss of the connection
        async with stack.connect("calls", listener, role="listener"):
            await eventually(lambda: has_been_checked(stack, listener), "the grace period's end is looked at")
            await hears_all_until_now(stack, feed)
            assert told_of(listener, feed) == ["listener_online"]
        await feed.hears(about(listener, "listener_offline"))
        told = await told_by_the_bus(stack, bus, listener)
        assert [event["detail-type"] for event in told] == ["user_online", "user_offline"]


def has_been_checked(stack: Stack, user: int) -> bool:
    return any('"checked"' in line and f'"{user}"' in line for line in stack.logs_of("deadlines"))


async def told_by_the_bus(stack: Stack, bus: Queue, user: int) -> list[Message]:
    """All events about a user on the bus until now, by their versions."""
    events: list[Message] = []
    witness = stack.new_user()
    async with stack.connect("calls", witness):
        while True:
            body, _ = await bus.holds(lambda body: json.loads(body)["detail"]["user_id"] in {user, witness})
            event = json.loads(body)
            if event["detail"]["user_id"] == witness:
                return sorted(events, key=lambda event: int(event["detail"]["version"]))
            events.append(event)


async def test_a_user_whose_socket_was_killed_silently_is_offline_after_the_lease_and_one_sweep(stack: Stack) -> None:
    listener = stack.new_user()
    async with stack.connect("feed", stack.new_user()) as feed:
        async with stack.withheld_disconnects(), stack.connect("calls", listener, role="listener"):
            await feed.hears(about(listener, "listener_online"))
            (connection_id,) = stack.connection_ids(listener)
            await stack.kill(connection_id)
            await stack.sweep()
            await feed.pings()
            assert told_of(listener, feed) == ["listener_online"]
            assert stack.is_connected(listener)  # no $disconnect reported its end, and its lease still runs
            stack.age(connection_id, LEASE_SECONDS)
            stack.change_session(connection_id, lease_until=int(time.time()) - 1)
            await stack.sweep()
            assert not stack.is_connected(listener)
            await feed.hears(about(listener, "listener_offline"))
            assert not stack.connection(connection_id)
        await hears_all_until_now(stack, feed)
        assert told_of(listener, feed) == ["listener_online", "listener_offline"]


async def test_a_user_whose_socket_was_killed_is_offline_within_a_minute_and_was_last_seen_before(stack: Stack) -> None:
    listener = stack.new_user()
    with (
        reconfigured(stack, "Connect", LEASE_SECONDS="5"),
        reconfigured(stack, "Default", LEASE_SECONDS="5"),
    ):
        async with stack.withheld_disconnects(), stack.connect("calls", listener, role="listener") as client:
            (connection_id,) = stack.connection_ids(listener)
            await client.pings()
            killed_at = time.time()
            await stack.kill(connection_id)
            stack.age(connection_id, COUNTS_AFTER_SECONDS)

            async def sweep_until_offline() -> None:
                while stack.user(listener)["is_online"]["BOOL"]:
                    await stack.sweep()

            await asyncio.wait_for(sweep_until_offline(), 60)
            last_seen = int(stack.user(listener)["last_seen"]["N"]) / 1000
            assert killed_at - 10 < last_seen <= killed_at


async def test_backends_hear_of_each_transition_once_with_rising_versions(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.bus_events() as bus:
        for _ in range(2):
            async with stack.connect("calls", user, username="jane_smith"), stack.connect("feed", user):
                pass
            await eventually(lambda: not stack.user(user)["is_online"]["BOOL"], "the user is offline")
        events = await told_by_the_bus(stack, bus, user)
    assert [event["detail-type"] for event in events] == ["user_online", "user_offline"] * 2
    details = [event["detail"] for event in events]
    assert len({detail["id"] for detail in details}) == len(details)
    assert [detail["connections"] for detail in details] == [1, 0, 1, 0]
    for event, detail in zip(events, details, strict=True):
        assert event["source"] == "realtime"
        assert detail.keys() == {"id", "user_id", "username", "version", "last_seen", "connections"}
        assert detail["username"] == "jane_smith"
        assert is_time(detail["last_seen"])
    versions = [detail["version"] for detail in details]
    assert versions == sorted(set(versions))


async def test_a_watcher_hears_of_those_it_watches_and_of_nobody_else(stack: Stack) -> None:
    watched, later, other = stack.new_user(), stack.new_user(), stack.new_user()
    async with (
        stack.connect("feed", stack.new_user(), query={"watch": str(watched)}) as feed,
        stack.connect("presence", stack.new_user(), query={"watch": str(watched)}) as presence,
    ):
        async with stack.connect("calls", other, role="listener"), stack.connect("calls", watched, role="listener"):
            await feed.hears(about(watched, "listener_online"))
            await presence.hears(about(watched, "presence_update"))
            assert await presence.snapshot("watch", user_ids=[later]) == {
                later: {
                    "user_id": later,
                    "username": None,
                    "is_online": False,
                    "is_busy": False,
                    "last_seen": None,
                    "version": 0,
                }
            }
            async with stack.connect("calls", later):
                await presence.hears(about(later, "presence_update"))
            assert set(await presence.snapshot()) == {watched, later}
            assert await presence.snapshot("unwatch", user_ids=[watched]) == {}
            for user in (watched, later):
                stack.publish("status_change", {"user_id": user, "is_busy": True})
            await presence.hears(about(later, "status_change"))
            await feed.hears(about(watched, "listener_busy"))
        assert told_of(watched, presence) == ["presence_update"]
        assert not told_of(other, presence)
        assert not told_of(other, feed)
        assert not told_of(later, feed)


async def test_a_user_is_invisible_to_those_whom_they_blocked_until_they_unblock_them(stack: Stack) -> None:
    blocker, blocked, witness = stack.new_user(), stack.new_user(), stack.new_user()
    async with (
        stack.connect("notifications", blocked) as notifications,
        stack.connect("feed", blocked) as feed,
        stack.connect("presence", blocked) as presence,
        stack.connect("presence", blocked, query={"watch": f"{blocker},{witness}"}) as watcher,
        stack.connect("feed", stack.new_user()) as stranger,
    ):
        told = (feed, presence, watcher)

        async def publish(kind: str) -> None:
            stack.publish(kind, {"user_id": blocker, "username": "jane_smith"}, to=[blocked])
            await notifications.hears(kind)

        await publish("user_blocked")
        async with (
            stack.connect("calls", blocker, role="listener"),
            stack.connect("calls", witness, role="listener"),
        ):
            await stranger.hears(about(blocker, "listener_online"))
            for client in told:
                await client.hears(lambda message: message["data"].get("user_id") == witness)
                assert not told_of(blocker, client)
            assert blocker not in await feed.snapshot()
            assert blocker not in await presence.snapshot()
            assert set(await watcher.snapshot()) == {witness}
            assert await watcher.snapshot("watch", user_ids=[blocker]) == {}
            await publish("user_unblocked")
            assert (await feed.snapshot())[blocker]["is_online"]
            assert (await presence.snapshot())[blocker]["is_online"]
            assert set(await watcher.snapshot()) == {blocker, witness}
            stack.publish("status_change", {"user_id": blocker, "is_busy": True})
            await feed.hears(about(blocker, "listener_busy"))
            await presence.hears(about(blocker, "status_change"))
            await watcher.hears(about(blocker, "status_change"))
