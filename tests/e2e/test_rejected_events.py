"""An event that cannot be delivered to anyone is kept whole, with the reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.stack import Stack

BROKEN: dict[str, tuple[str, Any, str]] = {
    "a key is missing": ("call_started", {"call_id": 1, "user_id": 2}, "listener_id"),
    "a value is of the wrong kind": ("status_change", {"user_id": 2, "is_busy": "very"}, "is_busy"),
    "nobody is named to tell": ("favorite_added", {"user_id": 2, "username": "jane_smith"}, "delivery.to"),
    "its type is unknown": ("call_paused", {"call_id": 1}, "detail-type"),
    "its detail is no object": ("system_notification", [{"delivery": {"to": "everyone"}}], "must be a JSON object"),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_broken_event_is_kept_whole_with_the_reason(stack: Stack, how: str) -> None:
    kind, detail, reason = BROKEN[how]
    event_id = stack.deployment.publish(kind, json.dumps(detail), "marketplace")
    body, attributes = await stack.queue("RejectedEventsQueue").holds(lambda body: event_id in body)
    event = json.loads(body)
    assert (event["id"], event["detail-type"], event["source"]) == (event_id, kind, "marketplace")
    assert event["detail"] == detail
    assert event["time"]
    assert reason in attributes["reason"]
