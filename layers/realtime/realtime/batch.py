"""A batch of events: which of them each connection is sent, and as which frames.

Most connections of a wide audience are sent the same events, so that the frames of a set of events are made once and
shared by all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NewType

from realtime.audiences import connection_of
from realtime.messages import MAX_FRAME_BYTES
from realtime.posting.delivery import Frame
from realtime.tables.connections import Subscriber
from realtime.tables.outbox import Entry

# A set of a batch's events: bit n stands for event n. Join, cut and subtract two by `|`, `&` and `& ~`.
EventSet = NewType("EventSet", int)
NO_EVENTS = EventSet(0)


def first(events: EventSet) -> int:
    """Return the number of the first event of a set that is not empty."""
    return (events & -events).bit_length() - 1


def only(number: int) -> EventSet:
    """Return the set of one event."""
    return EventSet(1 << number)


def before(number: int) -> EventSet:
    """Return all events before one: the first `number` events of a batch."""
    return EventSet((1 << number) - 1)


class Batch:
    """Events in their order. Of an event that appears twice, the second is in no set."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.audiences: dict[str, EventSet] = {}  # the events for each
        self._frames = [Frame(entry.message.encode(), entry.not_after_s) for entry in entries]
        self._kinds: dict[str, EventSet] = {}
        self._hidden: dict[EventSet, frozenset[str]] = {}
        self._reserved: dict[EventSet, frozenset[str]] = {}
        self._direct = NO_EVENTS
        self._closing = NO_EVENTS
        self._replaced: list[tuple[EventSet, EventSet]] = []  # an event, and the one that makes it stale
        self._framed: dict[tuple[EventSet, bool], Sequence[Frame]] = {}
        self._currents: dict[EventSet, EventSet] = {}
        self._index()

    def _index(self) -> None:
        seen: set[tuple[str, str]] = set()
        latest: dict[tuple[str, str, str], EventSet] = {}
        for number, entry in enumerate(self.entries):
            if (entry.audience, entry.event_id) in seen:
                continue
            seen.add((entry.audience, entry.event_id))
            event = only(number)
            self.audiences[entry.audience] = EventSet(self.audiences.get(entry.audience, NO_EVENTS) | event)
            self._kinds[entry.kind] = EventSet(self._kinds.get(entry.kind, NO_EVENTS) | event)
            if connection_of(entry.audience) is not None:
                self._direct = EventSet(self._direct | event)
            if entry.hidden_from:
                self._hidden[event] = entry.hidden_from
            if entry.shown_to:
                self._reserved[event] = entry.shown_to
            if entry.close:
                self._closing = EventSet(self._closing | event)
            if entry.subject is not None:
                state = (entry.audience, entry.kind, entry.subject)
                if state in latest:
                    self._replaced.append((latest[state], event))
                latest[state] = event

    @property
    def every(self) -> EventSet:
        """All events."""
        every = NO_EVENTS
        for events in self.audiences.values():
            every = EventSet(every | events)
        return every

    def due(self, subscriber: Subscriber, events: EventSet) -> EventSet:
        """Return the events of a set that a connection wants and may be sent."""
        due: int = events
        if subscriber.types:
            wanted: int = self._direct  # its filter does not apply to messages for this very connection
            for kind in subscriber.types:
                wanted |= self._kinds.get(kind, 0)
            due &= wanted
        for event, users in self._hidden.items():
            if subscriber.user_id in users:
                due &= ~event
        if subscriber.batch:  # it reads all of an array at once: the last of a user's states is enough
            due = self._current(EventSet(due))
        for event, users in self._reserved.items():
            if subscriber.user_id not in users:
                due &= ~event
        return EventSet(due)

    def closes(self, events: EventSet) -> bool:
        """Return whether one of the events ends the connection that is sent it."""
        return bool(events & self._closing)

    def frames(self, events: EventSet, *, packed: bool) -> Sequence[Frame]:
        """Return the frames of these events: one for each, or `packed` into arrays."""
        frames = self._framed.get((events, packed))
        if frames is None:
            frames = [frame for number, frame in enumerate(self._frames) if events >> number & 1]
            if packed:
                frames = pack(frames)
            self._framed[events, packed] = frames
        return frames

    def _current(self, events: EventSet) -> EventSet:
        """Return events without the states that a later event among them makes stale.

        If the batch is tried again in other parts, a state that was left out may still be sent, after the later one:
        clients know the order of a user's states by their `version`.
        """
        current = self._currents.get(events)
        if current is None:
            current = events
            for event, replacing in self._replaced:
                if replacing & events:
                    current = EventSet(current & ~event)
            self._currents[events] = current
        return current


def pack(frames: Sequence[Frame]) -> list[Frame]:
    """Join messages into JSON arrays, each of at most one metered step; a message that stands alone is not wrapped.

    Only messages with the same `not_after_s` are joined: an array is sent whole or not at all.
    """
    packed: list[Frame] = []
    group: list[Frame] = []
    size = 0
    for frame in frames:
        if group and (size + 1 + len(frame.body) > MAX_FRAME_BYTES or frame.not_after_s != group[0].not_after_s):
            packed.append(_joined(group))
            group, size = [], 0
        size += len(frame.body) + (1 if group else 2)  # a comma, or the two brackets
        group.append(frame)
    if group:
        packed.append(_joined(group))
    return packed


def _joined(group: Sequence[Frame]) -> Frame:
    if len(group) == 1:
        return group[0]
    return Frame(b"[" + b",".join(frame.body for frame in group) + b"]", group[0].not_after_s)
