"""The events of backends and who gets them: each type of message, their order, and an event that breaks its schema."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from operate.verify.client import ClosedError, Message
from operate.verify.door import OPEN
from operate.verify.lines import FailedError
from operate.verify.run import USERNAME, VerifyRun
from operate.verify.runner import Notes, Scene

BURST = 20
NORMAL_CLOSURE = 1000
"""The code with which the service closes a connection that it could not serve in time, so that it resumes."""
TOGETHER_MS = 1000
"""Milliseconds between two ids of one user's events that several instances of `ingest` may have recorded at once."""
WAY = (
    "The event did not get from the bus to its clients. The way is: bus, rule, queue BackendEventsQueueUrl, function "
    "ingest, table EventsTableName, its stream, function broadcast, management API. `realtime user ID` shows whether "
    "it was recorded; `realtime logs ingest` and `realtime logs broadcast` show the rest."
)
_PATH = ["ingest", "broadcast"]
_WIDE = ["ingest", "broadcast-wide"]
_ACQUAINTANCES = ("favorite_added", "favorite_removed", "user_blocked", "user_unblocked")


async def _calls(run: VerifyRun, notes: Notes) -> None:
    user, listener = run.new_user(), run.new_user()
    call = {"call_id": user, "user_id": user, "listener_id": listener}
    async with run.connect("calls", user) as one, run.connect("calls", listener) as other:
        for kind, more in (
            ("call_started", {"call_type": "audio", "status": "ongoing"}),
            ("call_billing", {"amount": 1}),
            ("call_ended", {"duration": 1}),
        ):
            async with notes.line(f"tell.{kind}", WAY, _PATH):
                await run.publish(kind, call | more)
                for client in (one, other):
                    await client.hears(kind)


async def _acquaintances(run: VerifyRun, notes: Notes) -> None:
    """Check the messages user_blocked and user_unblocked; the scene `presence` checks their effect."""
    for kind in _ACQUAINTANCES:
        who, told = run.new_user(), run.new_user()
        async with notes.line(f"tell.{kind}", WAY, _PATH), run.connect("notifications", told) as client:
            await run.publish(kind, {"user_id": who, "username": USERNAME}, to=[told])
            message = await client.hears(kind)
            if message["data"]["user_id"] != who:
                raise FailedError(f"it names {message['data']['user_id']}, not {who}")


async def _announcement(run: VerifyRun, notes: Notes) -> None:
    user = run.new_user()
    async with run.connect("notifications", user) as client:
        async with notes.line("tell.system_notification", WAY, _PATH):
            await run.publish("system_notification", {"text": "to some"}, to=[user])
            await client.hears("system_notification")
        if not run.options.everyone:
            notes.skips("tell.everyone", "all connections would get it; --everyone permits that")
            return
        async with notes.line("tell.everyone", WAY, _WIDE):
            text = f"to everyone, {run.run_id}"
            await run.publish("system_notification", {"text": text, "user_id": user}, to="everyone")
            await client.hears(lambda message: message["data"].get("text") == text, "the message to everyone")


async def _order(run: VerifyRun, notes: Notes) -> None:
    async with notes.line("tell.order", blame=_PATH, within=40) as line:
        try:
            heard = await _burst(run)
        except ClosedError as closed:
            if closed.code != NORMAL_CLOSURE:
                raise
            line.facts["closed_to_resume"] = True  # a slow post in the middle of a burst: the contract permits it
            heard = await _burst(run)
        ids = list(dict.fromkeys(message["id"] for message in heard))
        furthest = max(_turned_round(ids), default=0)
        line.says = f"{BURST} events at once, in the order of their ids" + (
            f" but for pairs recorded within {furthest} ms" if furthest else ""
        )
        line.facts |= {"duplicates": len(heard) - BURST, "largest_inversion_ms": furthest}
        if furthest > TOGETHER_MS:
            raise FailedError(
                f"two events of one user came in the wrong order, recorded {furthest} ms apart",
                "The mapping of EventsTable's stream to broadcast has ParallelizationFactor 1 in template.yaml: still?",
            )


async def _burst(run: VerifyRun) -> list[Message]:
    """Put a burst of one user's events on the bus; return all that the user's client hears, in its order."""
    user = run.new_user()
    heard: list[Message] = []
    async with run.connect("notifications", user) as client:
        await asyncio.gather(*(_batch(run, user, first) for first in range(0, BURST, 10)))
        while len({message["id"] for message in heard}) < BURST:
            heard.append(await client.hears("system_notification"))
    return heard


def _turned_round(ids: list[str]) -> list[int]:
    """The milliseconds between the two events of each pair of neighbours that came in the wrong order."""
    moments = [int(each[:12], 16) for each in ids]
    latest, found = 0, []
    for moment in moments:
        if moment < latest:
            found.append(latest - moment)
        latest = max(latest, moment)
    return found


async def _batch(run: VerifyRun, user: str, first: int) -> None:
    entries = [
        {
            "EventBusName": run.outputs["BusName"],
            "Source": run.source,
            "DetailType": "system_notification",
            "Detail": json.dumps({"number": number, "delivery": {"to": [user]}}),
        }
        for number in range(first, first + 10)
    ]
    answer = await run.call("events", "put_events", Entries=entries)
    if answer["FailedEntryCount"]:
        raise FailedError(f"EventBridge took {10 - answer['FailedEntryCount']} of 10 events")


async def _rejected(run: VerifyRun, notes: Notes) -> None:
    advice = "ingest sends it to the queue RejectedEventsQueueUrl, with the reason: `realtime logs ingest`."
    async with notes.line("tell.rejected", advice, ["ingest"], within=40) as line:
        mark = run.new_user()
        event_id = await run.publish("call_started", {"user_id": mark})
        reason = await take(run, "RejectedEventsQueueUrl", lambda body: event_id in body)
        if not reason:
            raise FailedError("it is in the queue without its reason")
        line.says = reason


async def take(run: VerifyRun, queue: str, wanted: Callable[[str], bool]) -> str:
    """Wait for a message, delete it alone, and return its reason; other messages become visible again at once."""
    url = run.outputs[queue]
    while True:
        page = await run.call(
            "sqs",
            "receive_message",
            QueueUrl=url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=1,
            VisibilityTimeout=5,
            MessageAttributeNames=["All"],
        )
        found = None
        for message in page.get("Messages", []):
            receipt = message["ReceiptHandle"]
            if found is None and wanted(message["Body"]):
                found = str(message.get("MessageAttributes", {}).get("reason", {}).get("StringValue", ""))
                await run.call("sqs", "delete_message", QueueUrl=url, ReceiptHandle=receipt)
            else:
                await run.call(
                    "sqs", "change_message_visibility", QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0
                )
        if found is not None:
            return found


SCENES = [
    Scene(
        "calls",
        {f"tell.{kind}": f"calls: {kind} reaches both" for kind in ("call_started", "call_billing", "call_ended")},
        _calls,
        (OPEN,),
    ),
    Scene(
        "acquaintances",
        {f"tell.{kind}": f"notifications: {kind}" for kind in _ACQUAINTANCES},
        _acquaintances,
        (OPEN,),
    ),
    Scene(
        "announcement",
        {
            "tell.system_notification": "notifications: system_notification to some",
            "tell.everyone": "notifications: system_notification to everyone",
        },
        _announcement,
        (OPEN,),
    ),
    Scene("order", {"tell.order": "A burst of events of one user comes in order"}, _order, (OPEN,)),
    Scene(
        "rejected", {"tell.rejected": "An event that breaks its schema is in its queue"}, _rejected, ("setup.outputs",)
    ),
]
