"""Puts events on the service's bus.

publisher = Publisher.of_boto3(bus="…", source="marketplace")
publisher.put(call_started(call_id=456, user_id=123, listener_id=789, call_type="audio", status="ongoing"))
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, Self

from listener_realtime.events import Event

ENTRIES_AT_ONCE = 10  # EventBridge's limit
BYTES_AT_ONCE = 256 * 1024
"""EventBridge's limit was this for long, and is larger now: docs.aws.amazon.com/eventbridge, PutEvents."""
ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
# Of the codes that PutEvents gives an entry, those that its reference calls retryable.
_TRANSIENT = frozenset({"InternalFailure", "InternalException", "ThrottlingException"})


class PutEvents(Protocol):
    """`put_events` of a client of boto3 or botocore for EventBridge, which repeats calls that fail as a whole."""

    def __call__(self, *, Entries: Sequence[Any]) -> Mapping[str, Any]:  # noqa: N803  # AWS's name
        """Put up to ten entries."""


class NotPublished(Exception):
    """EventBridge did not take some events. `failures` has each of them, with the code and the message of EventBridge.

    The others are on the bus. To put the same events again is safe, for they have their idempotency keys.
    """

    def __init__(self, failures: Sequence[tuple[Event, str, str]]) -> None:
        self.failures = failures
        super().__init__(failures)

    def __str__(self) -> str:
        event, code, message = self.failures[0]
        return f"{len(self.failures)} events are not on the bus; the first, a {event.type}: {code}: {message}"


class Publisher:
    """Puts events on one bus, as one source. May be used by several threads."""

    def __init__(
        self,
        put_events: PutEvents,
        *,
        bus: str,
        source: str,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Take the output `BusName` (or `BusArn`), and the name by which the bus shall know this backend."""
        if source == "realtime":
            raise ValueError("the source 'realtime' is the service's own")
        self._put_events, self._bus, self._source = put_events, bus, source
        self._sleep, self._chance = sleep, chance

    @classmethod
    def of_boto3(cls, *, bus: str, source: str, client: Any = None) -> Self:
        """Use boto3 (the extra `publish`), with this process's credentials and Region unless a client is given."""
        if client is None:
            import boto3  # noqa: PLC0415  # an optional extra

            client = boto3.client("events")
        return cls(client.put_events, bus=bus, source=source)

    def put(self, *events: Event) -> list[str]:
        """Put events, in as few calls as possible; returns EventBridge's ids in their order.

        What EventBridge cannot take now is put again, after pauses. Raises NotPublished with the events that it refuses
        or that it could not take at the end, once all the others are on the bus.
        """
        ids: dict[int, str] = {}
        failures: list[tuple[Event, str, str]] = []
        waiting = list(enumerate(events))
        for attempt in range(ATTEMPTS):
            answers = list(self._put_all(waiting))
            ids |= {number: answer["EventId"] for number, answer in answers if "EventId" in answer}
            failed = [(number, answer) for number, answer in answers if "EventId" not in answer]
            is_last = attempt == ATTEMPTS - 1
            given_up = [each for each in failed if is_last or each[1].get("ErrorCode") not in _TRANSIENT]
            for number, answer in given_up:
                failures.append((events[number], str(answer.get("ErrorCode")), str(answer.get("ErrorMessage"))))
            waiting = [(number, events[number]) for number, answer in failed if (number, answer) not in given_up]
            if not waiting:
                break
            self._sleep(self._chance() * min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**attempt))
        if failures:
            raise NotPublished(failures)
        return [ids[number] for number in range(len(events))]

    def _put_all(self, waiting: Sequence[tuple[int, Event]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for batch in _batches(waiting):
            entries = [
                {"EventBusName": self._bus, "Source": self._source, "DetailType": event.type, "Detail": event.detail}
                for _, event in batch
            ]
            answer = self._put_events(Entries=entries)
            yield from zip((number for number, _ in batch), answer["Entries"], strict=True)


def _batches(events: Sequence[tuple[int, Event]]) -> Iterator[list[tuple[int, Event]]]:
    batch: list[tuple[int, Event]] = []
    size = 0
    for number, event in events:
        added = len(event.detail.encode()) + 512  # the other fields of the entry
        if batch and (len(batch) == ENTRIES_AT_ONCE or size + added > BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append((number, event))
        size += added
    if batch:
        yield batch
