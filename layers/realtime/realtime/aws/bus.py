"""EventBridge: the events that we send to the backends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from realtime.aws import retries
from realtime.aws.clients import aws_errors
from realtime.aws.retries import Passing
from realtime.errors import Rejected, Unavailable

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SOURCE = "realtime"  # the rule that feeds `ingest` leaves this source out
_PUT_EVENTS_LIMIT = 10  # entries in one PutEvents


@dataclass(frozen=True, slots=True)
class BusEvent:
    """One event for the bus."""

    detail_type: str
    detail: Mapping[str, Any]
    at_ms: int


class Bus:
    """One event bus."""

    def __init__(self, client: EventBridgeClient, name: str) -> None:
        self._client = client
        self._name = name

    def put_all(self, events: Sequence[BusEvent]) -> None:
        """Put events on the bus; those that it refuses are put again, because PutEvents fails entry by entry.

        If an answer is lost, its events are put twice, with the same `id` in their detail. Raises Unavailable if some
        events stay refused, and Rejected if the bus will never accept one.
        """
        for start in range(0, len(events), _PUT_EVENTS_LIMIT):
            rest: list[Any] = [self._entry(each) for each in events[start : start + _PUT_EVENTS_LIMIT]]
            with retries.rounds() as tries:
                while rest:
                    with aws_errors("putting events on the bus"):
                        answer = self._client.put_events(Entries=rest)
                    results = zip(rest, answer["Entries"], strict=True)
                    refused = [entry for entry, result in results if _is_refused(result)]
                    if refused and not tries.wait(Passing.THROTTLED, progress=len(refused) < len(rest)):
                        raise Unavailable(f"putting events on the bus: {len(refused)} stayed refused")
                    rest = refused

    def _entry(self, event: BusEvent) -> dict[str, Any]:
        return {
            "EventBusName": self._name,
            "Source": SOURCE,
            "DetailType": event.detail_type,
            "Detail": json.dumps(event.detail, separators=(",", ":")),  # ASCII: no target refuses it
            "Time": datetime.fromtimestamp(event.at_ms / 1000, UTC),
        }


def _is_refused(result: Mapping[str, Any]) -> bool:
    """Return whether an entry must be put again.

    Raises Rejected if that would not help.
    """
    code = result.get("ErrorCode")
    if code and retries.passing({"Error": {"Code": code}}, 400, None) is None:
        raise Rejected(f"putting events on the bus: {code}")
    return bool(code)
