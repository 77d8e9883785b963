"""EventBridge: what we tell the backends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from realtime.aws import retries
from realtime.aws.clients import aws_errors
from realtime.aws.retries import Passing
from realtime.errors import Rejected, Unavailable

SOURCE = "realtime"  # the rule that feeds `ingest` leaves this source out
_PUT_EVENTS_LIMIT = 10  # entries in one PutEvents


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
        """Put events on the bus, again those that it refused: PutEvents fails entry by entry, with a good status.

        An event whose answer was lost is put twice, with the same `id` in its detail. Raises Unavailable when some stay
        refused, Rejected when one is no event that a bus takes.
        """
        for start in range(0, len(announcements), _PUT_EVENTS_LIMIT):
            rest = [self._entry(each) for each in announcements[start : start + _PUT_EVENTS_LIMIT]]
            with retries.rounds() as tries:
                while rest:
                    with aws_errors("putting events on the bus"):
                        answer = self._client.put_events(Entries=rest)
                    results = zip(rest, answer["Entries"], strict=True)
                    refused = [entry for entry, result in results if _is_refused(result)]
                    if refused and not tries.wait(Passing.THROTTLED, progress=len(refused) < len(rest)):
                        raise Unavailable(f"putting events on the bus: {len(refused)} stayed refused")
                    rest = refused

    def _entry(self, announcement: Announcement) -> dict[str, Any]:
        return {
            "EventBusName": self._name,
            "Source": SOURCE,
            "DetailType": announcement.detail_type,
            "Detail": json.dumps(announcement.detail, separators=(",", ":")),  # ASCII: no target refuses it
            "Time": datetime.fromtimestamp(announcement.at / 1000, UTC),
        }


def _is_refused(result: Mapping[str, str]) -> bool:
    """Return whether an entry is to be put again.

    Raises Rejected where that would not help.
    """
    code = result.get("ErrorCode")
    if code and retries.passing({"Error": {"Code": code}}, 400, None) is None:
        raise Rejected(f"putting events on the bus: {code}")
    return bool(code)
