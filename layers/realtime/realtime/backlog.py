"""The events of a batch that are still to be posted, and those that are done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from realtime.audiences import connection_of, is_presence, is_wide
from realtime.batch import NO_EVENTS, Batch, EventSet, before, first
from realtime.errors import RealtimeError
from realtime.posting.delivery import Delivery
from realtime.staleness import Staleness
from realtime.tables.connections import Subscriber
from realtime.tables.entries import Entry


@dataclass(slots=True, eq=False)
class BatchDelivery(Delivery):
    """A delivery with the events that it consists of, and how its recipient was found."""

    events: Final[EventSet] = field(kw_only=True)
    user_id: Final[str] = field(kw_only=True)
    wide: Final[str | None] = field(kw_only=True)  # the wide audience that led to its recipient, if one did
    watching: Final[Sequence[str]] = field(kw_only=True)  # the audiences of watched users that led to it


class Backlog:
    """The events of a batch. At first all are to be posted, and all count as done until `undo` or `cut` is called."""

    def __init__(self, batch: Batch, staleness: Staleness, now_s: float) -> None:
        self.batch = batch
        self.stale = 0  # how many recipients were told that they must ask for the state
        self._staleness = staleness
        self.now_s = now_s
        self.done = len(batch.entries)  # how many events, from the first, are done
        self.problem: RealtimeError | None = None  # why the first event that is not done is not
        self._left = before(self.done)  # the events that are still to be posted
        self._drawn: set[str] = set()  # the subscribed audiences for which all deliveries were drawn

    def direct(self) -> Iterator[tuple[str, EventSet, Entry]]:
        """Yield each connection that events address by id, with these events and the entry of the first."""
        for audience, events in self.batch.audiences.items():
            connection_id = connection_of(audience)
            if connection_id is not None:
                yield connection_id, events, self.batch.entries[first(events)]

    def narrow(self) -> Iterator[str]:
        """Yield the subscribed audiences that are about a single user."""
        return (each for each in self.batch.subscribed if not is_wide(each) and connection_of(each) is None)

    def wide(self) -> Iterator[str]:
        """Yield the subscribed audiences of everyone that still have events to be posted.

        Those with nothing but presence come last, each time in another order, so that not always the same ones are
        served late.
        """
        batch = self.batch
        of_others = NO_EVENTS
        for audience, events in batch.audiences.items():
            if is_wide(audience) and not is_presence(audience):
                of_others = EventSet(of_others | events)
        names = [each for each in batch.subscribed if is_wide(each)]
        others = [each for each in names if batch.subscribed[each] & of_others]
        of_presence = [each for each in names if not batch.subscribed[each] & of_others]
        turn = int(self.now_s) % len(of_presence) if of_presence else 0
        for each in (*others, *of_presence[turn:], *of_presence[:turn]):
            if batch.subscribed[each] & self._left:
                yield each

    def delivery(
        self,
        stage: str,
        subscriber: Subscriber,
        events: EventSet,
        *,
        wide: str | None = None,
        watching: Sequence[str] = (),
    ) -> BatchDelivery | None:
        """Return the delivery of these events to a connection; none if it wants or may receive none of them."""
        batch = self.batch
        events = batch.due(subscriber, EventSet(events & self._left))
        if not events:
            return None
        notice = None
        stale = events & self._staleness.late if wide else NO_EVENTS
        if stale:
            notice = self._staleness.notice
            self.stale += 1
        return BatchDelivery(
            stage=stage,
            connection_id=subscriber.connection_id,
            frames=batch.frames(EventSet(events & ~stale), packed=subscriber.batch, notice=notice),
            connected_at_s=subscriber.connected_at_ms / 1000,
            close=batch.closes(events),
            events=events,
            user_id=subscriber.user_id,
            wide=wide,
            watching=watching,
        )

    def draw(self, subscribed: Iterable[str]) -> None:
        """Note that all deliveries for the subscribers of these audiences were drawn."""
        self._drawn.update(subscribed)

    def not_drawn(self) -> EventSet:
        """Return the events for which some deliveries may not have been drawn."""
        left = NO_EVENTS
        for subscribed, events in self.batch.subscribed.items():
            if subscribed not in self._drawn:
                left = EventSet(left | events)
        return left

    def served(self) -> frozenset[str]:
        """Return the wide audiences that all of this, if it is done, served: some messages are only for a few."""
        return frozenset(each.audience for each in self.batch.entries if is_wide(each.audience) and not each.shown_to)

    def undo(self, events: EventSet, problem: RealtimeError) -> None:
        """Note that these events are not done, and why."""
        if events and first(events) < self.done:
            self.done, self.problem = first(events), problem

    def stop(self, problem: RealtimeError) -> None:
        """Give up all events for now."""
        self.undo(self.batch.every, problem)
        self._left = NO_EVENTS

    def cut(self, events: EventSet, problem: RealtimeError) -> None:
        """Give up these events for now: to keep the order, nothing from the first of them on is posted to anybody."""
        self.undo(events, problem)
        self._left = EventSet(self._left & before(first(events)))
