"""A batch of events: which events each connection receives, and in which frames.

Most connections of a wide audience receive the same events. Therefore the frames of a set of events are made once, and
these connections share them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from typing import NewType, TypeVar

from realtime import trace
from realtime.audiences import connection_of, subscribed_for
from realtime.messages import PART_OF, with_position
from realtime.packing import Message, pack
from realtime.posting.delivery import Frame
from realtime.tables.connections import Subscriber
from realtime.tables.entries import Entry

# A set of a batch's events: bit n stands for event n. `|` is union, `&` intersection and `& ~` difference.
EventSet = NewType("EventSet", int)
NO_EVENTS = EventSet(0)
# Sets whose frames are kept for the next recipients. Whoever must not see some user has a set of their own, which may
# take 160 KB.
_KEPT = 64

K = TypeVar("K")
V = TypeVar("V")


def first(events: EventSet) -> int:
    """Return the number of the first event of a set, which must not be empty."""
    return (events & -events).bit_length() - 1


def only(number: int) -> EventSet:
    """Return the set that contains one event."""
    return EventSet(1 << number)


def before(number: int) -> EventSet:
    """Return the set of the first `number` events of a batch."""
    return EventSet((1 << number) - 1)


def events_of(numbers: Iterable[int]) -> EventSet:
    """Return the set of the events with these numbers, at once: a union for each would copy the set each time."""
    numbers = list(numbers)
    octets = bytearray(max(numbers, default=-1) // 8 + 1)
    for number in numbers:
        octets[number >> 3] |= 1 << (number & 7)
    return EventSet(int.from_bytes(octets, "little"))


def numbers_of(events: EventSet) -> Iterator[int]:
    """Yield the numbers of the events of a set, in order."""
    while events:
        yield first(events)
        events = EventSet(events & (events - 1))


class Batch:
    """Events in their order. If an event appears twice, no set contains the second appearance.

    Presence is state: of the events that report the same part of a user's state, a connection gets the one with the
    highest version, which need not be the last: recording the one before it may have been tried again.

    `positions` has the position that each event brings to clients; without it, the frames bring none.
    """

    def __init__(self, entries: Sequence[Entry], positions: Iterable[Mapping[str, str] | None] = ()) -> None:
        self.entries = entries
        self.audiences: dict[str, EventSet]  # the events for each
        self.subscribed: dict[str, EventSet] = {}  # the events for the subscribers of each audience
        self.states: list[int] = []  # the numbers of the events that report a user's state
        # By subject: how often the list of their blocks was changed, and the events that those on it must not get.
        self.listed: dict[str, tuple[int, EventSet]]
        self._messages = [_message(entry, position) for entry, position in zip_longest(entries, positions)]
        self._kinds: dict[str, EventSet]
        self._hidden: dict[str, EventSet]  # the events that each user must not get
        self._shown: dict[str, EventSet]  # of the reserved events, those that each user may get
        self._reserved: EventSet
        self._direct: EventSet
        self._closing: EventSet
        # Several events about the same part of a state, for one audience; also their numbers, the newest state first.
        self._chains: list[tuple[EventSet, Sequence[int]]]
        self._framed: dict[tuple[EventSet, bool, Frame | None], Sequence[Frame]] = {}
        self._dues: dict[tuple[EventSet, frozenset[str], EventSet], EventSet] = {}
        self._index()

    def _index(self) -> None:
        seen: set[tuple[str, str]] = set()
        audiences, kinds, parts = defaultdict(list), defaultdict(list), defaultdict(list)
        hidden: dict[frozenset[str], list[int]] = defaultdict(list)
        shown: dict[frozenset[str], list[int]] = defaultdict(list)
        closing, to_one = [], []
        for number, entry in enumerate(self.entries):
            if (entry.audience, entry.event_id) in seen:
                continue
            seen.add((entry.audience, entry.event_id))
            audiences[entry.audience].append(number)
            kinds[entry.kind].append(number)
            if connection_of(entry.audience) is not None:
                to_one.append(number)
            if entry.hidden_from:
                hidden[entry.hidden_from].append(number)
            if entry.shown_to:
                shown[entry.shown_to].append(number)
            if entry.close:
                closing.append(number)
            if entry.subject is not None:
                self.states.append(number)
                parts[entry.audience, PART_OF.get(entry.kind, entry.kind), entry.subject].append(number)
        self.audiences = {name: events_of(numbers) for name, numbers in audiences.items()}
        for name, events in self.audiences.items():
            for subscribed in (name,) if connection_of(name) is not None else subscribed_for(name):
                self.subscribed[subscribed] = EventSet(self.subscribed.get(subscribed, NO_EVENTS) | events)
        self._kinds = {name: events_of(numbers) for name, numbers in kinds.items()}
        self._direct, self._closing = events_of(to_one), events_of(closing)
        self._hidden, self._shown = _by_user(hidden), _by_user(shown)
        self._reserved = events_of(chain.from_iterable(shown.values()))
        self._chains = [
            (events_of(numbers), self._newest_first(numbers)) for numbers in parts.values() if len(numbers) > 1
        ]
        self.listed = self._listed()

    def _listed(self) -> dict[str, tuple[int, EventSet]]:
        listed: dict[str, list[int]] = defaultdict(list)
        for number in self.states:
            entry = self.entries[number]
            if entry.listed_blocks and entry.subject is not None and not entry.shown_to:
                listed[entry.subject].append(number)
        return {
            subject: (max(self.entries[number].listed_blocks for number in numbers), events_of(numbers))
            for subject, numbers in listed.items()
        }

    def _newest_first(self, numbers: Sequence[int]) -> Sequence[int]:
        return sorted(numbers, key=lambda number: (self.entries[number].version, number), reverse=True)

    @property
    def every(self) -> EventSet:
        """All events."""
        every = NO_EVENTS
        for events in self.audiences.values():
            every = EventSet(every | events)
        return every

    def due(self, subscriber: Subscriber, events: EventSet) -> EventSet:
        """Return the events of a set that a connection wants and may receive, without those that are superseded."""
        forbidden: int = 0
        if self._hidden:
            forbidden = self._hidden.get(subscriber.user_id, 0)
        if self._reserved:
            forbidden |= self._reserved & ~self._shown.get(subscriber.user_id, 0)
        key = events, subscriber.types, EventSet(forbidden)
        due = self._dues.get(key)
        if due is None:
            due = self._current(self._wanted(EventSet(events & ~forbidden), subscriber.types))
            _keep(self._dues, key, due)
        return due

    def hide(self, user_id: str, events: EventSet) -> None:
        """Note that a user must not get these events."""
        self._hidden[user_id] = EventSet(self._hidden.get(user_id, NO_EVENTS) | events)

    def _wanted(self, events: EventSet, types: frozenset[str]) -> EventSet:
        if not types:
            return events
        wanted: int = self._direct  # the filter does not apply to messages for this one connection
        for kind in types:
            wanted |= self._kinds.get(kind, 0)
        return EventSet(events & wanted)

    def _current(self, events: EventSet) -> EventSet:
        """Return these events without the states that a newer one of them supersedes.

        If the batch is split and tried again, a state that was left out may still be sent, after the newer one. Clients
        order the states of a user by `version`.
        """
        superseded: int = 0
        for about_the_same, newest_first in self._chains:
            held = events & about_the_same
            if held & (held - 1):  # more than one
                newest = next(number for number in newest_first if held >> number & 1)
                superseded |= held ^ 1 << newest
        return EventSet(events & ~superseded)

    @property
    def superseded(self) -> int:
        """How many states are not posted to whoever gets a newer one."""
        return sum(len(newest_first) - 1 for _, newest_first in self._chains)

    def traces(self, events: EventSet) -> list[str]:
        """Return the traces of a set of events: as many as the messages of a queue keep."""
        numbers = islice(numbers_of(events), trace.MAX_TOGETHER)
        return trace.distinct(self.entries[number].trace_id for number in numbers)

    def closes(self, events: EventSet) -> bool:
        """Return whether one of the events closes the connection that receives it."""
        return bool(events & self._closing)

    def frames(self, events: EventSet, *, packed: bool, notice: Frame | None = None) -> Sequence[Frame]:
        """Return the frames of a notice and of these events: one for each, or arrays if `packed`."""
        key = events, packed, notice
        frames = self._framed.get(key)
        if frames is None:
            bits = f"{events:b}"[::-1]
            chosen = [message for message, bit in zip(self._messages, bits, strict=False) if bit == "1"]
            if notice is not None:
                chosen.insert(0, Message.without_position(notice))
            frames = pack(chosen) if packed else [message.frame for message in chosen]
            _keep(self._framed, key, frames)
        return frames


def _message(entry: Entry, position: Mapping[str, str] | None) -> Message:
    frame = Frame(with_position(entry.message, position), entry.not_after_s)
    if position is None or len(frame.body) == len(entry.message.encode()):
        return Message.without_position(frame)
    return Message(frame, with_position(entry.message, {}), " ".join(position))


def _keep(results: dict[K, V], key: K, result: V) -> None:
    if len(results) >= _KEPT:
        del results[next(iter(results))]  # the oldest
    results[key] = result


def _by_user(numbers: Mapping[frozenset[str], list[int]]) -> dict[str, EventSet]:
    """Return the events for each user, from the numbers for each group of users."""
    found: dict[str, EventSet] = {}
    for users, of_group in numbers.items():
        events = events_of(of_group)
        for user in users:
            found[user] = EventSet(found.get(user, NO_EVENTS) | events)
    return found
