"""From the Events stream to the posts: each event to every connection of its audience, in order, each once.

What becomes of a batch, of which the stream is to go on from the first record that is not done:
    a record that cannot be read              goes to the dead-letter queue once all before it are done
    an audience that cannot be read           what comes before its first event is posted, as far as still possible
    a stage that we may not post to           all others are posted; the events for it are not done
    the time is up                            the events of all recipients that were not served are not done
    a connection that cannot be served        is closed by the Poster; if it is STUCK, it is forgotten
    one whose closing is throttled, too       its events are not done, while they are young
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
from realtime.tables.outbox import Entry, Unreadable, from_image
from realtime.tables.registry import Registry
from realtime.text import make_storable

# An error that nobody foresaw may pass. If a record still meets it alone this long after it was written, the record is
# taken to be the reason. s
PASSING_SECONDS = 60.0
_THREADS = 8
_LOST = frozenset({Outcome.GONE, Outcome.STUCK})
_UNFINISHED = frozenset({Outcome.THROTTLED, Outcome.FAILED, Outcome.NOT_TRIED, Outcome.FORBIDDEN})
_TO_SETTLE = _LOST | _UNFINISHED


def read_record(record: Mapping[str, Any]) -> Entry:
    """Return the entry that a record of the Events stream shows.

    Raises Unreadable where none of our own functions wrote it: later, in the midst of posting, it would fail the batch.
    """
    change = record.get("dynamodb") or {}
    try:
        return from_image(change.get("NewImage"))
    except Unreadable as problem:
        raise Unreadable(make_storable(f"a record that cannot be read, {change.get('Keys')}: {problem}")) from problem


@dataclass(frozen=True, slots=True)
class Reading:
    """A batch of records as it was read: entries and problems, both by the places of their records."""

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
        """Return how many records, from the first on, are done when this many of the entries are."""
        return [*self.entries, self.count][entries_done]


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a batch."""

    outcomes: Counter[Outcome]  # of how many connections
    done: int  # of what was given, from the first on: with the next one the stream is to go on
    problem: RealtimeError | None = None  # why that one is not done, if there is one
    unforgotten: Counter[str] = field(default_factory=Counter)  # connections that are gone, by why they are still known


@dataclass(slots=True)
class _Recipient:
    """A connection that was found by narrow audiences, and the events for it."""

    endpoint: str
    subscriber: Subscriber
    events: EventSet = NO_EVENTS


class Broadcaster:
    """Posts what the outbox holds."""

    def __init__(
        self, connections: Connections, registry: Registry, poster: Poster, failures: Callable[[], Queue]
    ) -> None:
        self._connections = connections
        self._registry = registry
        self._poster = poster
        self._failures = failures

    def handle(self, records: Sequence[Mapping[str, Any]], deadline: Deadline, *, now_s: float) -> Report:
        """Post a batch of records; send those that no try will mend to the dead-letter queue.

        Raises Unforeseen where nobody foresaw what went wrong, unless it is taken to be the fault of a single record.
        """
        reading = Reading.of(records)
        try:
            with last_resort():
                report = self.broadcast(list(reading.entries.values()), deadline, now_s=now_s)
        except Unforeseen as problem:
            if len(records) > 1 or now_s - _recorded_at(records[0]) < PASSING_SECONDS:
                raise
            dead_letters.give_up(self._failures, records, {0: problem}, before=1)
            return Report(Counter(), done=1)
        done = reading.records_done(report.done)
        dead_letters.give_up(self._failures, records, reading.unreadable, before=done)
        if isinstance(report.problem, Rejected):  # no table takes its audience
            dead_letters.give_up(self._failures, records, {done: report.problem}, before=done + 1)
            done += 1
        return replace(report, done=done, problem=report.problem if done < len(records) else None)

    def broadcast(self, entries: Sequence[Entry], deadline: Deadline, *, now_s: float) -> Report:
        """Post a batch of entries, and forget the connections that turn out to be gone.

        Narrow audiences go first: a call is not to wait for a feed's thousands.
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
                if result.outcome is Outcome.STUCK:  # it may live, and would not know what it has missed
                    backlog.undo(result.delivery.events, Unavailable(f"giving up a connection: {reason}"))
        finally:
            for threads in (readers, forgetters):  # a call that hangs must not use up the function's time
                threads.shutdown(wait=False, cancel_futures=True)
        return Report(outcomes, backlog.done, backlog.problem, unforgotten)

    def _settle(self, result: Result[BatchDelivery], backlog: Backlog, forgetting: Forgetting) -> None:
        """Decide what becomes of a connection that was not served, and of its events."""
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
        """Yield the deliveries for narrow audiences: one a connection, however many of them it subscribes to."""
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
                recipient.subscriber = subscriber  # a direct message says less about it
                recipient.events = EventSet(recipient.events | backlog.batch.audiences[audience])
        for each in recipients.values():
            yield from backlog.delivery(each.endpoint, each.subscriber, each.events)
        backlog.draw(audience for audience in backlog.batch.audiences if not is_wide(audience))

    def _wide(self, backlog: Backlog, readers: ThreadPoolExecutor, until: float) -> Iterator[BatchDelivery]:
        """Yield the deliveries for wide audiences, page by page; no connection subscribes to two of them."""
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


def _recorded_at(record: Mapping[str, Any]) -> float:
    return float((record.get("dynamodb") or {}).get("ApproximateCreationDateTime", 0))
