"""What of a batch is still to be posted, and which of its events are done."""

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

# A 429 for a DELETE is the account's: the connection may be well, and to forget it would show its user offline. But no
# connection may hold up others for ever: if the 429 is its own after all, it does so once, for ten minutes at most.
YOUNG_SECONDS = 600


@dataclass(slots=True, eq=False)
class BatchDelivery(Delivery):
    """A delivery with the events that it is made of, and how its recipient was found."""

    events: Final[EventSet] = field(kw_only=True)
    user_id: Final[str] = field(kw_only=True)
    wide: Final[str | None] = field(kw_only=True)  # the wide audience that its recipient was found by, if any


class Backlog:
    """The events of a batch; at first, all are to be posted, and all count as done."""

    def __init__(self, batch: Batch, now_s: float) -> None:
        self.batch = batch
        self.now_s = now_s
        self.done = len(batch.entries)  # events, from the first on
        self.problem: RealtimeError | None = None  # of the first event that is not done
        self._left = before(self.done)  # the events that are still to be posted
        self._drawn = NO_EVENTS  # the events all of whose deliveries were drawn

    def direct(self) -> Iterator[tuple[str, EventSet, Entry]]:
        """Yield the connections that events address by id, with these events and the first of them."""
        for audience, events in self.batch.audiences.items():
            connection_id = connection_of(audience)
            if connection_id is not None:
                yield connection_id, events, self.batch.entries[first(events)]

    def narrow(self) -> Iterator[str]:
        """Yield the audiences of one user or listener."""
        return (each for each in self.batch.audiences if not is_wide(each) and connection_of(each) is None)

    def wide(self) -> Iterator[str]:
        """Yield the audiences of everyone on an endpoint for which something is left to be posted."""
        return (each for each, events in self.batch.audiences.items() if is_wide(each) and events & self._left)

    def delivery(
        self, endpoint: str, subscriber: Subscriber, events: EventSet, *, wide: str | None = None
    ) -> Iterator[BatchDelivery]:
        """Yield the delivery of these events to a connection, unless it wants or may be sent none of them."""
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
        """Return whether the first of these events may still be tried again for the sake of one connection."""
        try:
            return self.now_s - event_time_ms(self.batch.entries[first(events)].event_id) / 1000 < YOUNG_SECONDS
        except ValueError:  # not an id of ours, so that its age is not known
            return False

    def draw(self, audiences: Iterable[str]) -> None:
        """Note that all deliveries for these audiences were drawn."""
        for audience in audiences:
            self._drawn = EventSet(self._drawn | self.batch.audiences[audience])

    def not_drawn(self) -> EventSet:
        """Return the events some of whose deliveries may not have been drawn."""
        return EventSet(self.batch.every & ~self._drawn)

    def undo(self, events: EventSet, problem: RealtimeError) -> None:
        """Note that these events are not done, and why."""
        if events and first(events) < self.done:
            self.done, self.problem = first(events), problem

    def cut(self, audience: str, problem: RealtimeError) -> None:
        """Give up an audience for now: nothing is posted from its first event on, so that the order holds."""
        events = self.batch.audiences[audience]
        self.undo(events, problem)
        self._left = EventSet(self._left & before(first(events)))
