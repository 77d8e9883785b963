"""The events of a batch that are still to be posted, and those that are done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from realtime.audiences import connection_of, is_wide
from realtime.batch import NO_EVENTS, Batch, EventSet, before, first
from realtime.errors import RealtimeError
from realtime.ids import event_time_ms
from realtime.posting.delivery import Delivery
from realtime.tables.connections import Subscriber
from realtime.tables.outbox import Entry

# If a DELETE gets a 429, the whole account is assumed to be throttled: the connection may be alive, and forgetting it
# would show its user offline. In case the connection itself is the cause, it may hold up the others only once, for at
# most ten minutes.
YOUNG_SECONDS = 600


@dataclass(slots=True, eq=False)
class BatchDelivery(Delivery):
    """A delivery with the events that it consists of, and how its recipient was found."""

    events: Final[EventSet] = field(kw_only=True)
    user_id: Final[str] = field(kw_only=True)
    wide: Final[str | None] = field(kw_only=True)  # the wide audience that led to its recipient, if one did


class Backlog:
    """The events of a batch. At first all are to be posted, and all count as done until `undo` or `cut` is called."""

    def __init__(self, batch: Batch, now_s: float) -> None:
        self.batch = batch
        self.now_s = now_s
        self.done = len(batch.entries)  # how many events, from the first, are done
        self.problem: RealtimeError | None = None  # why the first event that is not done is not
        self._left = before(self.done)  # the events that are still to be posted
        self._drawn = NO_EVENTS  # the events for which all deliveries were drawn

    def direct(self) -> Iterator[tuple[str, EventSet, Entry]]:
        """Yield each connection that events address by id, with these events and the entry of the first."""
        for audience, events in self.batch.audiences.items():
            connection_id = connection_of(audience)
            if connection_id is not None:
                yield connection_id, events, self.batch.entries[first(events)]

    def narrow(self) -> Iterator[str]:
        """Yield the audiences that are about a single user."""
        return (each for each in self.batch.audiences if not is_wide(each) and connection_of(each) is None)

    def wide(self) -> Iterator[str]:
        """Yield the audiences of everyone on an endpoint that still have events to be posted."""
        return (each for each, events in self.batch.audiences.items() if is_wide(each) and events & self._left)

    def delivery(
        self, endpoint: str, subscriber: Subscriber, events: EventSet, *, wide: str | None = None
    ) -> Iterator[BatchDelivery]:
        """Yield the delivery of these events to a connection; none if it wants or may receive none of them."""
        events = self.batch.due(subscriber, EventSet(events & self._left))
        if events:
            yield BatchDelivery(
                endpoint=endpoint,
                connection_id=subscriber.connection_id,
                frames=self.batch.frames(events, packed=subscriber.batch),
                connected_at_s=subscriber.connected_at_ms / 1000,
                close=self.batch.closes(events),
                events=events,
                user_id=subscriber.user_id,
                wide=wide,
            )

    def is_young(self, events: EventSet) -> bool:
        """Return whether the first of these events is young enough to be tried again because of one connection."""
        try:
            return self.now_s - event_time_ms(self.batch.entries[first(events)].event_id) / 1000 < YOUNG_SECONDS
        except ValueError:  # the id is not one of ours, so the age is unknown
            return False

    def draw(self, audiences: Iterable[str]) -> None:
        """Note that all deliveries for these audiences were drawn."""
        for audience in audiences:
            self._drawn = EventSet(self._drawn | self.batch.audiences[audience])

    def not_drawn(self) -> EventSet:
        """Return the events for which some deliveries may not have been drawn."""
        return EventSet(self.batch.every & ~self._drawn)

    def undo(self, events: EventSet, problem: RealtimeError) -> None:
        """Note that these events are not done, and why."""
        if events and first(events) < self.done:
            self.done, self.problem = first(events), problem

    def cut(self, audience: str, problem: RealtimeError) -> None:
        """Give up an audience for now: to keep the order, no event from its first one on is posted any more."""
        events = self.batch.audiences[audience]
        self.undo(events, problem)
        self._left = EventSet(self._left & before(first(events)))
