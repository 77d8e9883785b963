"""Forget the connections that posting found to be gone, in threads, while other connections are posted to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import TypeVar

from realtime.audiences import audiences_beside
from realtime.backlog import BatchDelivery
from realtime.errors import Unavailable
from realtime.posting.delivery import Outcome, Result
from realtime.tables.registry import FORGOTTEN_TOGETHER, Gone, Registry
from realtime.threads import submit

T = TypeVar("T")


class Forgetting:
    """Forgets connections, several with each call of the registry."""

    def __init__(self, registry: Registry, threads: Executor, now_ms: int) -> None:
        self._registry = registry
        self._threads = threads
        self._now_ms = now_ms
        self._group: list[Result[BatchDelivery]] = []
        self._calls: list[tuple[list[Result[BatchDelivery]], Future[Mapping[str, Exception]]]] = []

    def add(self, result: Result[BatchDelivery]) -> None:
        """Queue the connection of a delivery to be forgotten with the next group."""
        self._group.append(result)
        if len(self._group) == FORGOTTEN_TOGETHER:
            self._call()

    def still_known(self, until: float) -> Iterator[tuple[Result[BatchDelivery], str]]:
        """Wait until all are forgotten; yield each one that could not be, with the reason; `until` is monotonic."""
        if self._group:
            self._call()
        for group, call in self._calls:
            try:
                failed = result_of(call, until)
            except Exception as error:  # noqa: BLE001  # whatever the error is, the other groups do not depend on it
                failed = {each.delivery.connection_id: error for each in group}
            for each in group:
                if (problem := failed.get(each.delivery.connection_id)) is not None:
                    yield each, f"{type(problem).__name__}: {problem}"

    def _call(self) -> None:
        gone = [_gone(each) for each in self._group]
        self._calls.append((self._group, submit(self._threads, self._registry.forget_all, gone, self._now_ms)))
        self._group = []


def _gone(result: Result[BatchDelivery]) -> Gone:
    """Return what is known of a connection.

    If it may be alive, it must receive nothing more, so the registry has to look up all its audiences. If it watches
    users, it is looked up as well. What led to it may be all that is left of it.
    """
    delivery = result.delivery
    may_live = result.outcome is Outcome.LATE  # there was no place for it in the late lane
    if delivery.wide is None or may_live:
        return Gone(delivery.connection_id, audiences=delivery.watching, may_live=may_live)
    audiences = audiences_beside(delivery.wide, delivery.user_id, delivery.connection_id)
    return Gone(delivery.connection_id, delivery.user_id, audiences)


def result_of(future: Future[T], until: float) -> T:
    """Return what a thread returns; `until` is monotonic.

    Raises what the thread raises, or Unavailable if it has not ended by then.
    """
    try:
        return future.result(max(0.0, until - time.monotonic()))
    except TimeoutError as error:
        raise Unavailable("a table did not answer in time") from error
