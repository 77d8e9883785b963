"""Post to many connections at once, as fast as the quota allows; a connection that fails affects no other.

The loop draws deliveries, paces their requests, gives them to the pool, and does what `progress` decides about each
answer.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Protocol

from realtime.posting.delivery import D, Outcome, Result
from realtime.posting.pacing import Congestion, TokenBucket, Window
from realtime.posting.progress import AT_ONCE, Patience, Progress
from realtime.posting.signing import Signer

_MAX_WAITING = 10_000  # connections in back-off; at this limit no new delivery is begun, so that memory stays bounded
_CONSECUTIVE_REFUSALS = 3
_TICK_S = 0.05  # how often to let libcurl check its timeouts
_new_tuple = tuple.__new__
_SHORTEST_WAIT_S = 0.001  # for the quota, so that each round sends several posts


class Clock(Protocol):
    """The needed functions of the module `time`: `time()` in s since the epoch, `monotonic()` in s."""

    def time(self) -> float: ...
    def monotonic(self) -> float: ...


class Pool(Protocol):
    """Makes several requests at the same time; `http_pool.HttpPool` makes them over the network."""

    @property
    def in_flight(self) -> int: ...
    def send(self, task: Progress[Any], method: str, path: str, headers: list[str], body: bytes) -> None: ...
    def receive(self) -> list[tuple[Progress[Any], int, str]]: ...
    def wait(self, seconds: float) -> None: ...
    def abandon(self) -> list[Progress[Any]]: ...
    def close(self) -> None: ...


class Poster:
    """Posts to connections of one WebSocket API; `api.make_poster` makes it.

    `open_pool` is called before the first post. `origin` is the API's, for messages. `paths` returns a connection's
    path in two forms: as it is sent and as it is signed. A connection is given up when it has failed for `patience_s`
    without a success. `jitter` returns random numbers from 0 to 1. Connections to the API are kept between calls. Only
    one thread at a time may use a Poster.
    """

    def __init__(
        self,
        open_pool: Callable[[], Pool],
        signer: Signer,
        *,
        origin: str,
        paths: Callable[[str, str], tuple[str, str]],
        quota: TokenBucket,
        window: Window,
        patience_s: float,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self.refusal = ""
        """The last 403: the request, and the answer."""
        self._open_pool = open_pool
        self._pool: Pool | None = None
        self._signer = signer
        self._origin = origin
        self._paths = paths
        self._quota = quota
        self._window = window
        self._congestion = Congestion()
        self._patience_s = patience_s
        self._clock = clock
        self._jitter = jitter
        self._is_delivering = False

    @property
    def pool(self) -> Pool:
        """Return the pool; it is made when it is first used, so that only a function that posts loads libcurl."""
        if self._pool is None:
            self._pool = self._open_pool()
        return self._pool

    def close(self) -> None:
        """Close the connections to the API."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def deliver(self, deliveries: Iterable[D], *, until: float, close_unserved: bool = False) -> Iterator[Result[D]]:
        """Post all deliveries, and yield each with its outcome as soon as that is known.

        It ends at the latest at `until`, on the monotonic clock. A delivery is drawn when there is room for it, and one
        more is drawn ahead. When the time is up, the deliveries that were drawn end as THROTTLED, FAILED, STUCK,
        NOT_YET_OPEN or NOT_TRIED, and the others are not drawn. If no outcome is NOT_TRIED, everything was tried. With
        `close_unserved`, a connection that is given up is closed (CLOSED), so that its client connects again. Raises
        whatever the iterable of deliveries raises.
        """
        if self._is_delivering:
            raise RuntimeError("a Poster delivers one iterable at a time")
        pool = self.pool
        self._is_delivering = True
        try:
            patience = Patience(self._patience_s, close_unserved, self._congestion)
            yield from self._deliver(_Queue(deliveries, patience), pool, until)
        finally:
            self._is_delivering = False
            pool.abandon()

    def _deliver(self, queue: _Queue[D], pool: Pool, until: float) -> Iterator[Result[D]]:
        clock, congestion = self._clock, self._congestion
        refusals: dict[tuple[str, str], int] = {}  # consecutive, by endpoint and method
        congestion.resume(clock.monotonic())
        while queue.drawn is not None or pool.in_flight or queue.ready or queue.waiting:
            now = clock.monotonic()
            if now >= until:
                yield from _unfinished(queue, pool)
                return
            yield from self._send(queue, pool, refusals, now)
            answers = pool.receive()
            if not answers:
                self._wait(queue, pool, until)
                continue
            throttled = repeated = recovered = 0
            for progress, status, text in answers:
                is_first = not (progress.failures or progress.closing)  # later tries say less about the others
                if 200 <= status < 300:
                    if not is_first:
                        repeated += 1
                        recovered += 1
                    if refusals:
                        refusals.pop((progress.delivery.endpoint, progress.method), None)
                    step = progress.accepted()
                else:
                    if is_first:
                        throttled += status == 429
                    else:
                        repeated += 1
                    step = self._failed(progress, status, text, refusals)
                if isinstance(step, float):
                    queue.put(progress, step)
                else:
                    yield _result(progress, step)
            self._window.answered(len(answers), throttled)
            congestion.answered(now, len(answers) - repeated, throttled, repeated, recovered)

    def _send(
        self, queue: _Queue[D], pool: Pool, refusals: dict[tuple[str, str], int], now: float
    ) -> Iterator[Result[D]]:
        """Start as many requests as quota and window allow; yield the deliveries that turn out to need none."""
        wall = self._clock.time()
        room = min(self._window.size - pool.in_flight, self._quota.refill(now))
        while room > 0 and (progress := queue.take(now)) is not None:
            frame = progress.next_request(wall)
            if frame is None:
                yield _result(progress, progress.ended())
                continue
            delivery, method = progress.delivery, progress.method
            if refusals and refusals.get((delivery.endpoint, method), 0) >= _CONSECUTIVE_REFUSALS:
                progress.reason = self.refusal
                yield _result(progress, Outcome.FORBIDDEN)
                continue
            path, signed_path = self._paths(delivery.endpoint, delivery.connection_id)
            pool.send(progress, method, path, self._signer.headers(method, signed_path, frame.sha256, wall), frame.body)
            self._quota.tokens -= 1
            room -= 1

    def _failed(
        self, progress: Progress[D], status: int, text: str, refusals: dict[tuple[str, str], int]
    ) -> Outcome | float:
        clock = self._clock
        step = progress.failed(status, text, now=clock.monotonic(), wall=clock.time(), jitter=self._jitter())
        if status == 403:
            endpoint, method = progress.delivery.endpoint, progress.method
            refusals[endpoint, method] = refusals.get((endpoint, method), 0) + 1
            path, _ = self._paths(endpoint, "")
            self.refusal = f"{method} {self._origin}{path}*: {progress.reason}"
        return step

    def _wait(self, queue: _Queue[D], pool: Pool, until: float) -> None:
        """Wait for answers, the quota, the end of a back-off or the end of the time, whichever is first."""
        now = self._clock.monotonic()
        seconds = min(_TICK_S, until - now)
        if queue.ready or queue.drawn is not None:
            if self._quota.tokens < 1:
                seconds = min(seconds, max(_SHORTEST_WAIT_S, self._quota.seconds_to_next()))
            elif pool.in_flight >= self._window.size:
                self._window.held_back()
        if queue.waiting:
            due_at = queue.waiting[0][0]
            seconds = min(seconds, max(_SHORTEST_WAIT_S, due_at - now))
        if seconds > 0:
            pool.wait(seconds)


