"""The frames of clients, and the answers to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from operate.verify.client import Client, Message
from operate.verify.door import OPEN, PONG
from operate.verify.lines import FailedError
from operate.verify.run import VerifyRun, until
from operate.verify.runner import Notes, Scene

BUS = "setup.bus"
ACK_WITHIN = 4
"""Seconds within which a message has to be acknowledged."""


async def _watch(run: VerifyRun, notes: Notes) -> None:
    watched, watcher = run.new_user(), run.new_user()
    async with run.connect("calls", watched), run.connect("presence", watcher) as client:
        async with notes.line("talk.watch", blame=["default"], within=40) as line:  # the busiest time of a run
            shown = await _snapshot(client, "watch", user_ids=[watched])
            if [each["user_id"] for each in shown] != [watched] or not shown[0]["is_online"]:
                raise FailedError(f"the snapshot shows {shown}, not {watched} online")
            line.says = "a snapshot of who is watched"
        # A client that watches users gets these alone: a snapshot of all online users may be large.
        async with notes.line("talk.sync", blame=["default"]):
            shown = await _snapshot(client, "sync")
            if [each["user_id"] for each in shown] != [watched]:
                raise FailedError(f"the snapshot shows {shown}, not {watched} alone")


async def _snapshot(client: Client, kind: str, **data: Any) -> list[Message]:
    await client.send(kind, **data)
    shown: list[Message] = []
    while True:
        page = await client.hears(lambda message: message["type"] in {"snapshot", "error"}, "a snapshot")
        if page["type"] == "error":
            raise FailedError(f"answered with {page['data']}")
        shown += page["data"]["users"]
        if page["data"]["complete"]:
            return shown


async def _authenticate(run: VerifyRun, notes: Notes) -> None:
    user = run.new_user()
    async with run.connect("calls", user) as client:
        async with notes.line("talk.authenticate", blame=["default"]):
            await client.send("authenticate", token=run.token(user))
            answer = await client.hears(lambda message: message["type"] in {"authenticated", "error"}, "an answer")
            if answer["type"] == "error":
                raise FailedError(f"a good token is refused: {answer['data']}")
        async with notes.line("talk.authenticate.other", blame=["default"]):
            await client.send("authenticate", token=run.token(run.new_user()))
            answer = await client.hears(lambda message: message["type"] in {"authenticated", "error"}, "an answer")
            if answer["type"] != "error" or answer["data"]["code"] != "PERMISSION_DENIED":
                raise FailedError(f"another user's token is answered with {answer}")


async def _revoked(run: VerifyRun, notes: Notes) -> None:
    user = run.new_user()
    async with (
        notes.line("talk.revoked", blame=["ingest", "broadcast"]) as line,
        run.connect("calls", user) as client,
    ):
        await run.publish("session_revoked", {"user_id": user})
        heard = await client.hears("error")
        close, _ = await client.closed()
        line.says = f"{heard['data']['code']}, then closed with {close}"


async def _resume(run: VerifyRun, notes: Notes) -> None:
    user = run.new_user()
    blame = ["ingest", "broadcast", "default"]
    async with notes.line("talk.resume", blame=blame, within=40) as line:
        async with run.connect("notifications", user) as client:
            await _tell(run, user, "before")
            before = await client.hears(_says("before"), "the message before the interruption")
        for text in ("first", "second"):
            await _tell(run, user, text)

        async def recorded() -> bool:
            return len(await run.recorded(f"notifications/{user}")) == 3

        await until(recorded)
        async with run.connect("notifications", user) as client:
            await client.send("resume", last_id=before["id"])
            missed = await _until_resumed(client)
            # A message recorded just before may be posted as well, under the same id; and others may send to everyone.
            texts = {message["id"]: message["data"].get("text") for message in missed}
            heard = sorted(text for text in texts.values() if text in {"before", "first", "second"})
            if heard != ["first", "second"]:
                raise FailedError(f"replayed were {heard}, not the two that were missed")
            line.says = "the missed message came, and recovered is true"


async def _until_resumed(client: Client) -> list[Message]:
    missed: list[Message] = []
    while True:
        message = await client.hears(lambda _: True, "resumed")
        if message["type"] == "error":
            raise FailedError(f"answered with {message['data']}")
        if message["type"] == "resumed":
            if not message["data"]["recovered"]:
                raise FailedError(f"resumed says {message['data']}", "Is HistorySeconds shorter than a minute?")
            return missed
        missed.append(message)


async def _acknowledge(run: VerifyRun, notes: Notes) -> None:
    prompt, silent, away = run.new_user(), run.new_user(), run.new_user()
    ear, blame = run.ear, ["ingest", "broadcast", "default"]
    async with run.connect("notifications", prompt) as good, run.connect("notifications", silent) as bad:
        for user in (prompt, silent, away):
            await _tell(run, user, "please", ack_within=ACK_WITHIN)
        acknowledged = ""
        async with notes.line("talk.ack", blame=blame):
            message = await good.hears(_says("please"), "the message that is to be acknowledged")
            if not message.get("ack"):
                raise FailedError('the message does not say "ack": true')
            await good.send("ack", id=message["id"])
            answer = await good.hears(lambda each: each["type"] in {"acknowledged", "error"}, "acknowledged")
            if answer["type"] == "error":
                raise FailedError(f"answered with {answer['data']}")
            acknowledged = message["id"]
        late = ["ingest", "deadlines"]
        advice = "The queue DeadlinesQueueUrl brings it to the function deadlines, which tells the bus."
        async with notes.line("talk.undelivered.away", advice, late) as line:
            await _undelivered(ear, away, "not_connected")
        async with notes.line("talk.undelivered", advice, late, within=25 + ACK_WITHIN) as line:
            await _undelivered(ear, silent, "not_acknowledged")
            await bad.hears(_says("please"), "the message that nobody acknowledged")
            line.says = f"after {ACK_WITHIN} s"
        async with notes.line("talk.ack.quiet"):
            if not acknowledged:
                raise FailedError("nothing was acknowledged", "See the line above.")
            if ear.has_heard(lambda event: event["detail-type"] == "message_undelivered" and _is_of(event, prompt)):
                raise FailedError("the bus was told of a message that was acknowledged in time")


def _is_of(event: Message, user: str) -> bool:
    return bool(event["detail"].get("user_id") == user)


async def _undelivered(ear: Any, user: str, reason: str) -> None:
    event = await ear.event_about("message_undelivered", user)
    if event["detail"]["reason"] != reason:
        raise FailedError(f"the reason is {event['detail']['reason']!r}, not {reason!r}")


async def _tell(run: VerifyRun, user: str, text: str, **delivery: Any) -> str:
    return await run.publish("system_notification", {"text": text}, to=[user], **delivery)


def _says(text: str) -> Callable[[Message], bool]:
    return lambda message: bool(message["data"].get("text") == text)


SCENES = [
    Scene(
        "watch",
        {"talk.watch": "watch is answered with a snapshot", "talk.sync": "sync is answered with a snapshot"},
        _watch,
        (OPEN, PONG),
    ),
    Scene(
        "authenticate",
        {
            "talk.authenticate": "authenticate takes a newer token",
            "talk.authenticate.other": "authenticate refuses another user's token",
        },
        _authenticate,
        (OPEN, PONG),
    ),
    Scene("revoked", {"talk.revoked": "session_revoked ends a user's connections"}, _revoked, (OPEN,)),
    Scene("resume", {"talk.resume": "resume brings what was missed"}, _resume, (OPEN, PONG)),
    Scene(
        "acknowledge",
        {
            "talk.ack": "ack is answered with acknowledged",
            "talk.undelivered.away": "message_undelivered for who is not connected",
            "talk.undelivered": "message_undelivered for what nobody acknowledges",
            "talk.ack.quiet": "no message_undelivered for what was acknowledged",
        },
        _acknowledge,
        (OPEN, PONG, BUS),
    ),
]
