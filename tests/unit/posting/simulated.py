"""A management API without a network, on a clock that moves only when the Poster waits."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import unquote

from harness.account import Account
from realtime.posting.api import make_poster
from realtime.posting.delivery import Delivery, Frame, Outcome, Result
from realtime.posting.lane import PROBED_ID
from realtime.posting.pacing import TokenBucket
from realtime.posting.poster import Poster
from realtime.posting.progress import Progress
from tests.support.posters import Frozen

EPOCH = 1_705_314_600.0  # when the clock shows 0 ms
HELLO = [Frame(b"hello")]


class Trouble(Enum):
    """A failure that a request may meet instead of an answer."""

    HANG = "timed out"
    RESET = "connection reset"


Step = int | Trouble


class Clock:
    """The parts of the module `time` that a Poster uses; it begins at 0 ms."""

    def __init__(self) -> None:
        self._now_s = 0.0

    @property
    def now_ms(self) -> float:
        return round(self._now_s * 1000, 3)

    def time(self) -> float:
        return EPOCH + self._now_s

    def monotonic(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        self._now_s += seconds


@dataclass(frozen=True)
class Request:
    """A request that was made."""

    at_ms: float
    method: str
    stage: str
    connection_id: str
    headers: list[str]
    body: bytes
    step: Step  # what it meets


class SimulatedApi:
    """The pool: each connection id has a script of the steps that its requests meet; after the last, `default`."""

    def __init__(self, clock: Clock) -> None:
        self.requests: list[Request] = []
        self.scripts: dict[str, deque[Step]] = defaultdict(deque)
        self.default: Step = 200
        self.account: Account | None = None  # whose quota the requests take from, if it is to have one
        self.latency_ms = 10.0
        self.latencies_ms: dict[str, float] = {}  # of single connections
        self.silent_until_ms = 0.0  # before, nothing is answered
        self.timeout_ms = 2_000.0
        self.most_at_once = 0
        self.is_closed = False
        self._clock = clock
        self._answers: list[tuple[float, int, Progress[Any], int, str]] = []  # a heap, by when they come

    def script(self, connection_id: str, steps: Iterable[Step]) -> None:
        """Let the next requests for a connection meet these steps."""
        self.scripts[connection_id].extend(steps)

    def bodies(self, connection_id: str, *, accepted: bool = True) -> list[bytes]:
        """Return what was posted to a connection, in order: what was accepted, or all that was tried."""
        return [
            each.body
            for each in self.requests
            if each.connection_id == connection_id and each.method == "POST" and (each.step == 200 or not accepted)
        ]

    def times_ms(self, connection_id: str) -> list[float]:
        """Return when the requests for a connection were made."""
        return [each.at_ms for each in self.requests if each.connection_id == connection_id]

    @property
    def in_flight(self) -> int:
        return len(self._answers)

    def send(self, task: Progress[Any], method: str, path: str, headers: list[str], body: bytes) -> None:
        stage, _, connection_id = path.strip("/").split("/")
        connection_id = unquote(connection_id)
        script = self.scripts.get(connection_id)
        step = script.popleft() if script else self.default
        if connection_id == PROBED_ID and step == 200:
            step = 410
        if self.account is not None and not self.account.take():
            step = 429
        now_ms = self._clock.now_ms
        self.requests.append(Request(now_ms, method, stage, connection_id, headers, body, step))
        latency_ms = max(self.latencies_ms.get(connection_id, self.latency_ms), self.silent_until_ms - now_ms)
        delay_ms = self.timeout_ms if step is Trouble.HANG else latency_ms
        status, text = (step, "") if isinstance(step, int) else (0, step.value)
        heapq.heappush(self._answers, (now_ms + delay_ms, len(self.requests), task, status, text))
        self.most_at_once = max(self.most_at_once, len(self._answers))

    def receive(self) -> list[tuple[Progress[Any], int, str]]:
        came = []
        while self._answers and self._answers[0][0] <= self._clock.now_ms:
            came.append(heapq.heappop(self._answers)[2:])
        return came

    def wait(self, seconds: float) -> None:
        assert seconds > 0, "to wait for nothing is to use up the processor"
        if self._answers:
            seconds = min(seconds, (self._answers[0][0] - self._clock.now_ms) / 1000)
        self._clock.advance(max(seconds, 0.000_001))

    def abandon(self, which: Callable[[Progress[Any]], bool] | None = None) -> list[Progress[Any]]:
        abandoned = [each for each in self._answers if which is None or which(each[2])]
        for each in abandoned:
            self._answers.remove(each)
        heapq.heapify(self._answers)
        return [each[2] for each in abandoned]

    def close(self) -> None:
        self.is_closed = True


class Simulation:
    """A real Poster with a simulated API, clock and jitter; its settings are those of `make_poster`.

    `jitter` is the part of each back-off to wait; None leaves it to chance.
    """

    def __init__(
        self,
        *,
        jitter: float | None = 1.0,
        posts_per_second: float = 100_000,
        clock: Clock | None = None,
        **settings: Any,
    ) -> None:
        self.clock = clock or Clock()
        self.api = SimulatedApi(self.clock)
        self.opened = 0
        used: dict[str, Any] = {
            "credentials": Frozen,
            "quota": TokenBucket(posts_per_second, burst=max(1.0, posts_per_second / 2)),
            "open_pool": self._open,
            "clock": self.clock,
        }
        if jitter is not None:
            used["jitter"] = lambda: jitter
        self.poster: Poster = make_poster("https://api.example", "eu-west-1", **(used | settings))

    def _open(self) -> SimulatedApi:
        self.opened += 1
        return self.api

    def results(
        self, deliveries: Iterable[Delivery], *, within_ms: float = 600_000, in_lane: bool = False
    ) -> dict[str, Result[Delivery]]:
        """Deliver, and return the result of each connection; none may be reported twice."""
        until = self.clock.monotonic() + within_ms / 1000
        reported: dict[str, Result[Delivery]] = {}
        for result in self.poster.deliver(deliveries, until=until, in_lane=in_lane):
            assert result.delivery.connection_id not in reported
            reported[result.delivery.connection_id] = result
        return reported

    def outcomes(
        self, deliveries: Iterable[Delivery], *, within_ms: float = 600_000, in_lane: bool = False
    ) -> dict[str, Outcome]:
        """Deliver, and return the outcome of each connection."""
        results = self.results(deliveries, within_ms=within_ms, in_lane=in_lane)
        return {connection_id: result.outcome for connection_id, result in results.items()}


def delivery(connection_id: str, frames: Sequence[Frame] = HELLO, *, age_s: float = 3600, **more: Any) -> Delivery:
    return Delivery(more.pop("endpoint", "feed"), connection_id, frames, EPOCH - age_s, **more)


def deliveries(count: int, frames: Sequence[Frame] = HELLO) -> list[Delivery]:
    return [delivery(f"c{number}=", frames) for number in range(count)]


def frames(count: int) -> list[Frame]:
    return [Frame(f"frame {number}".encode()) for number in range(count)]


def bodies(count: int) -> list[bytes]:
    return [frame.body for frame in frames(count)]
