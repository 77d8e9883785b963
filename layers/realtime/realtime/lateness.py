"""The stragglers of a batch: who may get nothing because it is behind, and who falls behind now.

A straggler is noted before its frames are queued. If the function ends in between, the batch comes again and finds it
noted: then it is skipped. A connection is skipped only after the order to close it was queued. So at any time, whoever
is noted has a message in the late queue, or is in a batch that will come again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from itertools import islice

from realtime.aws.queues import Queue
from realtime.backlog import BatchDelivery
from realtime.batch import EventSet
from realtime.errors import RealtimeError, Rejected
from realtime.forgetting import result_of
from realtime.late import Straggler
from realtime.posting.delivery import Outcome, Result
from realtime.tables.stragglers import CAPACITY, SKIPPED_TOGETHER, Behind, Stragglers, mark_of
from realtime.threads import submit

_QUEUED_TOGETHER = 25  # stragglers; they are noted with one write


def new_token() -> str:
    """Return a text by which the stragglers of one batch differ from those of all others."""
    return os.urandom(4).hex()


class Lateness:
    """Keeps stragglers apart, in threads, while other connections are posted to. Times are on the monotonic clock.

    Those for which there is no place are given to `forget`: they must not go on without what they miss.
    """

    def __init__(
        self,
        stragglers: Stragglers,
        queue: Callable[[], Queue],
        threads: Executor,
        forget: Callable[[Result[BatchDelivery]], None],
        now_s: int,
        token: str,
        traces: Callable[[EventSet], Sequence[str]],
    ) -> None:
        self.skipped = 0  # deliveries
        self._stragglers = stragglers
        self._queue = queue
        self._threads = threads
        self._forget = forget
        self._now_s = now_s
        self._token = token
        self._traces = traces
        self._reading = submit(threads, stragglers.read)
        self._noted = 0
        self._held: list[BatchDelivery] = []
        self._failed: list[tuple[BatchDelivery, RealtimeError]] = []
        self._group: list[tuple[Result[BatchDelivery], str]] = []  # each with its own token
        self._calls: list[tuple[list[tuple[Result[BatchDelivery], str]], Future[bool]]] = []

    def behind(self, until: float) -> Collection[str]:
        """Return the ids of the connections that are behind.

        Raises Unavailable if the table does not tell.
        """
        return result_of(self._reading, until).connection_ids

    # ---- connections that are behind -------------------------------------------------------------------------------

    def hold(self, delivery: BatchDelivery) -> bool:
        """Keep back a delivery to a connection that is behind; return that it is kept."""
        self._held.append(delivery)
        return True

    def released(self, until: float) -> Iterator[BatchDelivery]:
        """Skip the deliveries that were kept back; yield those whose connections are not behind any more."""
        held, self._held = self._held, []
        behind = self._reading.result()
        news = {each.connection_id: each for each in held if each.connection_id not in behind.skipped}
        healed: Collection[str] = ()
        if news:
            try:
                healed = result_of(submit(self._threads, self._skip, news, behind), until)
            except Rejected:
                for each in held:
                    self._forget(Result(each, Outcome.LATE))
                return
            except RealtimeError as problem:
                self._failed += [(each, problem) for each in held]
                return
        for each in held:
            if each.connection_id in healed:
                yield each
            else:
                self.skipped += 1

    def _skip(self, news: Mapping[str, BatchDelivery], behind: Behind) -> set[str]:
        """Order that connections be closed, and note that they miss events; return those that were healed before."""
        self._queue().send_all(
            [Straggler.to_close(each, self._traces(each.events)).message() for each in news.values()]
        )
        left, healed = iter(news), set[str]()
        while group := list(islice(left, SKIPPED_TOGETHER)):
            while group := self._still_behind(group, behind, healed):
                if self._stragglers.skip({each: behind.marks[each] for each in group}):
                    break
                behind = self._stragglers.read()
        return healed

    @staticmethod
    def _still_behind(group: Sequence[str], behind: Behind, healed: set[str]) -> list[str]:
        """Return those of a group who are to be noted as skipped; add those who are not behind any more to `healed`."""
        healed |= {each for each in group if each not in behind.connection_ids}
        return [each for each in group if each in behind.marks and each not in behind.skipped]

    # ---- connections that fall behind ------------------------------------------------------------------------------

    def add(self, result: Result[BatchDelivery]) -> None:
        """Put the rest of a delivery into the late lane."""
        if self._reading.result().count + self._noted >= CAPACITY:
            self._forget(result)
            return
        self._noted += 1
        self._group.append((result, f"{self._token}{self._noted}"))
        if len(self._group) == _QUEUED_TOGETHER:
            self._call()

    def failed(self, until: float) -> Iterator[tuple[BatchDelivery, RealtimeError]]:
        """Wait until all are in the late lane; yield each delivery that may be neither there nor posted, and why."""
        if self._group:
            self._call()
        yield from self._failed
        for group, call in self._calls:
            try:
                has_place = result_of(call, until)
            except RealtimeError as problem:
                for result, _ in group:
                    yield result.delivery, problem
                continue
            if not has_place:
                for result, _ in group:
                    self._forget(result)

    def _call(self) -> None:
        self._calls.append((self._group, submit(self._threads, self._put, self._group)))
        self._group = []

    def _put(self, group: Sequence[tuple[Result[BatchDelivery], str]]) -> bool:
        """Note stragglers, and queue their frames; return False if there is no place for them."""
        try:
            marks = [mark_of(each.delivery.connection_id, token) for each, token in group]
            if not self._stragglers.add(marks, self._now_s):
                return False
            stragglers = [
                Straggler.of(each.delivery, token, each.sent, self._traces(each.delivery.events))
                for each, token in group
            ]
            self._queue().send_all([each.message() for each in stragglers])
        except Rejected:  # the record is not at fault, so it must not be given up for it
            return False
        return True
