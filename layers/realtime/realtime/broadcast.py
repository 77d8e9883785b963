"""From the Events stream to the posts: each event goes to every connection of its audience, in order, once.

Afterwards the stream continues from the first record that is not done. How each problem is handled:
    a record cannot be read                   it goes to the dead-letter queue when all records before it are done
    an audience cannot be read                the events before its first event are posted; from there on they are not
                                              done, and nothing more is posted if that is still possible
    the function may not post to a stage      the other stages are posted to; the events for this stage are not done
    the time is up                            the events of all recipients that were not served are not done
    a connection cannot be served             the Poster closes it; if that fails too (STUCK), it is forgotten
    its closing is throttled as well          its events are not done while they are young; later it is forgotten
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from realtime import dead_letters
from realtime.audiences import endpoint_of, is_wide
from realtime.aws.queues import Queue
from realtime.backlog import Backlog, BatchDelivery
from realtime.batch import NO_EVENTS, Batch, EventSet
from realtime.errors import ConfigurationError, RealtimeError, Rejected, Unavailable, Unforeseen, last_resort
from realtime.forgetting import Forgetting, result_of
from realtime.invocation import Deadline
from realtime.posting.delivery import Outcome, Result
from realtime.posting.poster import Poster
from realtime.tables.connections import Connections, Subscriber
from realtime.tables.outbox import Entry, Unreadable, read_entry
from realtime.tables.registry import Registry
from realtime.text import make_storable

# An unforeseen error may be temporary. If a record that is alone in its batch still fails this long after it was
# written, the record is assumed to be the cause. s
PASSING_SECONDS = 60.0
_THREADS = 8
_LOST = frozenset({Outcome.GONE, Outcome.STUCK})
_UNFINISHED = frozenset({Outcome.THROTTLED, Outcome.FAILED, Outcome.NOT_TRIED, Outcome.FORBIDDEN})
_TO_SETTLE = _LOST | _UNFINISHED


def read_record(record: Mapping[str, Any]) -> Entry:
    """Return the entry in a record of the Events stream.

    Raises Unreadable if none of our own functions wrote it; while posting, it would make the whole batch fail.
    """
    change = record.get("dynamodb") or {}
    try:
        return read_entry(change.get("NewImage"))
    except Unreadable as problem:
        raise Unreadable(make_storable(f"a record that cannot be read, {change.get('Keys')}: {problem}")) from problem


@dataclass(frozen=True, slots=True)
class Reading:
    """A batch of records after reading: its entries and its problems, each by the index of the record."""

    count: int  # records
    entries: dict[int, Entry] = field(default_factory=dict)
    unreadable: dict[int, Exception] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]]) -> Reading:
        """Read a batch of records."""
        reading = cls(len(records))
        for place, record in enumerate(records):
            try:
                reading.entries[place] = read_record(record)
            except Unreadable as problem:
                reading.unreadable[place] = problem
        return reading

    def records_done(self, entries_done: int) -> int:
        """Return how many records, from the first, are done when this many entries are done."""
        return [*self.entries, self.count][entries_done]


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a batch."""

    outcomes: Counter[Outcome]  # the number of deliveries for each
    done: int  # how many records or entries, from the first, are done; the stream continues with the next one
    problem: RealtimeError | None = None  # why that next one is not done
    unforgotten: Counter[str] = field(default_factory=Counter)  # connections not forgotten, by reason


@dataclass(slots=True)
class _Recipient:
    """A connection that narrow audiences led to, and the events for it."""

    endpoint: str
    subscriber: Subscriber
    events: EventSet = NO_EVENTS


