"""From the Events stream to the wire: each record to every connection of its audience, in order, each once.

A batch's records are numbered, and a set of them is an `int` whose bit n stands for record n: most connections of a
wide audience are due the same set, so that its frames are made once and shared by all of them.

What becomes of a batch, of which the stream is to go on from the first record that is not done:
    a record that cannot be read                  those before it are posted; it and those after it are not done
    an audience that cannot be read               those before its first record are posted, as far as still can be
    a stage that we may not post to               all others are posted; the records for it are not done
    the time is up                                the records of whoever was not served are not done
    a connection that cannot be served            is closed by the engine; if not even that can be done, it is forgotten
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

from realtime.audiences import connection_of, endpoint_of, heard_beside, is_wide
from realtime.connections import Connections, Subscriber
from realtime.errors import ConfigurationError, RealtimeError, Unavailable
from realtime.management import Delivery, Frame, ManagementApi, Outcome
from realtime.messages import ENDPOINTS
from realtime.outbox import Entry, from_image
from realtime.registry import FORGOTTEN_TOGETHER, Gone, Registry

METERED_BYTES = 32 * 1024  # API Gateway charges a frame in steps of so much
_THREADS = 8
_GIVEN_UP = frozenset({Outcome.THROTTLED, Outcome.FAILED})
_UNFINISHED = _GIVEN_UP | {Outcome.NOT_TRIED, Outcome.FORBIDDEN}

T = TypeVar("T")


class Unreadable(RealtimeError):
    """A record of the stream that no try will ever post; the message says which, and what is wrong with it."""


def read(record: Mapping[str, Any]) -> Entry:
    """Read a record of the Events stream.

    Raises Unreadable where it is not what our own functions write: in the midst of a fan-out, it would fail the batch.
    """
    try:
        entry = from_image(record["dynamodb"]["NewImage"])
        _check(entry)
    except Exception as error:  # whatever it is, it is this record's own
        keys = record.get("dynamodb", {}).get("Keys")
        raise Unreadable(f"a record that cannot be read, {keys}: {type(error).__name__}: {error}") from error
    return entry


def read_all(records: Iterable[Mapping[str, Any]]) -> tuple[list[Entry], Unreadable | None]:
    """Read records up to the first that cannot be read; return those before it, and what is wrong with it."""
    readable: list[Entry] = []
    for record in records:
        try:
            readable.append(read(record))
        except Unreadable as problem:
            return readable, problem
    return readable, None


def _check(entry: Entry) -> None:
    for name in ("audience", "event_id", "kind", "message"):
        if not isinstance(getattr(entry, name), str):
            raise TypeError(f"{name} is no string")
    if not isinstance(entry.subject, str | None):
        raise TypeError("subject is no string")
    if not isinstance(entry.not_after, int | None):
        raise TypeError("not_after is no number")
    for name in ("hidden_from", "shown_to"):
        if not isinstance(getattr(entry, name), frozenset):
            raise TypeError(f"{name} is no set")
    if connection_of(entry.audience) is not None and entry.endpoint not in ENDPOINTS:
        raise ValueError(f"endpoint is {entry.endpoint!r}")  # to post to no stage is a 403, as if a right were missing
    entry.message.encode()


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a batch."""

    outcomes: Counter[Outcome]  # of how many connections
    done: int  # records, from the first on: with the next one the stream is to go on
    problem: RealtimeError | None = None  # why that one is not done, if there is one
    unforgotten: Counter[str] = field(default_factory=Counter)  # connections that are gone, by why they are still known


@dataclass(slots=True)
class _Due:
    """The records that one connection of a narrow audience is due."""

    endpoint: str
    subscriber: Subscriber
    records: int = 0


@dataclass(slots=True, eq=False)
class _Addressed(Delivery):
    """A delivery that knows the records it is made of, and how its connection was found."""

    records: int = field(kw_only=True)
    user_id: str = field(kw_only=True)
    wide: str | None = field(kw_only=True)  # the wide audience that the connection hears, if it was found by one