class _Queue(Generic[D]):
    """The deliveries of one call of `deliver` that have no request under way."""

    def __init__(self, deliveries: Iterable[D], patience: Patience) -> None:
        self._deliveries = iter(deliveries)
        self._patience = patience
        self.drawn = next(self._deliveries, None)  # the one that is drawn ahead
        self.ready: deque[Progress[D]] = deque()  # not in back-off
        self.waiting: list[tuple[float, int, Progress[D]]] = []  # a heap: when to go on, and a number for equal times
        self._waits = 0

    def put(self, progress: Progress[D], step: float) -> None:
        """Take back a delivery that can go on at `step`, a time on the monotonic clock."""
        if step == AT_ONCE:
            self.ready.append(progress)
        else:
            self._waits += 1
            heapq.heappush(self.waiting, (step, self._waits, progress))

    def take(self, now: float) -> Progress[D] | None:
        """Return the next delivery to go on with: preferably one that was begun, otherwise a new one."""
        if self.ready:
            return self.ready.popleft()
        if self.waiting and self.waiting[0][0] <= now:
            progress = heapq.heappop(self.waiting)[2]
            progress.resume(now)
            return progress
        drawn = self.drawn
        if drawn is None or len(self.waiting) >= _MAX_WAITING:
            return None
        self.drawn = next(self._deliveries, None)
        return Progress(drawn, self._patience)

    def begun(self) -> list[Progress[D]]:
        """Return the deliveries that were begun and have no request under way."""
        return [*self.ready, *(progress for _, _, progress in self.waiting)]


def _unfinished(queue: _Queue[D], pool: Pool) -> Iterator[Result[D]]:
    """Yield the outcomes of the deliveries that are not finished when the time is up."""
    for progress in (*pool.abandon(), *queue.begun()):
        yield _result(progress, progress.unfinished)
    if queue.drawn is not None:
        yield Result(queue.drawn, Outcome.NOT_TRIED)


def _result(progress: Progress[D], outcome: Outcome) -> Result[D]:
    # This runs once for each delivery, and takes half the time of Result(…).
    return _new_tuple(Result, (progress.delivery, outcome, progress.sent, progress.reason, progress.throttled))
