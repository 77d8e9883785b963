"""The world of `bench.presence`: clients, the account's bucket and the two lanes of the stream, in virtual time.

Real are the records and entries of presence, Broadcaster, Batch and Poster. Simulated are the clock, the network, the
account's quota, the tables and the clients. Computing takes no time here: `bench.handler` measures it.
"""

from __future__ import annotations

import heapq
import json
import random
from array import array
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from bench.engine_clients import Frozen
from bench.idle import NobodyBehind, NobodyBlocked, NothingNoted, NotNoted
from harness.account import Account
from harness.virtual_time import VirtualTime
from realtime.broadcast import Broadcaster
from realtime.hiding import Hiding
from realtime.ids import event_time_ms
from realtime.invocation import Deadline
from realtime.posting.api import make_poster
from realtime.posting.pacing import TokenBucket
from realtime.posting.progress import Progress
from realtime.tables.connections import Connections, Subscriber
from realtime.tables.entries import Reach
from realtime.tables.registry import Gone, Registry

EPOCH = 1_705_314_600.0  # s; when the clock shows 0
LATENCY_S = 0.01  # of a post
POLL_S = 0.25
ACCOUNT_RATE, ACCOUNT_BURST = 10_000, 5_000
LATENESS_S = 10.0  # the default of PresenceLatenessSeconds
MOST_RECORDS = 3_000  # as many as 6 MB hold
PAGE = 2_000  # subscribers that a page of the index has
SYNC_WITHIN_S, SYNC_APART_S = 10.0, 60.0  # as our clients do after `stale`
ENDLESS = Deadline(1e9, 1e9)


class Latencies:
    """A histogram of seconds, in steps of 10 ms."""

    def __init__(self) -> None:
        self._steps: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one."""
        self._steps[int(seconds * 100 + 0.999)] += 1

    def __len__(self) -> int:
        return self._steps.total()

    def quantile(self, part: float) -> float:
        """Return the latency (s) that this part of all does not exceed; 0 without any."""
        left = part * len(self)
        for step in sorted(self._steps):
            left -= self._steps[step]
            if left <= 0:
                return step / 100
        return 0.0


@dataclass
class Hearer:
    """A client on presence: the version that it shows of each user, and when it asked for all of them."""

    versions: array[int]
    asked_at: float = -SYNC_APART_S
    is_asking: bool = False


@dataclass
class World:
    """One run."""

    users: int
    seed: int
    seconds: float  # the length of the load
    versions: list[int] = field(default_factory=list)  # of each user, as it is
    presence: Latencies = field(default_factory=Latencies)  # of the oldest change in each post
    calls: Latencies = field(default_factory=Latencies)
    notifications: Latencies = field(default_factory=Latencies)
    to_everyone: Latencies = field(default_factory=Latencies)
    hearers: dict[str, Hearer] = field(default_factory=dict)
    stale: int = 0
    syncs: list[tuple[float, str]] = field(default_factory=list)  # a heap: when, and who
    posts: int = 0  # of presence, while the load lasts

    def __post_init__(self) -> None:
        self.time = VirtualTime()
        self.chance = random.Random(self.seed)
        self.versions = [0] * self.users
        self.account = Account(ACCOUNT_RATE, ACCOUNT_BURST, self.time)
        self._read: dict[int, tuple[bytes, list[Any]]] = {}

    def add_hearers(self, count: int) -> None:
        """Connect clients to presence."""
        for number in range(count):
            self.hearers[f"hearer-{number}"] = Hearer(array("H", [0] * self.users))

    def hear(self, connection_id: str, body: bytes, now: float) -> None:
        """Let a client take a frame."""
        messages = self._messages(body)
        hearer = self.hearers.get(connection_id)
        if hearer is None:
            kind, at = messages[0][0], messages[0][3]
            of_kind = {"call_started": self.calls, "favorite_added": self.notifications}
            of_kind.get(kind, self.to_everyone).add(now - at)
            return
        self.posts += now <= self.seconds
        oldest = now
        for kind, user, version, at in messages:
            if kind == "stale":
                self._stale(connection_id, hearer, now)
                continue
            oldest = min(oldest, at)
            if version > hearer.versions[user]:
                hearer.versions[user] = version
        if oldest < now:
            self.presence.add(now - oldest)

    def _stale(self, connection_id: str, hearer: Hearer, now: float) -> None:
        self.stale += 1
        if not hearer.is_asking:
            hearer.is_asking = True
            at = max(now, hearer.asked_at + SYNC_APART_S) + self.chance.random() * SYNC_WITHIN_S
            heapq.heappush(self.syncs, (at, connection_id))

    def answer_syncs(self, now: float) -> None:
        """Answer the clients whose time to ask has come with the state as it is."""
        while self.syncs and self.syncs[0][0] <= now and self.account.take():
            _, connection_id = heapq.heappop(self.syncs)
            hearer = self.hearers[connection_id]
            hearer.versions[:] = array("H", self.versions)
            hearer.asked_at, hearer.is_asking = now, False

    def wrong(self) -> int:
        """Return how many clients show some user wrongly."""
        right = array("H", self.versions)
        return sum(hearer.versions != right for hearer in self.hearers.values())

    def _messages(self, body: bytes) -> list[Any]:
        """Return type, user, version and time of each message of a frame, which all its recipients share."""
        known = self._read.get(id(body))
        if known is not None and known[0] is body:
            return known[1]
        read = json.loads(body)
        found = [
            (
                each["type"],
                each["data"].get("user_id"),
                each.get("version"),
                event_time_ms(each["id"]) / 1000 - EPOCH if "id" in each else 0.0,
            )
            for each in (read if isinstance(read, list) else [read])
        ]
        if len(self._read) > 50_000:
            self._read.clear()
        self._read[id(body)] = body, found
        return found


class Subscribers(Connections):
    """The index of audiences."""

    def __init__(self, of_audience: dict[str, list[Subscriber]]) -> None:
        self._of_audience = of_audience

    def about_user(self, audiences: Collection[str], now_s: int) -> dict[str, list[Subscriber]]:
        """Return the subscribers of audiences about one user."""
        return {each: self._of_audience.get(each, []) for each in audiences}

    def subscribers(self, audience: str, now_s: int) -> Iterator[list[Subscriber]]:
        """Yield the subscribers of an audience in pages."""
        found = self._of_audience.get(audience, [])
        for start in range(0, len(found), PAGE):
            yield found[start : start + PAGE]


class NobodyGone(Registry):
    """A registry from which nobody is missing."""

    def __init__(self) -> None:
        pass

    def forget_all(self, gone: list[Gone], now_ms: int) -> dict[str, Exception]:  # type: ignore[override]
        """Refuse: here no connection is ever gone."""
        raise AssertionError(gone)


class _Clock:
    def __init__(self, time: VirtualTime) -> None:
        self._time = time

    def time(self) -> float:
        return EPOCH + self._time.now

    def monotonic(self) -> float:
        return self._time.now


class _Pool:
    """Requests of one lane; each takes from the account's bucket."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._answers: deque[tuple[float, Progress[Any], int, str]] = deque()

    @property
    def in_flight(self) -> int:
        return len(self._answers)

    def send(self, task: Progress[Any], _method: str, path: str, _headers: list[str], body: bytes) -> None:
        now = self._world.time.now
        is_granted = self._world.account.take()
        if is_granted:
            self._world.hear(unquote(path.rpartition("/")[2]), body, now + LATENCY_S)
        self._answers.append((now + LATENCY_S, task, 200 if is_granted else 429, ""))

    def receive(self) -> list[tuple[Progress[Any], int, str]]:
        came = []
        while self._answers and self._answers[0][0] <= self._world.time.now:
            came.append(self._answers.popleft()[1:])
        return came

    def wait(self, seconds: float) -> None:
        time = self._world.time
        if self._answers:
            seconds = min(seconds, self._answers[0][0] - time.now)
        time.sleep(max(seconds, 0.000_1))

    def abandon(self, which: Callable[[Progress[Any]], bool] | None = None) -> list[Progress[Any]]:
        abandoned = [task for _, task, _, _ in self._answers if which is None or which(task)]
        self._answers = deque(each for each in self._answers if which is not None and not which(each[1]))
        return abandoned

    def close(self) -> None:
        """Nothing is open."""