class Fanout:
    """Posts what the outbox holds."""

    def __init__(self, connections: Connections, registry: Registry, management: ManagementApi) -> None:
        self._connections = connections
        self._registry = registry
        self._management = management

    def broadcast(self, entries: Sequence[Entry], *, now: float, until: float, forget_until: float) -> Report:
        """Post a batch of entries, and forget the connections that turn out to be gone.

        Those for narrow audiences go first: a call is told before a feed's thousands are. `now` in s since the epoch;
        posting ends by `until`, forgetting by `forget_until`, both on the monotonic clock.
        """
        batch = _Batch(entries, now)
        outcomes: Counter[Outcome] = Counter()
        unforgotten: Counter[str] = Counter()
        # Two pools, so that the next page waits behind no forgetting.
        readers, forgetters = ThreadPoolExecutor(_THREADS), ThreadPoolExecutor(_THREADS)
        lost = _Lost(self._registry, forgetters, int(now * 1000))
        try:
            for due in (self._narrow(batch, readers, until), self._wide(batch, readers, until)):
                for delivery, outcome in self._management.deliver(due, until=until, close_unserved=True):
                    outcomes[outcome] += 1
                    if outcome is Outcome.GONE or (outcome in _GIVEN_UP and delivery.closing):
                        lost.add(delivery)
                    elif outcome in _UNFINISHED:
                        batch.undo(delivery.records, self._problem(outcome))
            batch.undo(batch.not_drawn(), _out_of_time())
            for delivery, reason in lost.still_known(forget_until):
                unforgotten[reason] += 1
                if delivery.closing:  # it may live, and would not know what it has missed
                    batch.undo(delivery.records, Unavailable(f"giving up a connection: {reason}"))
        finally:
            for threads in (readers, forgetters):  # a call that hangs must not use up the function's time
                threads.shutdown(wait=False, cancel_futures=True)
        return Report(outcomes, batch.done, batch.problem, unforgotten)

    def _problem(self, outcome: Outcome) -> RealtimeError:
        if outcome is not Outcome.FORBIDDEN:
            return _out_of_time()
        return ConfigurationError(
            "the function's role may not execute-api:ManageConnections, or MANAGEMENT_ENDPOINT is not this API's: "
            f"{self._management.refusal}"
        )

    def _narrow(self, batch: _Batch, readers: ThreadPoolExecutor, until: float) -> Iterator[_Addressed]:
        """Yield what connections are due for narrow audiences, once for each, by however many of them it was found."""
        due: dict[str, _Due] = {}
        for connection_id, records, endpoint in batch.direct():
            newcomer = Subscriber(connection_id, "", int(batch.now * 1000), frozenset(), batch=False)
            due.setdefault(connection_id, _Due(endpoint, newcomer)).records |= records
        readings = [(audience, readers.submit(self._read, audience, int(batch.now))) for audience in batch.narrow()]
        for audience, reading in readings:
            try:
                subscribers = _result(reading, until)
            except RealtimeError as problem:
                batch.cut(audience, problem)
                continue
            for subscriber in subscribers:
                each = due.setdefault(subscriber.connection_id, _Due(endpoint_of(audience), subscriber))
                each.subscriber = subscriber  # of a newcomer, nothing was known
                each.records |= batch.audiences[audience]
        for each in due.values():
            yield from batch.delivery(each.endpoint, each.subscriber, each.records)
        batch.draw(audience for audience in batch.audiences if not is_wide(audience))

    def _wide(self, batch: _Batch, readers: ThreadPoolExecutor, until: float) -> Iterator[_Addressed]:
        """Yield what connections are due for wide audiences, as these pass by page by page: each hears one of them."""
        for audience in batch.wide():
            if not batch.left_of(audience):
                continue
            try:
                for subscriber in self._passing(audience, readers, int(batch.now), until):
                    yield from batch.delivery(
                        endpoint_of(audience), subscriber, batch.audiences[audience], wide=audience
                    )
            except RealtimeError as problem:
                batch.cut(audience, problem)
                continue
            batch.draw([audience])

    def _read(self, audience: str, now: int) -> list[Subscriber]:
        return list(chain.from_iterable(self._connections.hearing(audience, now)))

    def _passing(self, audience: str, readers: ThreadPoolExecutor, now: int, until: float) -> Iterator[Subscriber]:
        """Yield the connections of an audience; its next page is read while the last one is posted to."""
        pages = self._connections.hearing(audience, now)
        reading = readers.submit(next, pages, None)
        while (page := _result(reading, until)) is not None:
            reading = readers.submit(next, pages, None)
            yield from page


class _Lost:
    """The connections that turn out to be gone: forgotten in threads, several at a time, while others are posted to."""

    def __init__(self, registry: Registry, forgetters: ThreadPoolExecutor, now: int) -> None:
        self._registry = registry
        self._forgetters = forgetters
        self._now = now
        self._group: list[_Addressed] = []
        self._forgetting: list[tuple[list[_Addressed], Future[Mapping[str, Exception]]]] = []

    def add(self, delivery: _Addressed) -> None:
        self._group.append(delivery)
        if len(self._group) == FORGOTTEN_TOGETHER:
            self._forget()

    def still_known(self, until: float) -> Iterator[tuple[_Addressed, str]]:
        """Wait until all are forgotten; yield those that are not, with the reason; `until` on the monotonic clock."""
        if self._group:
            self._forget()
        for group, forgetting in self._forgetting:
            try:
                failed = _result(forgetting, until)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is no matter to the others
                failed = {each.connection_id: error for each in group}
            for delivery in group:
                if (problem := failed.get(delivery.connection_id)) is not None:
                    yield delivery, f"{type(problem).__name__}: {problem}"

    def _forget(self) -> None:
        gone = [_gone(each) for each in self._group]
        self._forgetting.append((self._group, self._forgetters.submit(self._registry.forget_all, gone, self._now)))
        self._group = []


def _gone(delivery: _Addressed) -> Gone:
    """Tell what is known of it. One that may live must hear nothing more, so all that it hears is to be looked up."""
    if delivery.wide is None or delivery.closing:
        return Gone(delivery.connection_id)
    audiences = heard_beside(delivery.wide, delivery.user_id, delivery.connection_id)
    return Gone(delivery.connection_id, delivery.user_id, audiences)


