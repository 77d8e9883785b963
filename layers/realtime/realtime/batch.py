"""A batch of events: which events each connection receives, and in which frames.

Most connections of a wide audience receive the same events. Therefore the frames of a set of events are made once, and
these connections share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NewType

from realtime.audiences import connection_of
from realtime.messages import MAX_FRAME_BYTES
from realtime.posting.delivery import Frame
from realtime.tables.connections import Subscriber
from realtime.tables.outbox import Entry

# A set of a batch's events: bit n stands for event n. `|` is union, `&` intersection and `& ~` difference.
EventSet = NewType("EventSet", int)
NO_EVENTS = EventSet(0)


def first(events: EventSet) -> int:
    """Return the number of the first event of a set, which must not be empty."""
    return (events & -events).bit_length() - 1


def only(number: int) -> EventSet:
    """Return the set that contains one event."""
    return EventSet(1 << number)


def before(number: int) -> EventSet:
    """Return the set of the first `number` events of a batch."""
    return EventSet((1 << number) - 1)


class Batch:
    """Events in their order. If an event appears twice, no set contains the second appearance."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.audiences: dict[str, EventSet] = {}  # the events for each
        self._frames = [Frame(entry.message.encode(), entry.not_after_s) for entry in entries]
        self._kinds: dict[str, EventSet] = {}
        self._hidden: dict[EventSet, frozenset[str]] = {}
        self._reserved: dict[EventSet, frozenset[str]] = {}
        self._direct = NO_EVENTS
        self._closing = NO_EVENTS
        self._replaced: list[tuple[EventSet, EventSet]] = []  # an event, and the later event that makes it stale
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
        """Return the events of a set that a connection wants and may receive."""
        due: int = events
        if subscriber.types:
            wanted: int = self._direct  # the filter does not apply to messages for this one connection
            for kind in subscriber.types:
                wanted |= self._kinds.get(kind, 0)
            due &= wanted
        for event, users in self._hidden.items():
            if subscriber.user_id in users:
                due &= ~event
        if subscriber.batch:  # it reads a whole array at once, so the last state of each user is enough
            due = self._current(EventSet(due))
        for event, users in self._reserved.items():
            if subscriber.user_id not in users:
                due &= ~event
        return EventSet(due)

    def closes(self, events: EventSet) -> bool:
        """Return whether one of the events closes the connection that receives it."""
        return bool(events & self._closing)

    def frames(self, events: EventSet, *, packed: bool) -> Sequence[Frame]:
        """Return the frames of these events: one for each event, or arrays if `packed`."""
        frames = self._framed.get((events, packed))
        if frames is None:
            frames = [frame for number, frame in enumerate(self._frames) if events >> number & 1]
            if packed:
                frames = pack(frames)
            self._framed[events, packed] = frames
        return frames

    def _current(self, events: EventSet) -> EventSet:
        """Return these events without the states that a later one of them makes stale.

        If the batch is split and tried again, a state that was left out may still be sent, after the later one. Clients
        order the states of a user by `version`.
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
    """Join messages into JSON arrays of at most 32 KB, one step of the bill; a single message becomes no array.

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
