"""From the Events stream to the wire: each record to every connection of its audience, in order, each once.

A batch's records are numbered, and a set of them is an `int` whose bit n stands for record n: most connections of a
wide audience are due the same set, so that its frames are made once and shared by all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from realtime.audiences import connection_of, endpoint_of, is_wide
from realtime.connections import Connections, Subscriber
from realtime.errors import ConfigurationError
from realtime.management import Delivery, Frame, ManagementApi, Outcome
from realtime.outbox import Entry, from_image
from realtime.registry import Registry

METERED_BYTES = 32 * 1024  # API Gateway charges a frame in steps of so much
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the Events stream."""

    sequence_number: str
    entry: Entry


def read(record: Mapping[str, Any]) -> Record:
    """Read a record of the Events stream."""
    image = record["dynamodb"]
    return Record(image["SequenceNumber"], from_image(image["NewImage"]))


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a batch: how many connections ended how, and the first record that is not done, if any."""

    outcomes: Counter[Outcome]
    undone: str | None  # its sequence number: the stream is to go on from there


@dataclass(slots=True)
class _Due:
    """The records that one connection of a narrow audience is due."""

    endpoint: str
    subscriber: Subscriber
    records: int = 0


@dataclass(slots=True, eq=False)
class _Addressed(Delivery):
    """A delivery that knows the records it is made of."""

    records: int = field(kw_only=True)


class Fanout:
    """Posts what the outbox holds."""

    def __init__(self, connections: Connections, registry: Registry, management: ManagementApi) -> None:
        self._connections = connections
        self._registry = registry
        self._management = management

    def broadcast(self, records: Sequence[Record], *, now: float, until: float) -> Report:
        """Post a batch of records; `now` in s since the epoch, `until` on the monotonic clock.

        Raises ConfigurationError if API Gateway does not let us post at all.
        """
        batch = _Batch([record.entry for record in records], now)
        outcomes: Counter[Outcome] = Counter()
        gone: list[str] = []
        not_tried = 0
        with ThreadPoolExecutor(_THREADS) as threads:
            due = self._deliveries(batch, threads, int(now))
            for delivery, outcome in self._management.deliver(due, until=until, close_unserved=True):
                outcomes[outcome] += 1
                if outcome is Outcome.GONE:
                    gone.append(delivery.connection_id)
                elif outcome is Outcome.NOT_TRIED:
                    not_tried |= delivery.records
                elif outcome is Outcome.FORBIDDEN:
                    raise ConfigurationError(
                        "the function's role may not execute-api:ManageConnections, or MANAGEMENT_ENDPOINT is not this "
                        f"API's: {self._management.refusal}"
                    )
            list(threads.map(lambda connection_id: self._registry.forget(connection_id, int(now * 1000)), gone))
        if not not_tried:
            return Report(outcomes, None)
        undone = not_tried | batch.not_drawn()  # time ran out: what was not even drawn is not done either
        return Report(outcomes, records[_first(undone)].sequence_number)

    def _deliveries(self, batch: _Batch, threads: ThreadPoolExecutor, now: int) -> Iterator[_Addressed]:
        """Yield what each connection is due, once for each, whichever of its audiences the records are for.

        Narrow audiences are read first, for they are small; the wide ones then pass by, page by page, and a
        connection that was found in both gets its records in one delivery.
        """
        narrow: dict[str, _Due] = {}
        for connection_id, records, endpoint in batch.direct():
            newcomer = Subscriber(connection_id, "", int(batch.now * 1000), frozenset(), batch=False)
            narrow.setdefault(connection_id, _Due(endpoint, newcomer)).records |= records
        audiences = list(batch.narrow())
        pages = threads.map(lambda audience: list(self._connections.hearing(audience, now)), audiences)
        for audience, subscribers in zip(audiences, pages, strict=True):
            for subscriber in chain.from_iterable(subscribers):
                due = narrow.setdefault(subscriber.connection_id, _Due(endpoint_of(audience), subscriber))
                due.subscriber = subscriber  # of a newcomer, nothing was known
                due.records |= batch.audiences[audience]
        for audience in batch.wide():
            for subscriber in chain.from_iterable(self._connections.hearing(audience, now)):
                also = narrow.pop(subscriber.connection_id, None)
                records = batch.audiences[audience] | (also.records if also else 0)
                yield from batch.delivery(endpoint_of(audience), subscriber, records)
            batch.drawn |= batch.audiences[audience]
        for due in narrow.values():
            yield from batch.delivery(due.endpoint, due.subscriber, due.records)
        for records in batch.audiences.values():
            batch.drawn |= records


class _Batch:
    """The records of one invocation, and the frames made of them."""

    def __init__(self, entries: Sequence[Entry], now: float) -> None:
        self.now = now
        self.audiences: dict[str, int] = {}
        self.drawn = 0  # the records all of whose deliveries were drawn
        self._entries = entries
        self._frames = [Frame(entry.message.encode(), entry.not_after) for entry in entries]
        self._kinds: dict[str, int] = {}
        self._hidden: dict[int, frozenset[str]] = {}
        self._direct = 0
        self._closing = 0
        self._stale = 0
        self._framed: dict[tuple[int, bool], Sequence[Frame]] = {}
        seen: set[tuple[str, str]] = set()
        latest: dict[tuple[str, str, str], int] = {}
        for at, entry in enumerate(entries):
            if (entry.audience, entry.event_id) in seen:
                continue  # the stream may show a record twice
            seen.add((entry.audience, entry.event_id))
            record = 1 << at
            self.audiences[entry.audience] = self.audiences.get(entry.audience, 0) | record
            self._kinds[entry.kind] = self._kinds.get(entry.kind, 0) | record
            if connection_of(entry.audience) is not None:
                self._direct |= record
            if entry.hidden_from:
                self._hidden[record] = entry.hidden_from
            if entry.close:
                self._closing |= record
            if entry.subject is not None:
                state = (entry.audience, entry.kind, entry.subject)
                self._stale |= latest.get(state, 0)
                latest[state] = record

    def not_drawn(self) -> int:
        """Return the records some of whose deliveries may not have been drawn."""
        every = 0
        for records in self.audiences.values():
            every |= records
        return every & ~self.drawn

    def direct(self) -> Iterator[tuple[str, int, str]]:
        """Yield the connections that records are for by name, with the records and the endpoint."""
        for audience, records in self.audiences.items():
            connection_id = connection_of(audience)
            if connection_id is not None:
                yield connection_id, records, self._entries[_first(records)].endpoint or ""

    def narrow(self) -> Iterator[str]:
        """Yield the audiences of one user or listener."""
        return (each for each in self.audiences if not is_wide(each) and connection_of(each) is None)

    def wide(self) -> Iterator[str]:
        """Yield the audiences of everyone on an endpoint."""
        return (each for each in self.audiences if is_wide(each))

    def delivery(self, endpoint: str, subscriber: Subscriber, records: int) -> Iterator[_Addressed]:
        """Yield the delivery of these records to a connection, unless it wants or may hear none of them."""
        if subscriber.types:
            wanted = self._direct  # what is for this very connection is no matter of taste
            for kind in subscriber.types:
                wanted |= self._kinds.get(kind, 0)
            records &= wanted
        if subscriber.batch:  # it takes what comes together as one: of a user's states the last is enough
            records &= ~self._stale
        for record, users in self._hidden.items():
            if subscriber.user_id in users:
                records &= ~record
        if records:
            yield _Addressed(
                endpoint=endpoint,
                connection_id=subscriber.connection_id,
                frames=self._frames_of(records, packed=subscriber.batch),
                connected_at=subscriber.connected_at / 1000,
                close=bool(records & self._closing),
                records=records,
            )

    def _frames_of(self, records: int, *, packed: bool) -> Sequence[Frame]:
        frames = self._framed.get((records, packed))
        if frames is None:
            frames = [frame for at, frame in enumerate(self._frames) if records >> at & 1]
            if packed:
                frames = pack(frames)
            self._framed[records, packed] = frames
        return frames


def _first(records: int) -> int:
    return (records & -records).bit_length() - 1


def pack(frames: Sequence[Frame]) -> list[Frame]:
    """Join messages into JSON arrays, each of at most one metered step; what stands alone stays as it is.

    Only what is worth hearing for as long is joined: an array is sent whole or not at all.
    """
    packed: list[Frame] = []
    group: list[Frame] = []
    size = 0
    for frame in frames:
        if group and (size + 1 + len(frame.body) > METERED_BYTES or frame.not_after != group[0].not_after):
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
