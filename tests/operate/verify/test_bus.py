"""The temporary queue that hears the bus."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from operate.verify import bus
from operate.verify.bus import Ear


class FakeRun:
    """A run whose queue gives one message at a time, and cannot delete the first."""

    def __init__(self, *users: str) -> None:
        self.outputs = {"BusName": "realtime"}
        self.source, self.run_id = "realtime-verify-1", "1"
        self.deployment = self
        self.stack = "stack"
        self._bodies = [
            json.dumps({"source": "realtime", "detail-type": "user_online", "detail": {"user_id": user}})
            for user in users
        ]
        self._has_failed = False

    async def call(self, _service: str, operation: str, **_: Any) -> Any:
        match operation:
            case "create_queue":
                return {"QueueUrl": "https://sqs/queue"}
            case "get_queue_attributes":
                return {"Attributes": {"QueueArn": "arn:aws:sqs:queue"}}
            case "put_rule":
                return {"RuleArn": "arn:aws:events:rule"}
            case "receive_message":
                await asyncio.sleep(0)
                return {"Messages": [{"Body": self._bodies.pop(0), "ReceiptHandle": "1"}]} if self._bodies else {}
            case "delete_message_batch" if not self._has_failed:
                self._has_failed = True
                raise ConnectionError("the line is down for a moment")
        return {}


async def test_it_goes_on_listening_after_a_message_that_it_could_not_delete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "PAUSE_SECONDS", 0.0)
    run: Any = FakeRun("first", "second")
    ear = Ear(run)
    await ear.open()
    try:
        async with asyncio.timeout(5):
            await ear.event_about("user_online", "first")
            await ear.event_about("user_online", "second")
    finally:
        await ear.close()
