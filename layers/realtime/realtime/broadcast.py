"""From the Events stream to the posts: each event goes to every connection of its audience, in order, once.

Afterwards the stream continues from the first record that is not done. How each problem is handled:
    a record cannot be read                   it goes to the dead-letter queue when all records before it are done
    an audience cannot be read                the events before its first event are posted; from there on they are not
                                              done, and nothing more is posted if that is still possible
    it cannot be read who is blocked          likewise, from the first event on of a user with many blocks
    the function may not post to a stage      the other stages are posted to; the events for this stage are not done
    the time is up                            the events of all recipients that were not served are not done
    a connection cannot be served in time     it leaves the lane (LATE): `late` goes on with it, and nothing more is
                                              posted to it from here until it is healed (lateness.py)
    there are too many such connections       it is forgotten, so that the answer to its next frame is to reconnect
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from realtime import dead_letters, messages, metrics, trace
from realtime.aws.queues import Queue
from realtime.backlog import Backlog, BatchDelivery
from realtime.batch import Batch
from realtime.errors import ConfigurationError, RealtimeError, Rejected, Unavailable, Unforeseen, last_resort
from realtime.forgetting import Forgetting
from realtime.hiding import Hiding
from realtime.invocation import Deadline
from realtime.lateness import Lateness, new_token
from realtime.log import logger
from realtime.posted import SharedPositions
from realtime.posting.delivery import Outcome, Result
from realtime.posting.poster import Poster
from realtime.recipients import Recipients
from realtime.records import Reading
from realtime.staleness import Staleness
from realtime.tables.connections import Connections
from realtime.tables.entries import Entry, Reach
from realtime.tables.posted import PostedPositions
from realtime.tables.registry import Registry
from realtime.tables.served import Served
from realtime.tables.stragglers import Stragglers

# An unforeseen error may be temporary. If a record that is alone in its batch still fails this long after it was
# written, the record is assumed to be the cause. s
PASSING_SECONDS = 60.0
_THREADS = 8
_LOST = frozenset({Outcome.GONE, Outcome.LATE})
_UNFINISHED = frozenset({Outcome.THROTTLED, Outcome.FAILED, Outcome.NOT_YET_OPEN, Outcome.NOT_TRIED, Outcome.FORBIDDEN})
_TO_SETTLE = _LOST | _UNFINISHED


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a batch."""

    outcomes: Counter[Outcome]  # the number of deliveries for each
    done: int  # how many records or entries, from the first, are done; the stream continues with the next one
    problem: RealtimeError | None = None  # why that next one is not done
    unforgotten: Counter[str] = field(default_factory=Counter)  # connections not forgotten, by reason
    skipped: int = 0  # deliveries to connections that are behind; they are closed
    stale: int = 0  # recipients that were told to ask for the presence that was too late to be posted
    trace_ids: Sequence[str] = field(default_factory=list)  # of the events that are done


