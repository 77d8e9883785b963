"""EventBridge: what we tell the backends."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from realtime.aws import aws_errors
from realtime.errors import Unavailable

SOURCE = "realtime"  # the rule that feeds `ingest` leaves this source out
_PUT_EVENTS_LIMIT = 10  # entries in one PutEvents
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Announcement:
    """One event for the bus; `at` in ms since the epoch."""

    detail_type: str
    detail: dict[str, Any]
    at: int


class Bus:
    """One event bus."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def put_all(self, announcements: Sequence[Announcement]) -> None:
        """Put events on the bus, again those that it refused.

        Raises Unavailable when some stay refused: PutEvents fails entry by entry, with a good status.
        """
        for start in range(0, len(announcements), _PUT_EVENTS_LIMIT):
            remaining = [self._entry(each) for each in announcements[start : start + _PUT_EVENTS_LIMIT]]
            for attempt in range(_ATTEMPTS):
                with aws_errors("putting events on the bus"):
                    answer = self._client.put_events(Entries=remaining)
                remaining = [
                    entry for entry, result in zip(remaining, answer["Entries"], strict=True) if result.get("ErrorCode")
                ]
                if not remaining:
                    break
                time.sleep(random.uniform(0, 0.05 * 2**attempt))
            else:
                raise Unavailable(f"putting events on the bus: {len(remaining)} stayed refused")

    def _entry(self, announcement: Announcement) -> dict[str, Any]:
        return {
            "EventBusName": self._name,
            "Source": SOURCE,
            "DetailType": announcement.detail_type,
            "Detail": json.dumps(announcement.detail, separators=(",", ":")),  # ASCII: no target refuses it
            "Time": datetime.fromtimestamp(announcement.at / 1000, UTC),
        }
