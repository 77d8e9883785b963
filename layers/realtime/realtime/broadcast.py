"""From the Events stream to the wire: each record to every connection of its audience, in order, each once.

Sets of a batch's records are numbers, as in `batches`, which says what of them each connection is sent.

What becomes of a batch, of which the stream is to go on from the first record that is not done:
    an audience that cannot be read               those before its first record are posted, as far as still can be
    a stage that we may not post to               all others are posted; the records for it are not done
    the time is up                                the records of whoever was not served are not done
    a connection that cannot be served            is closed by the engine; if not even that can be done, it is forgotten
    one whose closing is throttled, too           its records are not done, while they are young
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
from realtime.batch import Batch
from realtime.errors import ConfigurationError, RealtimeError, Unavailable
from realtime.ids import event_time_ms
from realtime.posting.poster import Delivery, ManagementApi, Outcome
from realtime.tables.connections import Connections, Subscriber
from realtime.tables.outbox import Entry, Unreadable, from_image
from realtime.tables.registry import FORGOTTEN_TOGETHER, Gone, Registry
from realtime.text import make_storable

_THREADS = 8
# A 429 for a DELETE is the account's: the connection may be well, and to forget it would show its user offline. But no
# connection may hold up others for ever: should it be its own after all, it does so once, for ten minutes at most.
YOUNG_SECONDS = 600
_GIVEN_UP = frozenset({Outcome.THROTTLED, Outcome.FAILED})
_UNFINISHED = _GIVEN_UP | {Outcome.NOT_TRIED, Outcome.FORBIDDEN}

T = TypeVar("T")


def read(record: Mapping[str, Any]) -> Entry:
    """Read a record of the Events stream.

    Raises Unreadable where it is not what our own functions write: in the midst of a fan-out, it would fail the batch.
    """
    shown = record.get("dynamodb") or {}
    try:
        return from_image(shown.get("NewImage"))
    except Unreadable as problem:
        raise Unreadable(make_storable(f"a record that cannot be read, {shown.get('Keys')}: {problem}")) from problem


@dataclass(frozen=True, slots=True)
class Reading:
    """A batch of records: the entries that they show, by their places among them, and those that show none."""

    count: int
    entries: dict[int, Entry] = field(default_factory=dict)
    unreadable: dict[int, Exception] = field(default_factory=dict)

    def done(self, entries: int) -> int:
        """Return how many records, from the first on, are done with when so many of the entries are."""
        return [*self.entries, self.count][entries]


def read_all(records: Sequence[Mapping[str, Any]]) -> Reading:
    """Read a batch of records."""
    reading = Reading(len(records))
    for place, record in enumerate(records):
        try:
            reading.entries[place] = read(record)
        except Unreadable as problem:
            reading.unreadable[place] = problem
    return reading


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a batch."""

    outcomes: Counter[Outcome]  # of how many connections
    done: int  # entries, from the first on: with the next one the stream is to go on
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


class Broadcaster:
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
        todo = _ToDo(Batch(entries), now, until)
        outcomes: Counter[Outcome] = Counter()
        unforgotten: Counter[str] = Counter()
        # Two pools, so that the next page waits behind no forgetting.
        readers, forgetters = ThreadPoolExecutor(_THREADS), ThreadPoolExecutor(_THREADS)
        lost = _Lost(self._registry, forgetters, int(now * 1000))
        try:
            for due in (self._narrow(todo, readers), self._wide(todo, readers)):
                for delivery, outcome in self._management.deliver(due, until=until, close_unserved=True):
                    outcomes[outcome] += 1
                    if outcome is Outcome.GONE:
                        lost.add(delivery)
                    elif outcome in _GIVEN_UP and delivery.closing:
                        if delivery.throttled and todo.is_young(delivery.records):
                            todo.undo(delivery.records, Unavailable("API Gateway throttles the account's requests"))
                        else:
                            lost.add(delivery)
                    elif outcome in _UNFINISHED:
                        todo.undo(delivery.records, self._problem(outcome))
            todo.undo(todo.not_drawn(), _out_of_time())
            for delivery, reason in lost.still_known(forget_until):
                unforgotten[reason] += 1
                if delivery.closing:  # it may live, and would not know what it has missed
                    todo.undo(delivery.records, Unavailable(f"giving up a connection: {reason}"))
        finally:
            for threads in (readers, forgetters):  # a call that hangs must not use up the function's time
                threads.shutdown(wait=False, cancel_futures=True)
        return Report(outcomes, todo.done, todo.problem, unforgotten)

    def _problem(self, outcome: Outcome) -> RealtimeError:
        if outcome is not Outcome.FORBIDDEN:
            return _out_of_time()
        return ConfigurationError(
            "the function's role may not execute-api:ManageConnections, or MANAGEMENT_ENDPOINT is not this API's: "
            f"{self._management.refusal}"
        )

    def _narrow(self, todo: _ToDo, readers: ThreadPoolExecutor) -> Iterator[_Addressed]:
        """Yield what connections are due for narrow audiences, once for each, by however many of them it was found."""
        due: dict[str, _Due] = {}
        for connection_id, records, entry in todo.direct():
            endpoint = entry.endpoint or ""  # `read` sees that there is one
            connected_at = entry.connected_at or int(todo.now * 1000)
            due[connection_id] = _Due(endpoint, Subscriber(connection_id, "", connected_at), records)
        readings = [(audience, readers.submit(self._read, audience, int(todo.now))) for audience in todo.narrow()]
        for audience, reading in readings:
            try:
                subscribers = _result(reading, todo.until)
            except RealtimeError as problem:
                todo.cut(audience, problem)
                continue
            for subscriber in subscribers:
                each = due.setdefault(subscriber.connection_id, _Due(endpoint_of(audience), subscriber))
                each.subscriber = subscriber  # of one that is addressed directly, less is known
                each.records |= todo.batch.audiences[audience]
        for each in due.values():
            yield from todo.delivery(each.endpoint, each.subscriber, each.records)
        todo.draw(audience for audience in todo.batch.audiences if not is_wide(audience))

    def _wide(self, todo: _ToDo, readers: ThreadPoolExecutor) -> Iterator[_Addressed]:
        """Yield what connections are due for wide audiences, as these pass by page by page: each hears one of them."""
        for audience in todo.wide():
            records, endpoint = todo.batch.audiences[audience], endpoint_of(audience)
            try:
                for subscriber in self._passing(audience, todo, readers):
                    yield from todo.delivery(endpoint, subscriber, records, wide=audience)
            except RealtimeError as problem:
                todo.cut(audience, problem)
                continue
            todo.draw([audience])

    def _read(self, audience: str, now: int) -> list[Subscriber]:
        return list(chain.from_iterable(self._connections.hearing(audience, now)))

    def _passing(self, audience: str, todo: _ToDo, readers: ThreadPoolExecutor) -> Iterator[Subscriber]:
        """Yield the connections of an audience; its next page is read while the last one is posted to."""
        pages = self._connections.hearing(audience, int(todo.now))
        reading = readers.submit(next, pages, None)
        while (page := _result(reading, todo.until)) is not None:
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
        return Gone(delivery.connection_id, may_live=delivery.closing)
    audiences = heard_beside(delivery.wide, delivery.user_id, delivery.connection_id)
    return Gone(delivery.connection_id, delivery.user_id, audiences)


