"""A temporary queue that receives the bus events about verify's own users: the service's, and those of verify."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from operate.verify.run import PREFIX, VerifyRun, stack_mark

PAUSE_SECONDS = 1.0
"""Until the queue is asked again after a failure."""

Event = dict[str, Any]


class Ear:
    """The queue, and the rule that fills it."""

    def __init__(self, run: VerifyRun) -> None:
        """Name queue and rule after the run, so that a later run finds what this one leaves."""
        self._run = run
        self._bus = run.outputs["BusName"]
        self._rule = run.source
        self._queue = f"{PREFIX}{stack_mark(run.deployment.stack)}-{run.run_id}"
        self._url = ""
        self._heard: list[Event] = []
        self._news = asyncio.Condition()
        self._listening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Make queue and rule, and listen."""
        run = self._run
        made = await run.call(
            "sqs", "create_queue", QueueName=self._queue, Attributes={"MessageRetentionPeriod": "3600"}
        )
        self._url = made["QueueUrl"]
        arn = (await run.call("sqs", "get_queue_attributes", QueueUrl=self._url, AttributeNames=["QueueArn"]))[
            "Attributes"
        ]["QueueArn"]
        pattern = {"source": ["realtime", run.source], "detail": {"user_id": [{"prefix": PREFIX}]}}
        rule = await run.call(
            "events",
            "put_rule",
            Name=self._rule,
            EventBusName=self._bus,
            EventPattern=json.dumps(pattern),
            Description="Made by realtime verify, which removes it",
        )
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "events.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": arn,
                    "Condition": {"ArnEquals": {"aws:SourceArn": rule["RuleArn"]}},
                }
            ],
        }
        await run.call("sqs", "set_queue_attributes", QueueUrl=self._url, Attributes={"Policy": json.dumps(policy)})
        await run.call(
            "events",
            "put_targets",
            Rule=self._rule,
            EventBusName=self._bus,
            Targets=[{"Id": "verify", "Arn": arn}],
        )
        self._listening = asyncio.create_task(self._listen())

    async def hears(self, wanted: Callable[[Event], bool]) -> Event:
        """The first event for which a predicate holds, now or later; the caller limits the time."""
        async with self._news:
            while not (found := [each for each in self._heard if wanted(each)]):
                await self._news.wait()
            return found[0]

    def has_heard(self, wanted: Callable[[Event], bool]) -> list[Event]:
        """Return all events so far for which a predicate holds."""
        return [each for each in self._heard if wanted(each)]

    async def event_about(self, kind: str, user: str) -> Event:
        """The service's event of a kind about a user."""
        return await self.hears(
            lambda event: (
                event["source"] == "realtime"
                and event["detail-type"] == kind
                and event["detail"].get("user_id") == user
            )
        )

    async def close(self) -> None:
        """Stop listening; cleanup removes queue and rule."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})

    async def _listen(self) -> None:
        while True:
            try:
                await self._receive()
            except Exception:  # noqa: BLE001  # temporary; the code that waits for the event reports what did not come
                await asyncio.sleep(PAUSE_SECONDS)

    async def _receive(self) -> None:
        page = await self._run.call(
            "sqs", "receive_message", QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=2
        )
        messages = page.get("Messages", [])
        if not messages:
            return
        async with self._news:
            self._heard += [event for message in messages if (event := _read(message["Body"]))]
            self._news.notify_all()
        entries = [
            {"Id": str(place), "ReceiptHandle": message["ReceiptHandle"]} for place, message in enumerate(messages)
        ]
        await self._run.call("sqs", "delete_message_batch", QueueUrl=self._url, Entries=entries)


def _read(body: str) -> Event | None:
    try:
        event = json.loads(body)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
