"""A backend hears of messages that no device of a user has acknowledged in time."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime
from typing import Any

from harness.stack import Queue, Stack, eventually
from tests.samples import queued

SENDER = {"user_id": 1, "username": "jane_smith"}


async def undelivered(bus: Queue, *users: int) -> dict[str, Any]:
    """Wait for the next message that was not delivered to one of these users; return the event's detail."""

    def concerns(body: str) -> bool:
        event = json.loads(body)
        return event["detail-type"] == "message_undelivered" and event["detail"]["user_id"] in users

    body, _ = await bus.holds(concerns)
    detail: dict[str, Any] = json.loads(body)["detail"]
    return detail


async def test_the_bus_hears_of_a_message_that_nobody_acknowledges_in_time(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.bus_events() as bus, stack.connect("notifications", user) as client:
        stack.publish("favorite_added", SENDER, to=[user], ack_within=1)
        message = await client.hears("favorite_added")
        assert message["ack"] is True
        assert await undelivered(bus, user) == {
            "id": message["id"],
            "user_id": user,
            "type": "favorite_added",
            "data": message["data"],
            "reason": "not_acknowledged",
        }


async def test_a_recipient_without_a_connection_is_reported_at_once(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.bus_events() as bus:
        stack.publish("favorite_added", SENDER, to=[user], ack_within=900)
        assert (await undelivered(bus, user))["reason"] == "not_connected"


async def test_a_message_that_one_device_acknowledges_is_not_reported(stack: Stack) -> None:
    user, silent = stack.new_user(), stack.new_user()
    async with (
        stack.bus_events() as bus,
        stack.connect("notifications", user) as phone,
        stack.connect("notifications", user) as tablet,
        stack.connect("notifications", silent) as other,
    ):
        stack.publish("favorite_added", SENDER, to=[user, silent], ack_within=3)
        message = await phone.hears("favorite_added")
        assert await tablet.hears("favorite_added") == message
        await phone.send("ack", id=message["id"])
        await phone.pings()
        assert (await phone.hears("acknowledged"))["data"] == {"id": message["id"]}
        assert (await other.hears("favorite_added"))["id"] == message["id"]
        # One check covers both users: if the first had not acknowledged, the bus would have an event about it first.
        assert (await undelivered(bus, user, silent))["user_id"] == silent


async def test_a_check_is_ordered_again_for_an_event_that_the_bus_delivers_twice(stack: Stack) -> None:
    """Ingest may have recorded the event the first time, but no more: the steps after that must not be lost."""
    user = stack.new_user()
    event = {
        "id": str(uuid.uuid4()),
        "detail-type": "favorite_added",
        "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "detail": {**SENDER, "delivery": {"to": [user], "ack_within": 1}},
    }
    async with stack.bus_events() as bus:
        for _ in range(2):
            answer = await asyncio.to_thread(
                stack.aws("lambda").invoke,
                FunctionName=stack.outputs["IngestFunctionName"],
                Qualifier="live",
                Payload=json.dumps(queued(event)),
            )
            assert json.loads(answer["Payload"].read()) == {"batchItemFailures": []}
        await undelivered(bus, user)


async def test_a_message_that_was_reported_as_undelivered_is_settled(stack: Stack) -> None:
    user = stack.new_user()

    def is_awaited(event_id: str) -> bool:
        key = {"audience": {"S": f"awaited/{user}"}, "event_id": {"S": event_id}}
        return "Item" in stack.dynamodb.get_item(TableName=stack.outputs["EventsTableName"], Key=key)

    async with stack.bus_events() as bus:
        stack.publish("favorite_added", SENDER, to=[user], ack_within=1)
        told = await undelivered(bus, user)
        await eventually(lambda: not is_awaited(told["id"]), "nothing is awaited any more")
