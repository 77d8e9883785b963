"""What a connection is sent of a batch of events: which of them it is due, and as which frames.

The events are numbered, and a set of them is an `int` whose bit n stands for event n: most connections of a wide
audience are due the same set, so that its frames are made once and shared by all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from realtime.audiences import connection_of
from realtime.messages import MAX_FRAME_BYTES
from realtime.posting.poster import Frame
from realtime.tables.connections import Subscriber
from realtime.tables.outbox import Entry


class Batch:
    """Events in their order, those that appear twice taken once."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.audiences: dict[str, int] = {}  # the events that are for each
        self._frames = [Frame(entry.message.encode(), entry.not_after) for entry in entries]
        self._kinds: dict[str, int] = {}
        self._hidden: dict[int, frozenset[str]] = {}
        self._reserved: dict[int, frozenset[str]] = {}
        self._direct = 0
        self._closing = 0
        self._replaced: list[tuple[int, int]] = []  # an event, and the one that makes it stale
        self._framed: dict[tuple[int, bool], Sequence[Frame]] = {}
        self._currents: dict[int, int] = {}
        seen: set[tuple[str, str]] = set()
        latest: dict[tuple[str, str, str], int] = {}
        for at, entry in enumerate(entries):
            if (entry.audience, entry.event_id) in seen:
                continue
            seen.add((entry.audience, entry.event_id))
            event = 1 << at
            self.audiences[entry.audience] = self.audiences.get(entry.audience, 0) | event
            self._kinds[entry.kind] = self._kinds.get(entry.kind, 0) | event
            if connection_of(entry.audience) is not None:
                self._direct |= event
            if entry.hidden_from:
                self._hidden[event] = entry.hidden_from
            if entry.shown_to:
                self._reserved[event] = entry.shown_to
            if entry.close:
                self._closing |= event
            if entry.subject is not None:
                state = (entry.audience, entry.kind, entry.subject)
                if state in latest:
                    self._replaced.append((latest[state], event))
                latest[state] = event

    @property
    def every(self) -> int:
        """All events."""
        every = 0
        for events in self.audiences.values():
            every |= events
        return every

    def due(self, subscriber: Subscriber, events: int) -> int:
        """Return those of the events that a connection wants and may hear."""
        if subscriber.types:
            wanted = self._direct  # what is for this very connection is no matter of taste
            for kind in subscriber.types:
                wanted |= self._kinds.get(kind, 0)
            events &= wanted
        for event, users in self._hidden.items():
            if subscriber.user_id in users:
                events &= ~event
        if subscriber.batch:  # it takes what comes together as one: of a user's states the last is enough
            events = self._current(events)
        for event, users in self._reserved.items():
            if subscriber.user_id not in users:
                events &= ~event
        return events

    def closes(self, events: int) -> bool:
        """Return whether one of the events ends the connection that hears it."""
        return bool(events & self._closing)

    def frames(self, events: int, *, packed: bool) -> Sequence[Frame]:
        """Return the frames that tell of these events, `packed` into arrays or one for each."""
        frames = self._framed.get((events, packed))
        if frames is None:
            frames = [frame for at, frame in enumerate(self._frames) if events >> at & 1]
            if packed:
                frames = pack(frames)
            self._framed[events, packed] = frames
        return frames

    def _current(self, events: int) -> int:
        """Return events without the states that a later one among them makes stale.

        Should the batch be tried again in other parts, a state that was left out may yet come, after the later one:
        clients know the order of a user's states by their `version`.
        """
        current = self._currents.get(events)
        if current is None:
            current = events
            for event, replacing in self._replaced:
                if replacing & events:
                    current &= ~event
            self._currents[events] = current
        return current


def pack(frames: Sequence[Frame]) -> list[Frame]:
    """Join messages into JSON arrays, each of at most one metered step; what stands alone stays as it is.

    Only what is worth hearing for as long is joined: an array is sent whole or not at all.
    """
    packed: list[Frame] = []
    group: list[Frame] = []
    size = 0
    for frame in frames:
        if group and (size + 1 + len(frame.body) > MAX_FRAME_BYTES or frame.not_after != group[0].not_after):
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
    return Frame(b"[" + b",".join(frame.body for frame in group) + b"]", group[0].not_after)