class Broadcaster:
    """Posts the entries of the outbox."""

    def __init__(
        self, connections: Connections, registry: Registry, poster: Poster, failures: Callable[[], Queue]
    ) -> None:
        self._connections = connections
        self._registry = registry
        self._poster = poster
        self._failures = failures

    def handle(self, records: Sequence[Mapping[str, Any]], deadline: Deadline, *, now_s: float) -> Report:
        """Post a batch of records; send records that would fail every time to the dead-letter queue.

        Raises Unforeseen after an unforeseen error, unless a single record is assumed to be its cause.
        """
        reading = Reading.of(records)
        try:
            with last_resort():
                report = self.broadcast(list(reading.entries.values()), deadline, now_s=now_s)
        except Unforeseen as problem:
            if len(records) > 1 or now_s - _recorded_at_s(records[0]) < PASSING_SECONDS:
                raise
            dead_letters.give_up(self._failures, records, {0: problem}, before=1)
            return Report(Counter(), done=1)
        done = reading.records_done(report.done)
        dead_letters.give_up(self._failures, records, reading.unreadable, before=done)
        if isinstance(report.problem, Rejected):  # DynamoDB refuses to look up its audience
            dead_letters.give_up(self._failures, records, {done: report.problem}, before=done + 1)
            done += 1
        return replace(report, done=done, problem=report.problem if done < len(records) else None)

    def broadcast(self, entries: Sequence[Entry], deadline: Deadline, *, now_s: float) -> Report:
        """Post a batch of entries, and forget the connections that turn out to be gone.

        Narrow audiences go first, because a call must not wait for the thousands of connections on feed.
        """
        backlog = Backlog(Batch(entries), now_s)
        outcomes: Counter[Outcome] = Counter()
        unforgotten: Counter[str] = Counter()
        # Two pools, so that no page waits for forgetting.
        readers, forgetters = ThreadPoolExecutor(_THREADS), ThreadPoolExecutor(_THREADS)
        forgetting = Forgetting(self._registry, forgetters, int(now_s * 1000))
        until = deadline.post_until
        try:
            for deliveries in (self._narrow(backlog, readers, until), self._wide(backlog, readers, until)):
                for result in self._poster.deliver(deliveries, until=until, close_unserved=True):
                    outcomes[result.outcome] += 1
                    if result.outcome in _TO_SETTLE:
                        self._settle(result, backlog, forgetting)
            backlog.undo(backlog.not_drawn(), _out_of_time())
            for result, reason in forgetting.still_known(deadline.forget_until):
                unforgotten[reason] += 1
                if result.outcome is Outcome.STUCK:  # it may be alive, and would not know that it missed events
                    backlog.undo(result.delivery.events, Unavailable(f"giving up a connection: {reason}"))
        finally:
            for threads in (readers, forgetters):  # a call that hangs must not use up the function's time
                threads.shutdown(wait=False, cancel_futures=True)
        return Report(outcomes, backlog.done, backlog.problem, unforgotten)

    def _settle(self, result: Result[BatchDelivery], backlog: Backlog, forgetting: Forgetting) -> None:
        """Decide what to do with a connection that was not served, and with its events."""
        outcome, events = result.outcome, result.delivery.events
        if outcome is Outcome.STUCK and result.throttled and backlog.is_young(events):
            backlog.undo(events, Unavailable("API Gateway throttles the account's requests"))
        elif outcome in _LOST:
            forgetting.add(result)
        else:
            backlog.undo(events, self._problem(outcome))

    def _problem(self, outcome: Outcome) -> RealtimeError:
        if outcome is not Outcome.FORBIDDEN:
            return _out_of_time()
        return ConfigurationError(
            "the function's role may not execute-api:ManageConnections, or MANAGEMENT_ENDPOINT is not this API's: "
            f"{self._poster.refusal}"
        )

    def _narrow(self, backlog: Backlog, readers: ThreadPoolExecutor, until: float) -> Iterator[BatchDelivery]:
        """Yield the deliveries for narrow audiences: one for each connection, even if it subscribes to several."""
        recipients: dict[str, _Recipient] = {}
        for connection_id, events, entry in backlog.direct():
            endpoint = entry.endpoint or ""  # `read_record` checks that there is one
            connected_at_ms = entry.connected_at_ms or int(backlog.now_s * 1000)
            recipients[connection_id] = _Recipient(endpoint, Subscriber(connection_id, "", connected_at_ms), events)
        readings = [
            (audience, readers.submit(self._read, audience, int(backlog.now_s))) for audience in backlog.narrow()
        ]
        for audience, reading in readings:
            try:
                subscribers = result_of(reading, until)
            except RealtimeError as problem:
                backlog.cut(audience, problem)
                continue
            for subscriber in subscribers:
                recipient = recipients.setdefault(
                    subscriber.connection_id, _Recipient(endpoint_of(audience), subscriber)
                )
                recipient.subscriber = subscriber  # it says more about the connection than a direct message does
                recipient.events = EventSet(recipient.events | backlog.batch.audiences[audience])
        for each in recipients.values():
            yield from backlog.delivery(each.endpoint, each.subscriber, each.events)
        backlog.draw(audience for audience in backlog.batch.audiences if not is_wide(audience))

    def _wide(self, backlog: Backlog, readers: ThreadPoolExecutor, until: float) -> Iterator[BatchDelivery]:
        """Yield the deliveries for wide audiences, page by page; no connection subscribes to more than one of them."""
        for audience in backlog.wide():
            events, endpoint = backlog.batch.audiences[audience], endpoint_of(audience)
            try:
                for subscriber in self._pages(audience, int(backlog.now_s), readers, until):
                    yield from backlog.delivery(endpoint, subscriber, events, wide=audience)
            except RealtimeError as problem:
                backlog.cut(audience, problem)
                continue
            backlog.draw([audience])

    def _read(self, audience: str, now_s: int) -> list[Subscriber]:
        return list(chain.from_iterable(self._connections.subscribers(audience, now_s)))

    def _pages(self, audience: str, now_s: int, readers: ThreadPoolExecutor, until: float) -> Iterator[Subscriber]:
        """Yield the subscribers of an audience; its next page is read while the last one is posted to."""
        pages = self._connections.subscribers(audience, now_s)
        reading = readers.submit(next, pages, None)
        while (page := result_of(reading, until)) is not None:
            reading = readers.submit(next, pages, None)
            yield from page


def _out_of_time() -> RealtimeError:
    return Unavailable("the function's time ran out")


def _recorded_at_s(record: Mapping[str, Any]) -> float:
    return float((record.get("dynamodb") or {}).get("ApproximateCreationDateTime", 0))