class Broadcaster:
    """Posts the entries of the outbox.

    `reach` says which entries of a change of presence it posts: those of watchers, or those of everyone. The latter may
    be `lateness_s` old; `clock` in s since the epoch.
    """

    def __init__(
        self,
        connections: Connections,
        hiding: Hiding,
        registry: Registry,
        stragglers: Stragglers,
        served: Served,
        posted: PostedPositions,
        poster: Poster,
        late_queue: Callable[[], Queue],
        failures: Callable[[], Queue],
        *,
        reach: Reach,
        lateness_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._connections = connections
        self._hiding = hiding
        self._registry = registry
        self._stragglers = stragglers
        self._poster = poster
        self._late_queue = late_queue
        self._failures = failures
        self._served = served
        self._reach: Reach = reach
        self._lateness_s = lateness_s
        self._clock = clock
        self._positions = SharedPositions(posted)

    def handle(self, records: Sequence[Mapping[str, Any]], deadline: Deadline, *, now_s: float) -> Report:
        """Post a batch of records; send records that would fail every time to the dead-letter queue.

        Raises Unforeseen after an unforeseen error, unless a single record is assumed to be its cause.
        """
        reading = Reading.of(records, self._reach)
        try:
            with last_resort():
                report = self.broadcast(reading.entries, deadline, now_s=now_s)
        except Unforeseen as problem:
            if len(records) > 1 or now_s - _recorded_at_s(records[0]) < PASSING_SECONDS:
                raise
            dead_letters.give_up(self._failures, records, {0: problem}, before=1)
            return Report(Counter(), done=1)
        trace_ids = trace.distinct(entry.trace_id for entry in reading.entries[: report.done])
        done = reading.records_done(report.done)
        dead_letters.give_up(self._failures, records, reading.unreadable, before=done)
        if isinstance(report.problem, Rejected):  # DynamoDB refuses to look up its audience
            dead_letters.give_up(self._failures, records, {done: report.problem}, before=done + 1)
            done += 1
        return replace(report, done=done, problem=report.problem if done < len(records) else None, trace_ids=trace_ids)

    def broadcast(self, entries: Sequence[Entry], deadline: Deadline, *, now_s: float) -> Report:
        """Post a batch of entries, and forget the connections that turn out to be gone.

        Narrow audiences go first, because a call must not wait for the thousands of connections on feed.
        """
        names = [(entry.audience, entry.event_id) for entry in entries]
        batch = Batch(entries, self._positions.of(names))
        backlog = Backlog(batch, Staleness(batch, self._lateness_s, self._clock), now_s)
        outcomes: Counter[Outcome] = Counter()
        unforgotten: Counter[str] = Counter()
        # Two pools, so that no page waits for forgetting.
        readers, writers = ThreadPoolExecutor(_THREADS), ThreadPoolExecutor(_THREADS)
        forgetting = Forgetting(self._registry, writers, int(now_s * 1000))
        lateness = Lateness(
            self._stragglers, self._late_queue, writers, forgetting.add, int(now_s), new_token(), batch.traces
        )
        until = deadline.post_until
        is_detailed = logger().log_level <= logging.DEBUG
        try:
            recipients = Recipients(self._connections, self._hiding, backlog, lateness, readers, until)
            for deliveries in (recipients.narrow(), recipients.wide()):
                for result in self._poster.deliver(deliveries, until=until, in_lane=True):
                    outcomes[result.outcome] += 1
                    if is_detailed:
                        _log_delivery(result, batch)
                    if result.outcome in _TO_SETTLE:
                        self._settle(result, backlog, lateness, forgetting)
            backlog.undo(backlog.not_drawn(), _out_of_time())
            for delivery, problem in lateness.failed(deadline.forget_until):
                backlog.undo(delivery.events, problem)
            for result, reason in forgetting.still_known(deadline.forget_until):
                unforgotten[reason] += 1
                if result.outcome is Outcome.LATE:  # it may be alive, and would not know that it missed events
                    backlog.undo(result.delivery.events, Unavailable(f"giving up a connection: {reason}"))
        finally:
            for threads in (readers, writers):  # a call that hangs must not use up the function's time
                threads.shutdown(wait=False, cancel_futures=True)
        self._positions.keep(names, backlog.done, int(now_s))
        self._measure(entries[: backlog.done], outcomes, batch)
        if backlog.problem is None:
            self._served.mark(backlog.served(), int(now_s))
        return Report(outcomes, backlog.done, backlog.problem, unforgotten, lateness.skipped, backlog.stale)

    def _measure(self, done: Sequence[Entry], outcomes: Counter[Outcome], batch: Batch) -> None:
        metrics.count(metrics.DELIVERED, outcomes[Outcome.DELIVERED])
        metrics.count(metrics.GONE, outcomes[Outcome.GONE])
        metrics.count(metrics.LATE, outcomes[Outcome.LATE])
        metrics.count(metrics.SUPERSEDED, batch.superseded)
        now_ms = self._clock() * 1000
        times = (messages.time_ms(entry.message) for entry in done)
        lateness = metrics.LATENESS if self._reach == "narrow" else metrics.WIDE_LATENESS
        metrics.observe(lateness, [max(0.0, now_ms - at_ms) for at_ms in times if at_ms is not None])

    def _settle(
        self, result: Result[BatchDelivery], backlog: Backlog, lateness: Lateness, forgetting: Forgetting
    ) -> None:
        """Decide what to do with a connection that was not served, and with its events."""
        outcome = result.outcome
        if outcome in _UNFINISHED:
            backlog.undo(result.delivery.events, self._problem(outcome))
        elif outcome is Outcome.GONE:
            forgetting.add(result)
        else:
            lateness.add(result)

    def _problem(self, outcome: Outcome) -> RealtimeError:
        if outcome is not Outcome.FORBIDDEN:
            return _out_of_time()
        return ConfigurationError(
            "the function's role may not execute-api:ManageConnections, or MANAGEMENT_ENDPOINT is not this API's: "
            f"{self._poster.refusal}"
        )


def _log_delivery(result: Result[BatchDelivery], batch: Batch) -> None:
    """Log which events went to which connection: at DEBUG alone, for together with others it says who calls whom."""
    delivery = result.delivery
    about = {"connection_id": delivery.connection_id, "outcome": result.outcome.value, "reason": result.reason}
    logger().debug("posted", extra={**about, "trace_ids": batch.traces(delivery.events)})


def _out_of_time() -> RealtimeError:
    return Unavailable("the function's time ran out")


def _recorded_at_s(record: Mapping[str, Any]) -> float:
    return float((record.get("dynamodb") or {}).get("ApproximateCreationDateTime", 0))
