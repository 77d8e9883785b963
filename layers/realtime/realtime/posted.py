"""What `broadcast` has posted to each audience, and so the position that an event brings to clients.

Any instance of the function may post the next batch of an audience. If events are rare, what one instance does not know
of another is one or two ids, and `Position.missing` finds them out. If they are not, the instance notes in a table what
it posted.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from realtime.audiences import connection_of, endpoint_of, is_wide
from realtime.errors import RealtimeError
from realtime.ids import is_event_id
from realtime.positions import SLICES, Position, hash_of, slice_of
from realtime.tables.posted import LastPosted, PostedPositions

MANY = 3  # events of an audience in one batch: a write for a batch of so many is cheap
_MAX_AUDIENCES = 20_000  # of one instance; the least recently used is forgotten first
_MAX_IDS = 20_000  # of one audience, within all slices

Event = tuple[str, str]  # an audience and an id


class Posted:
    """The ids of one audience that were posted, as far as the slices reach back from the highest of them."""

    __slots__ = ("_highest", "_ids", "_newest", "_sums")

    def __init__(self, highest: str) -> None:
        self._highest = highest
        self._newest = slice_of(highest)
        self._ids: set[str] = set()
        self._sums: dict[int, int] = {}

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._ids

    def copy(self) -> Posted:
        """Return a copy."""
        copied = Posted(self._highest)
        copied._ids, copied._sums = self._ids.copy(), self._sums.copy()
        return copied

    def add(self, event_id: str) -> None:
        """Add an id; one that was added before, or that is older than the slices, changes nothing."""
        number = slice_of(event_id)
        if event_id in self._ids or number <= self._newest - SLICES:
            return
        self._highest = max(self._highest, event_id)
        if number > self._newest:
            self._move_to(number)
        if len(self._ids) == _MAX_IDS:  # forget them: the sums of these slices become wrong, and nothing is missed
            self._ids.clear()
            self._sums.clear()
        self._ids.add(event_id)
        self._sums[number] = self._sums.get(number, 0) ^ hash_of(event_id)

    def _move_to(self, newest: int) -> None:
        self._newest = newest
        oldest = newest - SLICES + 1
        if any(number < oldest for number in self._sums):
            self._sums = {number: each for number, each in self._sums.items() if number >= oldest}
            self._ids = {event_id for event_id in self._ids if slice_of(event_id) >= oldest}

    @classmethod
    def of(cls, highest: str, event_ids: Iterable[str]) -> Posted:
        """Return these events, of which none is above the highest."""
        posted = cls(highest)
        for event_id in event_ids:
            posted.add(event_id)
        return posted

    @classmethod
    def through(cls, position: Position, counted: Iterable[str]) -> Posted:
        """Return what was posted up to a position; of the ids in it, only those `counted` are known."""
        posted = cls(position.highest)
        posted._ids = set(counted)
        posted._sums = {posted._newest - age: each for age, each in enumerate(position.sums)}
        return posted

    def position(self) -> Position:
        """Return the position of a client that received all of them; the last sums are left out where they are zero."""
        oldest = min((number for number, each in self._sums.items() if each), default=self._newest)
        sums = [self._sums.get(number, 0) for number in range(self._newest, oldest - 1, -1)]
        return Position(self._highest, tuple(sums))


class Positions:
    """The positions of the audiences that a function instance posts to."""

    def __init__(self) -> None:
        self._posted: OrderedDict[str, Posted] = OrderedDict()
        self._noted: dict[str, str] = {}  # the positions that this instance noted for others

    def of(self, events: Iterable[Event]) -> Iterator[dict[str, str] | None]:
        """Yield the position that each event of a batch, an audience and an id, brings to those who receive it.

        It includes what was posted, and the events before it in the batch: whoever receives a later event of a batch
        has received those before it. It is None if the event cannot be replayed.
        """
        batch: dict[str, Posted] = {}
        for audience, event_id in events:
            if not _is_replayed(audience, event_id):
                yield None
                continue
            if audience not in batch:
                known = self._posted.get(audience)
                batch[audience] = Posted(event_id) if known is None else known.copy()
            batch[audience].add(event_id)
            yield {audience: batch[audience].position().text}

    def adopt(self, audience: str, text: str, counted: Iterable[str]) -> None:
        """Learn what another instance has posted to an audience; `counted`: which ids of the next batch this includes.

        What this instance noted last is not news: it may know more by now.
        """
        if self._noted.get(audience) != text:
            self._put(audience, Posted.through(Position.parse(text), counted))

    def note(self, audience: str) -> str:
        """Return the position of an audience, which must be known, for other instances."""
        self._noted[audience] = self._posted[audience].position().text
        return self._noted[audience]

    def keep(self, events: Iterable[Event]) -> None:
        """Note that events were posted to everyone who is to receive them: only now may later positions include them.

        If the batch were handed back, a client could receive its first event again with a position that includes the
        last, and lose its connection before it receives the rest.
        """
        for audience, event_id in events:
            if not _is_replayed(audience, event_id):
                continue
            if audience not in self._posted:
                self._put(audience, Posted(event_id))
            self._posted.move_to_end(audience)
            self._posted[audience].add(event_id)

    def _put(self, audience: str, posted: Posted) -> None:
        self._posted[audience] = posted
        if len(self._posted) > _MAX_AUDIENCES:
            forgotten, _ = self._posted.popitem(last=False)
            self._noted.pop(forgotten, None)


class SharedPositions:
    """The positions of the audiences that a function instance posts to."""

    def __init__(self, posted: PostedPositions) -> None:
        self._posted = posted
        self._positions = Positions()

    def of(self, events: Sequence[Event]) -> list[dict[str, str] | None]:
        """Return the position that each event of a batch brings to those who receive it.

        If what other instances noted cannot be read, clients that resume may receive again what they had.
        """
        shared = _shared(events)
        with suppress(RealtimeError):
            for audience, noted in (self._posted.read(shared) if shared else {}).items():
                self._positions.adopt(audience, noted.position, _through(noted.last_id, audience, events))
        return list(self._positions.of(events))

    def keep(self, events: Sequence[Event], done: int, now_s: int) -> None:
        """Note that the first events of a batch were posted to everyone who is to receive them."""
        self._positions.keep(events[:done])
        last = {audience: event_id for audience, event_id in events[:done] if _is_replayed(audience, event_id)}
        shared = {
            audience: LastPosted(self._positions.note(audience), last[audience])
            for audience in _shared(events)
            if audience in last
        }
        if shared:
            with suppress(RealtimeError):
                self._posted.write(shared, now_s)


def _is_replayed(audience: str, event_id: str) -> bool:
    """Return whether an event can be replayed: not if it addresses one connection, or if its id is not one of ours."""
    return connection_of(audience) is None and is_event_id(event_id)


def _shared(events: Sequence[Event]) -> list[str]:
    """Return the audiences of which other instances have to know.

    They include that of notifications for everyone: these are rare, but each has many recipients. Clients of feed and
    presence ask for the state instead.
    """
    counts = Counter(audience for audience, _ in events)
    return [
        audience
        for audience, count in counts.items()
        if count >= MANY or (is_wide(audience) and endpoint_of(audience) == "notifications")
    ]


def _through(last_id: str, audience: str, events: Sequence[Event]) -> list[str]:
    """Return the ids of an audience up to one, if it is in the batch: an instance posted them, and nobody knew."""
    ids = [event_id for name, event_id in events if name == audience]
    return ids[: ids.index(last_id) + 1] if last_id in ids else []