class _ToDo:
    """What of a batch is still to be posted, and which of its records are not done."""

    def __init__(self, batch: Batch, now: float, until: float) -> None:
        self.batch = batch
        self.now = now
        self.until = until
        self.done = len(batch.entries)  # records, from the first on
        self.problem: RealtimeError | None = None  # of the first record that is not done
        self._left = (1 << len(batch.entries)) - 1  # the records that are still to be posted
        self._drawn = 0  # the records all of whose deliveries were drawn

    def direct(self) -> Iterator[tuple[str, int, Entry]]:
        """Yield the connections that records are for by name, with the records and the first of them."""
        for audience, records in self.batch.audiences.items():
            connection_id = connection_of(audience)
            if connection_id is not None:
                yield connection_id, records, self.batch.entries[_first(records)]

    def narrow(self) -> Iterator[str]:
        """Yield the audiences of one user or listener."""
        return (each for each in self.batch.audiences if not is_wide(each) and connection_of(each) is None)

    def wide(self) -> Iterator[str]:
        """Yield the audiences of everyone on an endpoint for which something is left to be posted."""
        return (each for each, records in self.batch.audiences.items() if is_wide(each) and records & self._left)

    def delivery(
        self, endpoint: str, subscriber: Subscriber, records: int, *, wide: str | None = None
    ) -> Iterator[_Addressed]:
        """Yield the delivery of these records to a connection, unless it wants or may hear none of them."""
        records = self.batch.due(subscriber, records & self._left)
        if records:
            yield _Addressed(
                endpoint=endpoint,
                connection_id=subscriber.connection_id,
                frames=self.batch.frames(records, packed=subscriber.batch),
                connected_at=subscriber.connected_at / 1000,
                close=self.batch.closes(records),
                records=records,
                user_id=subscriber.user_id,
                wide=wide,
            )

    def is_young(self, records: int) -> bool:
        """Return whether the oldest of these records may still be tried again for one connection's sake."""
        try:
            return self.now - event_time_ms(self.batch.entries[_first(records)].event_id) / 1000 < YOUNG_SECONDS
        except ValueError:  # no id of ours, so no age
            return False

    def draw(self, audiences: Iterable[str]) -> None:
        """Note that all deliveries for these audiences were drawn."""
        for audience in audiences:
            self._drawn |= self.batch.audiences[audience]

    def not_drawn(self) -> int:
        """Return the records some of whose deliveries may not have been drawn."""
        return self.batch.every & ~self._drawn

    def undo(self, records: int, problem: RealtimeError) -> None:
        """Note that these records are not done, and why."""
        if records and _first(records) < self.done:
            self.done, self.problem = _first(records), problem

    def cut(self, audience: str, problem: RealtimeError) -> None:
        """Give up an audience for now: from its first record on, nothing more is posted, so that order holds."""
        records = self.batch.audiences[audience]
        self.undo(records, problem)
        self._left &= (1 << _first(records)) - 1


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
