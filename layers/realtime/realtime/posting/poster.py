"""Post to many connections at once, as fast as the quota allows; a connection that fails affects no other.

The loop draws deliveries, paces their requests, gives them to the pool, and does what `progress` makes of each answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from realtime import metrics
from realtime.posting.delivery import D, Outcome, Result
from realtime.posting.lane import CHECK_S, PROBED_ID, Lane, Latency
from realtime.posting.pacing import Congestion, Quota, Window
from realtime.posting.pending import Pending
from realtime.posting.progress import Patience, Progress
from realtime.posting.rights import Rights, shows_right
from realtime.posting.signing import Signer

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
    def abandon(self, which: Callable[[Progress[Any]], bool] | None = None) -> list[Progress[Any]]: ...
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
        quota: Quota,
        window: Window,
        patience_s: float,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self.refusal = ""  # the last 403: the request, and the answer
        self._open_pool = open_pool
        self._pool: Pool | None = None
        self._signer = signer
        self._origin = origin
        self._paths = paths
        self._quota = quota
        self._window = window
        self._congestion = Congestion()
        self._latency = Latency()
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

    def deliver(self, deliveries: Iterable[D], *, until: float, in_lane: bool = False) -> Iterator[Result[D]]:
        """Post all deliveries, and yield each with its outcome as soon as that is known.

        It ends at the latest at `until`, on the monotonic clock. A delivery is drawn when there is room for it, and one
        more is drawn ahead. When the time is up, the deliveries that were drawn end as THROTTLED, FAILED, NOT_YET_OPEN
        or NOT_TRIED, and the others are not drawn. If no outcome is NOT_TRIED, everything was tried. With `in_lane`,
        stragglers leave (LATE, see lane.py). Raises whatever the iterable of deliveries raises.
        """
        if self._is_delivering:
            raise RuntimeError("a Poster delivers one iterable at a time")
        pool = self.pool
        self._is_delivering = True
        try:
            now = self._clock.monotonic()
            self._congestion.resume(now)
            lane = Lane(self._congestion, self._latency, now) if in_lane else None
            patience = Patience(self._patience_s, self._congestion, lane)
            yield from self._deliver(Pending(deliveries, patience), pool, until)
        finally:
            self._is_delivering = False
            pool.abandon()

    def _deliver(self, pending: Pending[D], pool: Pool, until: float) -> Iterator[Result[D]]:
        clock, lane = self._clock, pending.lane
        rights: Rights[D] = Rights()
        while pending.is_any() or pool.in_flight or pending.ask(rights.to_ask(), clock.monotonic()):
            now = clock.monotonic()
            if now >= until:
                yield from _unfinished(pending, pool, rights)
                return
            if lane is not None:
                lane.is_back(now)  # before `now` is the beginning of a delivery
            yield from self._send(pending, pool, rights, now)
            if lane is not None:
                now = clock.monotonic()
                lane.is_back(now)
            answers = pool.receive()
            if lane is not None and lane.must_check(now):
                yield from self._let_leave(lane, pending, pool, now)
            if answers:
                yield from self._take_in(pending, answers, rights, now)
            else:
                self._wait(pending, pool, until)
        yield from _reported(rights.held(), pending.failed)

    def _take_in(
        self, pending: Pending[D], answers: list[tuple[Progress[D], int, str]], rights: Rights[D], now: float
    ) -> Iterator[Result[D]]:
        """Do what follows from answers; yield the deliveries that end."""
        if pending.lane is not None:
            pending.lane.answered(*answers[-1][:2], now)  # one of them is enough
        throttled = repeated = recovered = refused = 0
        for progress, status, text in answers:
            is_first = not progress.failures  # later tries say less about the others
            repeated += not is_first
            if 200 <= status < 300:
                recovered += not is_first
                step = progress.accepted(text)
            else:
                refused += status == 429
                throttled += is_first and status == 429
                step = self._failed(progress, status, text)
            if rights.refused and shows_right(status):
                yield from _reported(rights.show(progress), pending.failed)
            is_probe = progress.delivery.connection_id is PROBED_ID
            if is_probe and pending.lane is not None:
                pending.lane.probed(status, now)
            if status == 403:
                yield from _reported(rights.refuse(progress), Outcome.FORBIDDEN)
            elif is_probe:
                continue
            elif isinstance(step, float):
                pending.put(progress, step, now)
            else:
                yield _result(progress, step)
        metrics.count(metrics.POSTS, len(answers))
        metrics.count(metrics.THROTTLED, refused)
        self._window.answered(len(answers), throttled)
        self._congestion.answered(now, len(answers) - repeated, throttled, repeated, recovered)
        self._quota.answered(now, len(answers) - repeated, throttled, repeated, recovered)

    def _send(self, pending: Pending[D], pool: Pool, rights: Rights[D], now: float) -> Iterator[Result[D]]:
        """Start as many requests as quota and window allow; yield the deliveries that turn out to need none."""
        wall = self._clock.time()
        hanging = 0 if pending.lane is None else min(pending.lane.hanging, self._window.size)
        room = min(self._window.size - pool.in_flight + hanging, self._quota.refill(now))
        while room > 0 and (progress := pending.take(now)) is not None:
            frame = progress.next_request(wall)
            if frame is None:
                yield _result(progress, progress.ended())
                continue
            delivery, method = progress.delivery, progress.method
            if rights.refused and rights.is_missing(progress):
                progress.reason = self.refusal
                yield from _reported([progress], Outcome.FORBIDDEN)
                continue
            path, signed_path = self._paths(delivery.stage, delivery.connection_id)
            pool.send(progress, method, path, self._signer.headers(method, signed_path, frame.sha256, wall), frame.body)
            self._quota.tokens -= 1
            room -= 1

    def _let_leave(self, lane: Lane, pending: Pending[D], pool: Pool, now: float) -> Iterator[Result[D]]:
        """Give up stragglers, and their requests."""
        lane.is_ending = pending.drawn is None and not pending.ready
        stragglers = pool.abandon(lambda progress: lane.lets_leave(progress, now))
        if lane.is_ending:  # until then, those in back-off leave when they fail again
            # Whose back-off has ended waits for quota or window, which is not the connection's fault.
            stragglers += pending.withdraw(lambda progress, due: lane.is_late(progress, min(now, due)))
        for progress in stragglers:
            progress.reason = progress.reason or "no answer"
        yield from _reported(stragglers, Outcome.LATE)

    def _failed(self, progress: Progress[D], status: int, text: str) -> Outcome | float:
        now, wall = self._clock.monotonic(), self._clock.time()
        step = progress.failed(status, text, now=now, wall=wall, jitter=self._jitter())
        if status == 403:
            path, _ = self._paths(progress.delivery.stage, "")
            self.refusal = f"{progress.method} {self._origin}{path}*: {progress.reason}"
        return step

    def _wait(self, pending: Pending[D], pool: Pool, until: float) -> None:
        """Wait for answers, the quota, the end of a back-off or the end of the time, whichever is first."""
        now = self._clock.monotonic()
        if pending.probe(now):
            return
        seconds = min(_TICK_S if pending.lane is None else CHECK_S, until - now)
        if pending.ready or pending.drawn is not None or pending.is_due(now):
            if self._quota.tokens < 1:
                seconds = min(seconds, max(_SHORTEST_WAIT_S, self._quota.seconds_to_next()))
            elif pool.in_flight >= self._window.size:
                self._window.held_back()
        if pending.waiting:
            seconds = min(seconds, max(_SHORTEST_WAIT_S, pending.waiting[0][0] - now))
        if seconds > 0:
            if pending.lane is not None:
                pending.lane.is_away(now + seconds)
            pool.wait(seconds)


def _unfinished(pending: Pending[D], pool: Pool, rights: Rights[D]) -> Iterator[Result[D]]:
    """Yield the outcomes of the deliveries that are not finished when the time is up."""
    for progress in (*pool.abandon(), *pending.begun(), *rights.held()):
        yield from _reported([progress], progress.unfinished)
    if pending.drawn is not None:
        yield Result(pending.drawn, Outcome.NOT_TRIED)


def _reported(ended: Iterable[Progress[D]], outcome: Outcome) -> Iterator[Result[D]]:
    """Yield the results of deliveries; nobody waits for that of a probe."""
    return (_result(each, outcome) for each in ended if each.delivery.connection_id is not PROBED_ID)


def _result(progress: Progress[D], outcome: Outcome) -> Result[D]:
    # This runs once for each delivery, and takes half the time of Result(…).
    return _new_tuple(Result, (progress.delivery, outcome, progress.sent, progress.reason))
