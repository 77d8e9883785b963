"""Users come online, are busy and leave: the messages for watching clients, and the events on the bus."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from operate.verify.client import Client, Message
from operate.verify.door import OPEN
from operate.verify.lines import FailedError
from operate.verify.run import USERNAME, VerifyRun
from operate.verify.runner import WITHIN, Notes, Scene
from operate.verify.talking import BUS
from operate.verify.telling import WAY

_ANNOUNCING = ["announce", "broadcast", "broadcast-wide"]
_BUSY = ["ingest", "announce", "broadcast", "broadcast-wide"]
_LEAVING = ["disconnect", "announce", "deadlines", "broadcast", "broadcast-wide"]
SLACK_SECONDS = 20.0
"""How much later than the grace period user_offline may come: a queue's delay, and a cold start."""


async def _presence(run: VerifyRun, notes: Notes) -> None:
    listener, fan, friend = run.new_user(), run.new_user(), run.new_user()
    role = run.parameters.get("FeedRole") or "listener"
    watching = {"watch": listener}
    async with (
        run.connect("feed", fan, query=watching) as feed,
        run.connect("presence", friend, query=watching) as presence,
    ):
        async with run.connect("calls", listener, role=role):
            await _coming(run, notes, listener, feed, presence)
            await _busy(run, notes, listener, fan, feed, presence)
        await _leaving(run, notes, listener, feed, presence)


async def _coming(run: VerifyRun, notes: Notes, listener: str, feed: Client, presence: Client) -> None:
    async with notes.line("presence.listener_online", _STREAM, _ANNOUNCING):
        await feed.hears("listener_online")
    async with notes.line("presence.online", _STREAM, _ANNOUNCING):
        message = await presence.hears("presence_update")
        if not message["data"]["is_online"]:
            raise FailedError(f"it says {message['data']}")
    async with notes.line("presence.user_online", _STREAM, ["announce"]):
        await run.ear.event_about("user_online", listener)


async def _busy(run: VerifyRun, notes: Notes, listener: str, fan: str, feed: Client, presence: Client) -> None:
    call = {"call_id": listener, "user_id": fan, "listener_id": listener, "call_type": "audio", "status": "ongoing"}
    async with notes.line("presence.listener_busy", WAY, _BUSY):
        await run.publish("call_started", call)
        await feed.hears("listener_busy")
    async with notes.line("presence.status_change", WAY, _BUSY):
        await presence.hears(_busy_is(busy=True), "status_change")
    async with notes.line("presence.listener_available", WAY, _BUSY):
        await run.publish("call_ended", call)
        await feed.hears("listener_available")
    async with notes.line("presence.manual", WAY, _BUSY):
        for busy in (True, False):
            await run.publish("status_change", {"user_id": listener, "is_busy": busy})
            await presence.hears(_busy_is(busy=busy), "status_change")
        await presence.pings()


def _busy_is(*, busy: bool) -> Callable[[Message], bool]:
    return lambda message: bool(message["type"] == "status_change" and message["data"]["is_busy"] is busy)


async def _leaving(run: VerifyRun, notes: Notes, listener: str, feed: Client, presence: Client) -> None:
    grace = run.number("GracePeriodSeconds", 10)
    within = WITHIN + grace
    async with notes.line("presence.listener_offline", _LATER, _LEAVING, within) as line:
        message = await feed.hears("listener_offline")
        waited = _seconds(message["data"]["last_seen"], message["timestamp"])
        line.says = f"{waited:.1f} s after the last connection ended; GracePeriodSeconds is {grace:g}"
        line.facts |= {"grace_period_seconds": grace, "measured_seconds": waited}
        if not grace <= waited + 0.1 <= grace + SLACK_SECONDS:
            raise FailedError(line.says, "The queue DeadlinesQueueUrl brings it with a delay: is deadlines held up?")
    async with notes.line("presence.offline", _LATER, _LEAVING, within):
        await presence.hears(
            lambda message: message["type"] == "presence_update" and not message["data"]["is_online"], "presence_update"
        )
    async with notes.line("presence.user_offline", _LATER, ["announce", "deadlines"], within):
        event = await run.ear.event_about("user_offline", listener)
        online = await run.ear.event_about("user_online", listener)
        if event["detail"]["version"] <= online["detail"]["version"]:
            raise FailedError("its version is not higher than that of user_online")


def _seconds(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


async def _blocked(run: VerifyRun, notes: Notes) -> None:
    who, hidden, witness = run.new_user(), run.new_user(), run.new_user()
    watching = {"watch": who}
    async with (
        run.connect("calls", who),
        run.connect("notifications", hidden) as told,
        run.connect("presence", hidden, query=watching) as blind,
        run.connect("presence", witness, query=watching) as seeing,
    ):
        async with notes.line("presence.blocked", WAY, _BUSY, within=30):
            await run.publish("user_blocked", {"user_id": who, "username": USERNAME}, to=[hidden])
            await told.hears("user_blocked")
            await run.publish("status_change", {"user_id": who, "is_busy": True})
            await seeing.hears(_busy_is(busy=True), "status_change to a user who is not blocked")
            await _hears_only_the_pong(blind)
        async with notes.line("presence.unblocked", WAY, _BUSY, within=30):
            await run.publish("user_unblocked", {"user_id": who, "username": USERNAME}, to=[hidden])
            await blind.hears("presence_update")
            await run.publish("status_change", {"user_id": who, "is_busy": False})
            await blind.hears(_busy_is(busy=False), "status_change")


async def _hears_only_the_pong(client: Client) -> None:
    """Check that a message for another user has not come here.

    Raises:
        FailedError: it has.
    """
    await client.pings()
    await client.pings()
    if any(_busy_is(busy=True)(message) for message in client.unread):
        raise FailedError("a blocked user still hears about the user who blocked them")


_STREAM = (
    "A user's change did not get to those who watch. The way is: function connect, table UsersTableName, its stream, "
    "function announce, table EventsTableName, function broadcast (broadcast-wide for all). `realtime logs announce`."
)
_LATER = (
    "That a user left is looked at again after the grace period. The way is: function disconnect, table "
    "UsersTableName, function announce, queue DeadlinesQueueUrl, function deadlines, then as for a user coming online. "
    "`realtime logs deadlines`, and see whether DeadlinesDeadLetterQueueUrl is empty."
)

SCENES = [
    Scene(
        "presence",
        {
            "presence.listener_online": "feed: listener_online",
            "presence.online": "presence: presence_update, online",
            "presence.user_online": "bus: user_online",
            "presence.listener_busy": "feed: listener_busy, with a call",
            "presence.status_change": "presence: status_change, with a call",
            "presence.listener_available": "feed: listener_available, after the call",
            "presence.manual": "presence: status_change, by a user's own setting",
            "presence.listener_offline": "feed: listener_offline, after the grace period",
            "presence.offline": "presence: presence_update, offline",
            "presence.user_offline": "bus: user_offline, with a higher version",
        },
        _presence,
        (OPEN, BUS),
        within=85,
    ),
    Scene(
        "blocked",
        {
            "presence.blocked": "user_blocked hides a user's presence",
            "presence.unblocked": "user_unblocked shows it again",
        },
        _blocked,
        (OPEN,),
    ),
]