class _Batch:
    """The records of one invocation, the frames made of them, and which of them are not done."""

    def __init__(self, entries: Sequence[Entry], now: float) -> None:
        self.now = now
        self.audiences: dict[str, int] = {}
        self.done = len(entries)  # records, from the first on
        self.problem: RealtimeError | None = None  # of the first record that is not done
        self._entries = entries
        self._frames = [Frame(entry.message.encode(), entry.not_after) for entry in entries]
        self._kinds: dict[str, int] = {}
        self._hidden: dict[int, frozenset[str]] = {}
        self._reserved: dict[int, frozenset[str]] = {}
        self._direct = 0
        self._closing = 0
        self._drawn = 0  # the records all of whose deliveries were drawn
        self._replaced: list[tuple[int, int]] = []  # a record, and the one that makes it stale
        self._left = (1 << len(entries)) - 1  # the records that are still to be posted
        self._framed: dict[tuple[int, bool], Sequence[Frame]] = {}
        self._currents: dict[int, int] = {}
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
            if entry.shown_to:
                self._reserved[record] = entry.shown_to
            if entry.close:
                self._closing |= record
            if entry.subject is not None:
                state = (entry.audience, entry.kind, entry.subject)
                if state in latest:
                    self._replaced.append((latest[state], record))
                latest[state] = record

    def undo(self, records: int, problem: RealtimeError) -> None:
        """Note that these records are not done, and why."""
        if records and _first(records) < self.done:
            self.done, self.problem = _first(records), problem

    def cut(self, audience: str, problem: RealtimeError) -> None:
        """Give up an audience for now: from its first record on, nothing more is posted, so that order holds."""
        records = self.audiences[audience]
        self.undo(records, problem)
        self._left &= (1 << _first(records)) - 1

    def left_of(self, audience: str) -> int:
        """Return the records for an audience that are still to be posted."""
        return self.audiences[audience] & self._left

    def draw(self, audiences: Iterable[str]) -> None:
        """Note that all deliveries for these audiences were drawn."""
        for audience in audiences:
            self._drawn |= self.audiences[audience]

    def not_drawn(self) -> int:
        """Return the records some of whose deliveries may not have been drawn."""
        every = 0
        for records in self.audiences.values():
            every |= records
        return every & ~self._drawn

    def direct(self) -> Iterator[tuple[str, int, str]]:
        """Yield the connections that records are for by name, with the records and the endpoint."""
        for audience, records in self.audiences.items():
            connection_id = connection_of(audience)
            if connection_id is not None:
                yield (
                    connection_id,
                    records,
                    self._entries[_first(records)].endpoint or "",
                )  # `read` sees that it is set

    def narrow(self) -> Iterator[str]:
        """Yield the audiences of one user or listener."""
        return (each for each in self.audiences if not is_wide(each) and connection_of(each) is None)

    def wide(self) -> Iterator[str]:
        """Yield the audiences of everyone on an endpoint."""
        return (each for each in self.audiences if is_wide(each))

    def delivery(
        self, endpoint: str, subscriber: Subscriber, records: int, *, wide: str | None = None
    ) -> Iterator[_Addressed]:
        """Yield the delivery of these records to a connection, unless it wants or may hear none of them."""
        records &= self._left
        if subscriber.types:
            wanted = self._direct  # what is for this very connection is no matter of taste
            for kind in subscriber.types:
                wanted |= self._kinds.get(kind, 0)
            records &= wanted
        for record, users in self._hidden.items():
            if subscriber.user_id in users:
                records &= ~record
        if subscriber.batch:  # it takes what comes together as one: of a user's states the last is enough
            records = self._current(records)
        for record, users in self._reserved.items():
            if subscriber.user_id not in users:
                records &= ~record
        if records:
            yield _Addressed(
                endpoint=endpoint,
                connection_id=subscriber.connection_id,
                frames=self._frames_of(records, packed=subscriber.batch),
                connected_at=subscriber.connected_at / 1000,
                close=bool(records & self._closing),
                records=records,
                user_id=subscriber.user_id,
                wide=wide,
            )

    def _current(self, records: int) -> int:
        """Return records without the states that a later one among them makes stale.

        Should the batch be tried again in other parts, a state that was left out may yet come, after the later one:
        clients know the order of a user's states by their `version`.
        """
        current = self._currents.get(records)
        if current is None:
            current = records
            for record, replacing in self._replaced:
                if replacing & records:
                    current &= ~record
            self._currents[records] = current
        return current

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


def _out_of_time() -> RealtimeError:
    return Unavailable("the function's time ran out")


def _result(future: Future[T], until: float) -> T:
    """Return what a thread returns; `until` on the monotonic clock.

    Raises what the thread raises, or Unavailable if it has not ended by then.
    """
    try:
        return future.result(max(0.0, until - time.monotonic()))
    except TimeoutError as error:
        raise Unavailable("a table did not answer in time") from error


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