class Lane:
    """One of the two functions on the stream's one shard: batch after batch, of the records that are there by then."""

    def __init__(self, world: World, reach: Reach, of_audience: dict[str, list[Subscriber]], rate: float) -> None:
        self._world = world
        self._records: deque[tuple[float, dict[str, Any]]] = deque()
        self._is_done = False
        clock = _Clock(world.time)
        poster = make_poster(
            "https://api.example",
            "us-east-1",
            Frozen,
            quota=TokenBucket(rate, burst=rate / 2),
            open_pool=lambda: _Pool(world),
            clock=clock,
            jitter=random.Random(f"{world.seed} {reach}").random,
        )
        self._broadcaster = Broadcaster(
            Subscribers(of_audience),
            Hiding(NobodyBlocked()),
            NobodyGone(),
            NobodyBehind(),
            NotNoted(),
            NothingNoted(),
            poster,
            _no_queue,
            _no_queue,
            reach=reach,
            lateness_s=LATENESS_S,
            clock=clock.time,
        )

    def put(self, at: float, record: dict[str, Any]) -> None:
        """Let the stream show a record at a time; they must come in order."""
        self._records.append((at, record))

    @property
    def is_done(self) -> bool:
        """Whether all records were handled: an error ends the lane's thread, not the run."""
        return self._is_done

    def run(self) -> None:
        """Handle all records."""
        time = self._world.time
        while self._records:
            self._world.answer_syncs(time.now)
            batch: list[dict[str, Any]] = []
            while self._records and self._records[0][0] <= time.now and len(batch) < MOST_RECORDS:
                batch.append(self._records.popleft()[1])
            if not batch:
                time.sleep(POLL_S)
                continue
            report = self._broadcaster.handle(batch, ENDLESS, now_s=EPOCH + time.now)
            assert report.done == len(batch), report.problem
        self._is_done = True


def _no_queue() -> Any:
    raise AssertionError("a record was given up")
