"""The recipients of a batch: which connections receive which of its events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from realtime.audiences import is_watching, is_wide, listing_of, may_watch, stage_of
from realtime.backlog import Backlog, BatchDelivery
from realtime.batch import NO_EVENTS, EventSet
from realtime.errors import RealtimeError
from realtime.forgetting import result_of
from realtime.hiding import Hiding
from realtime.lateness import Lateness
from realtime.tables.connections import Connections, Subscriber
from realtime.threads import submit


@dataclass(slots=True)
class _Recipient:
    """A connection that narrow audiences led to, and the events for it."""

    stage: str
    subscriber: Subscriber
    events: EventSet = NO_EVENTS
    watching: Sequence[str] = ()


class Recipients:
    """Yields the deliveries of a batch, `narrow` before `wide`; `until` is monotonic.

    Audiences are read in threads. One that cannot be read is cut from the backlog.
    """

    def __init__(
        self,
        connections: Connections,
        hiding: Hiding,
        backlog: Backlog,
        lateness: Lateness,
        readers: Executor,
        until: float,
    ) -> None:
        self._connections = connections
        self._hiding = hiding
        self._backlog = backlog
        self._lateness = lateness
        self._readers = readers
        self._until = until

    def narrow(self) -> Iterator[BatchDelivery]:
        """Yield the deliveries for narrow audiences: one for each connection, even if it subscribes to several."""
        recipients: dict[str, _Recipient] = {}
        backlog, lateness, until = self._backlog, self._lateness, self._until
        for connection_id, events, entry in backlog.direct():
            stage = entry.stage or ""  # `read_record` checks that there is one
            connected_at_ms = entry.connected_at_ms or int(backlog.now_s * 1000)
            recipients[connection_id] = _Recipient(stage, Subscriber(connection_id, "", connected_at_ms), events)
        for audience, subscribers in self._about_users():
            is_watched = is_watching(audience)
            for subscriber in subscribers:
                recipient = recipients.setdefault(subscriber.connection_id, _Recipient(stage_of(audience), subscriber))
                recipient.subscriber = subscriber  # it says more about the connection than a direct message does
                recipient.events = EventSet(recipient.events | backlog.batch.subscribed[audience])
                if is_watched:
                    recipient.watching = *recipient.watching, audience
        self._hide((each.events, each.subscriber.user_id) for each in recipients.values())
        try:
            behind = lateness.behind(until)
        except RealtimeError as problem:
            backlog.stop(problem)
            return
        for each in recipients.values():
            delivery = backlog.delivery(each.stage, each.subscriber, each.events, watching=each.watching)
            if delivery is not None and not (delivery.connection_id in behind and lateness.hold(delivery)):
                yield delivery
        yield from lateness.released(until)
        backlog.draw(audience for audience in backlog.batch.subscribed if not is_wide(audience))

    def wide(self) -> Iterator[BatchDelivery]:
        """Yield the deliveries for wide audiences, page by page; no connection subscribes to more than one of them."""
        backlog, lateness, until = self._backlog, self._lateness, self._until
        for audience in backlog.wide():
            behind = lateness.behind(until)  # if that could not be read, `narrow` has left nothing to post
            events, stage = backlog.batch.subscribed[audience], stage_of(audience)
            wide = None if may_watch(audience) else audience
            try:
                for page in self._pages(audience):
                    self._hide((events, subscriber.user_id) for subscriber in page)
                    for subscriber in page:
                        delivery = backlog.delivery(stage, subscriber, events, wide=wide)
                        if delivery is not None and not (delivery.connection_id in behind and lateness.hold(delivery)):
                            yield delivery
            except RealtimeError as problem:
                backlog.cut(events, problem)
                continue
            yield from lateness.released(until)
            backlog.draw([audience])

    def _hide(self, recipients: Iterable[tuple[EventSet, str]]) -> None:
        """Hide from users, given with the events for them, the changes of those with many blocks who blocked them.

        Changes are cut from the backlog if it cannot be read who may not see them.
        """
        batch = self._backlog.batch
        if not batch.listed:
            return
        users: defaultdict[EventSet, set[str]] = defaultdict(set)  # most have the same events
        for events, user_id in recipients:
            users[events].add(user_id)
        readings = []
        for blocker, (changes, about) in batch.listed.items():
            asked = frozenset[str]().union(*(of_events for events, of_events in users.items() if events & about))
            if asked:
                readings.append((about, submit(self._readers, self._hiding.hidden, blocker, changes, asked)))
        for about, reading in readings:
            try:
                for user_id in result_of(reading, self._until):
                    batch.hide(user_id, about)
            except RealtimeError as problem:
                self._backlog.cut(about, problem)

    def _about_users(self) -> Iterator[tuple[str, Sequence[Subscriber]]]:
        """Yield the narrow audiences with their subscribers."""
        backlog, now_s = self._backlog, int(self._backlog.now_s)
        listed: defaultdict[str, list[str]] = defaultdict(list)
        for audience in backlog.narrow():
            listed[listing_of(audience)].append(audience)
        about_user = self._connections.about_user
        readings = [(group, submit(self._readers, about_user, group, now_s)) for group in listed.values()]
        for audiences, reading in readings:
            try:
                yield from result_of(reading, self._until).items()
            except RealtimeError as problem:
                for audience in audiences:
                    backlog.cut(backlog.batch.subscribed[audience], problem)

    def _pages(self, audience: str) -> Iterator[list[Subscriber]]:
        """Yield the subscribers of an audience, page by page; the next is read while the last is posted to."""
        pages = self._connections.subscribers(audience, int(self._backlog.now_s))
        reading = submit(self._readers, next, pages, None)
        while (page := result_of(reading, self._until)) is not None:
            reading = submit(self._readers, next, pages, None)
            yield page
