"""Few processes handle a burst of backends' events soon, and do not delay other work."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from typing import Any

from harness.stack import Stack

EVENTS = 500
AT_ONCE = 10  # entries in one PutEvents, as many as it takes
WITHIN = 60.0
MOST_ENVIRONMENTS = 8


def environments(stack: Stack, function: str) -> int:
    """How many processes run a function now."""
    worker = f"{stack.folder.path}/tmp/ministack-lambda-{stack.outputs[f'{function}FunctionName']}-"
    listed = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    return sum(worker in line for line in listed.splitlines())


def put(stack: Stack, user: int) -> None:
    """Put the burst on the bus."""
    events = stack.aws("events")
    for start in range(0, EVENTS, AT_ONCE):
        entries: list[Any] = [
            {
                "EventBusName": stack.outputs["BusName"],
                "Source": "tests",
                "DetailType": "system_notification",
                "Detail": json.dumps({"number": number, "delivery": {"to": [user]}}),
            }
            for number in range(start, start + AT_ONCE)
        ]
        assert events.put_events(Entries=entries)["FailedEntryCount"] == 0


async def test_few_environments_deliver_a_burst_of_five_hundred_events(stack: Stack) -> None:
    user, most = stack.new_user(), 0
    deadline = time.monotonic() + WITHIN
    async with stack.connect("notifications", user) as client, stack.connect("calls", stack.new_user()) as other:
        putting = asyncio.create_task(asyncio.to_thread(put, stack, user))
        for _ in range(EVENTS):
            await client.hears("system_notification", within=deadline - time.monotonic())
            if len(client.heard) % 100 == 0:
                most = max(most, environments(stack, "Ingest"))
                await other.pings()  # another client is served at the same time
        await putting
    told = sorted(each["data"]["number"] for each in client.heard if each["type"] == "system_notification")
    assert told == list(range(EVENTS))
    assert 1 <= most <= MOST_ENVIRONMENTS
