"""How late healthy connections are while 1 % of all connections hang and 1 % answer 429, and without these.

10,000 connections of 5,000 users, fifty calls a second beside events for everyone on feed, four narrow and four wide
lanes, ten instances of `late`. The real Broadcaster, LateLane and Poster run in threads that take turns on a clock of
their own: each instance has a processor of its own, as on Lambda, and the figures do not depend on this machine. The
network and the tables are in memory, and take the time that is given below. A straggler that is closed comes back after
a second, as bad as before: the worst case.
"""

from __future__ import annotations

import heapq
import itertools
import random
import statistics
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote

from bench.engine_clients import Frozen
from bench.idle import NobodyBlocked, NothingNoted, NotNoted
from harness.turns import Turns
from realtime import broadcast, late
from realtime.aws.queues import Queue
from realtime.broadcast import Broadcaster
from realtime.hiding import Hiding
from realtime.ids import make_event_id
from realtime.invocation import Deadline
from realtime.late import LateLane, Straggler
from realtime.posting.api import make_poster
from realtime.posting.pacing import TokenBucket
from realtime.posting.poster import Poster
from realtime.posting.progress import Progress
from realtime.tables.connections import Connections, Subscriber
from realtime.tables.entries import Entry
from realtime.tables.registry import Gone, Registry
from realtime.tables.stragglers import Behind, Stragglers, mark_of
from tools import results

SEEDS = (33, 34, 35, 36, 37)  # of a single one, which connections are bad decides more than they do
USERS = 5_000  # with a connection to feed and one to calls each
SECONDS = 30.0
CALLS_A_SECOND, FEED_EVERY_S = 50, 2.0
LANES = 4  # of each kind
HANGING = THROTTLED = 0.01
POLL_S = 0.05  # Lambda polls a stream four times a second; this shows more of what a lane adds
# What API Gateway takes for a POST: 10 ms in the median, 32 at the 99th percentile; 1 of 1,000 takes 100 more.
ANSWER_S, SPREAD, SLOW_PART, SLOWER_BY_S = 0.010, 0.5, 0.001, 0.1
TABLE_S, QUEUE_S = 0.005, 0.010  # one call
POST_CPU_S = 60e-6  # `handler.100000_cpu_us`
BACK_AFTER_S = 1.0
INSTANCES = 10  # of `late`
ENDLESS = 1e9


class World:
    """API Gateway, the tables and the queue, on one clock; `bad` are the parts of connections that hang or get 429s."""

    def __init__(self, bad: tuple[float, float], seed: int) -> None:
        self.turns = Turns()
        self.chance = random.Random(seed)
        self.kinds: dict[str, str] = {}  # of each open connection: fine, hangs or throttled
        self.users: dict[str, tuple[str, str]] = {}  # and its audience
        self.subscribers: dict[str, dict[str, Subscriber]] = defaultdict(dict)
        self.late: set[str] = set()
        self.skipped: set[str] = set()
        self.queue: list[tuple[float, int, dict[str, Any]]] = []
        self.numbers = itertools.count()
        self.recorded_at: dict[str, float] = {}
        self.latencies: dict[str, list[float]] = {"calls": [], "feed": []}
        self.heard_at = 0.0
        self.longest_held_s = 0.0
        self.ends: Counter[str] = Counter()
        self.records: dict[str, list[tuple[float, Entry]]] = defaultdict(list)
        self.returning: list[tuple[float, int, str, str, str]] = []
        for number in range(2 * USERS):
            user, endpoint = str(number // 2), ("feed", "calls")[number % 2]
            shard = zlib.crc32(user.encode()) % LANES
            draw = self.chance.random()  # drawn in each run, so that the rest is the same
            kind = "hangs" if draw < bad[0] else "throttled" if draw < sum(bad) else "fine"
            self.connect(user, f"calls/{user}" if endpoint == "calls" else f"feed/*/{shard}", kind)
        self._schedule()

    # Time in which other threads run: this stands for time.time and time.monotonic, too.

    def time(self) -> float:
        """Return the time (s)."""
        return self.turns.now

    monotonic = time

    def pass_time(self, seconds: float) -> None:
        """Let time pass for the running thread."""
        self.turns.sleep(seconds)

    # Connections

    def connect(self, user: str, audience: str, kind: str) -> None:
        """Let a client connect."""
        connection_id = f"c{next(self.numbers):06}="
        self.kinds[connection_id] = kind
        self.users[connection_id] = user, audience
        self.subscribers[audience][connection_id] = Subscriber(connection_id, user, 0)

    def let_return(self) -> None:
        """Let the clients connect again whose time has come."""
        while self.returning and self.returning[0][0] <= self.turns.now:
            _, _, user, audience, kind = heapq.heappop(self.returning)
            self.connect(user, audience, kind)

    def close(self, connection_id: str) -> None:
        """Close a connection; its client will come back."""
        user, audience = self.users[connection_id]
        kind = self.kinds.pop(connection_id)
        at = self.turns.now + BACK_AFTER_S
        heapq.heappush(self.returning, (at, next(self.numbers), user, audience, kind))

    def answer(self, method: str, connection_id: str) -> tuple[int, float]:
        """Return a request's status, and how long it takes."""
        seconds = self.chance.lognormvariate(0, SPREAD) * ANSWER_S + SLOWER_BY_S * (self.chance.random() < SLOW_PART)
        kind = self.kinds.get(connection_id)
        if kind is None:
            return 410, seconds
        if method == "DELETE":
            self.close(connection_id)
            return 204, seconds
        if kind == "hangs":
            return 0, 2.0
        return (200 if kind == "fine" else 429), seconds

    # Events

    def _schedule(self) -> None:
        for number in range(int(SECONDS * CALLS_A_SECOND)):
            at = number / CALLS_A_SECOND + self.chance.random() / CALLS_A_SECOND
            for user in self.chance.sample(range(USERS), 2):
                self._record(at, f"calls/{user}", f"narrow {zlib.crc32(f'calls/{user}'.encode()) % LANES}")
        for number in range(int(SECONDS / FEED_EVERY_S)):
            for shard in range(LANES):
                self._record(number * FEED_EVERY_S, f"feed/*/{shard}", f"wide {shard}")
        for records in self.records.values():
            records.sort(key=lambda each: each[0])

    def _record(self, at: float, audience: str, lane: str) -> None:
        at += self.turns.now
        name = make_event_id(int(at * 1000), audience)
        self.recorded_at[name] = at
        self.records[lane].append((at, Entry(audience, name, "call_started", name + "}", int(at) + 3600)))

    def heard(self, body: bytes, connection_id: str) -> None:
        """Note that a connection heard a frame: the name of its event, and a position."""
        endpoint = self.users[connection_id][1].split("/")[0]
        self.latencies[endpoint].append(self.turns.now - self.recorded_at[body.decode().split(",")[0].rstrip("}")])

    # The functions

    def poster(self) -> Poster:
        """Return the Poster of an instance."""
        return make_poster(
            "https://api.example.com",
            "us-east-1",
            Frozen,
            quota=TokenBucket(5_000, burst=2_500),
            open_pool=lambda: Pool(self),
            clock=self,
            jitter=self.chance.random,
        )

    def run_lane(self, name: str) -> None:
        """Handle the records of a lane, one batch after another."""
        poster = self.poster()
        late_queue = LateQueue(self)
        broadcaster = Broadcaster(
            Table(self),
            Hiding(NobodyBlocked()),
            Registered(self),
            Marks(self),
            NotNoted(),
            NothingNoted(),
            poster,
            lambda: late_queue,
            lambda: late_queue,
            reach="wide" if name.startswith("wide") else "narrow",
            lateness_s=ENDLESS,
            clock=self.time,
        )
        records = self.records[name]
        end = self.turns.now + SECONDS
        self.pass_time(self.chance.random() * POLL_S)
        while self.turns.now < end:
            self.let_return()
            shown = list(itertools.takewhile(lambda each: each[0] <= self.turns.now, records))
            del records[: len(shown)]
            if shown:
                self._broadcast(broadcaster, poster, [entry for _, entry in shown])
            else:
                self.pass_time(POLL_S)

    def _broadcast(self, broadcaster: Broadcaster, poster: Poster, entries: list[Entry]) -> None:
        pool: Any = poster.pool
        pool.served_at = self.turns.now
        report = broadcaster.broadcast(entries, Deadline(ENDLESS, ENDLESS), now_s=self.turns.now)
        assert report.done == len(entries), report.problem
        self.longest_held_s = max(self.longest_held_s, self.turns.now - pool.served_at)
        self.ends.update({outcome.value: count for outcome, count in report.outcomes.items()})
        self.ends["skipped"] += report.skipped

    def run_late(self) -> None:
        """Serve the messages of the late queue."""
        lane = LateLane(Marks(self), Registered(self), self.poster(), LateQueue(self))
        end = self.turns.now + SECONDS
        while self.turns.now < end:
            batch: dict[str, Straggler] = {}
            while self.queue and self.queue[0][0] <= self.turns.now and len(batch) < 10:
                _, number, body = heapq.heappop(self.queue)
                batch[str(number)] = Straggler(**body)
            if batch:
                counts, failed = lane.serve(batch, ENDLESS, int(self.turns.now * 1000))
                assert not failed
                self.ends.update({f"late: {name}": count for name, count in counts.items()})
            else:
                self.pass_time(QUEUE_S)


class Pool:
    """The requests of one instance."""

    def __init__(self, world: World) -> None:
        self.served_at = 0.0  # when a request was last accepted
        self._world = world
        self._answers: list[tuple[float, int, Progress[Any], int, bytes]] = []
        self._cpu_s = 0.0

    @property
    def in_flight(self) -> int:
        """Return how many requests are under way."""
        return len(self._answers)

    def send(self, task: Progress[Any], method: str, path: str, headers: list[str], body: bytes) -> None:
        """Start a request."""
        status, seconds = self._world.answer(method, unquote(path.rpartition("/")[2]))
        self._cpu_s += POST_CPU_S
        at = self._world.turns.now + self._cpu_s + seconds
        heapq.heappush(self._answers, (at, next(self._world.numbers), task, status, body))

    def receive(self) -> list[tuple[Progress[Any], int, str]]:
        """Return the answers that came, when the processor has done its work."""
        cpu_s, self._cpu_s = self._cpu_s, 0.0
        if cpu_s:
            self._world.pass_time(cpu_s)
        came = []
        while self._answers and self._answers[0][0] <= self._world.turns.now:
            _, _, task, status, body = heapq.heappop(self._answers)
            if status == 200:
                self._world.heard(body, task.delivery.connection_id)
                self.served_at = self._world.turns.now
            came.append((task, status, ""))
        return came

    def wait(self, seconds: float) -> None:
        """Wait for an answer."""
        if self._answers:
            seconds = min(seconds, max(0.0, self._answers[0][0] - self._world.turns.now))
        self._world.pass_time(seconds)

    def abandon(self, which: Callable[[Progress[Any]], bool] | None = None) -> list[Progress[Any]]:
        """Abort requests; if they were under way to a healthy connection, it hears the frame all the same."""
        gone = [each for each in self._answers if which is None or which(each[2])]
        self._world.ends["late though healthy"] += sum(status == 200 for _, _, _, status, _ in gone)
        self._answers = [each for each in self._answers if each not in gone]
        heapq.heapify(self._answers)
        return [each[2] for each in gone]

    def close(self) -> None:
        """Hold nothing open."""


class Table(Connections):
    """The Connections table."""

    def __init__(self, world: World) -> None:
        self._world = world

    def about_user(self, audiences: Collection[str], now_s: int) -> dict[str, list[Subscriber]]:
        """Return the subscribers of audiences about one user; likewise."""
        return {each: list(self._world.subscribers[each].values()) for each in audiences}

    def subscribers(self, audience: str, now_s: int) -> Iterator[list[Subscriber]]:
        """Yield an audience; it is read while it is read who is behind, which takes as long."""
        yield list(self._world.subscribers[audience].values())


class Registered(Registry):
    """The registry."""

    def __init__(self, world: World) -> None:
        self._world = world

    def forget_all(self, gone: Sequence[Gone], now_ms: int) -> dict[str, Exception]:
        """Forget connections."""
        self._world.pass_time(2 * TABLE_S)
        for each in gone:
            _, audience = self._world.users[each.connection_id]
            self._world.subscribers[audience].pop(each.connection_id, None)
        return {}


class Marks(Stragglers):
    """The item of the stragglers."""

    def __init__(self, world: World) -> None:
        self._world = world

    def read(self) -> Behind:
        """Return who is behind."""
        self._world.pass_time(TABLE_S)
        marks: dict[str, list[str]] = defaultdict(list)
        for mark in sorted(self._world.late):
            marks[mark.partition(" ")[0]].append(mark)
        skipped = frozenset(self._world.skipped)
        return Behind(dict(marks), skipped, len(self._world.late) + len(skipped))

    def add(self, marks: Sequence[str], now_s: int) -> bool:
        """Note stragglers."""
        self._world.pass_time(TABLE_S)
        self._world.late |= set(marks)
        return True

    def skip(self, marks: Mapping[str, Sequence[str]]) -> bool:
        """Note that connections miss events."""
        self._world.pass_time(TABLE_S)
        if not all(self._world.late & set(each) for each in marks.values()):
            return False
        self._world.skipped |= marks.keys()
        return True

    def heal(self, connection_id: str, token: str) -> bool:
        """Note that a straggler's frames were delivered."""
        self._world.pass_time(TABLE_S)
        if connection_id in self._world.skipped:
            return False
        self._world.late.discard(mark_of(connection_id, token))
        return True

    def remove(self, connection_id: str, marks: Collection[str]) -> None:
        """Forget a straggler."""
        self._world.pass_time(TABLE_S)
        self._world.skipped.discard(connection_id)
        self._world.late -= set(marks)


class LateQueue(Queue):
    """The late queue."""

    def __init__(self, world: World) -> None:
        self._world = world

    def send(self, body: dict[str, Any], *, delay_seconds: int = 0, **_: object) -> None:
        """Send a message."""
        self._world.pass_time(QUEUE_S)
        self._put(body, delay_seconds)

    def send_all(self, messages: Sequence[tuple[dict[str, Any], Mapping[str, str]]], *, delay_seconds: int = 0) -> None:
        """Send messages."""
        self._world.pass_time(QUEUE_S * -(-len(messages) // 10))
        for body, _ in messages:
            self._put(body, delay_seconds)

    def _put(self, body: dict[str, Any], delay_s: float) -> None:
        at = self._world.turns.now + delay_s + QUEUE_S
        heapq.heappush(self._world.queue, (at, next(self._world.numbers), body))


class InlineExecutor(Executor):
    """Does its work when it gets it: the threads here have turns, and others would not."""

    def __init__(self, _threads: int = 1) -> None:
        """Ignore how many threads are wanted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do it."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # as concurrent.futures does
            future.set_exception(error)
        return future


def simulate(bad: tuple[float, float], seed: int) -> World:
    """Run the service for some seconds."""
    world = World(bad, seed)
    lanes = [f"{kind} {number}" for kind in ("narrow", "wide") for number in range(LANES)]
    actions = [partial(world.run_lane, name) for name in lanes]
    with patch.object(broadcast, "ThreadPoolExecutor", InlineExecutor), patch.object(late, "time", world):
        world.turns.run(*actions, *[world.run_late] * INSTANCES)
    return world


def main() -> None:
    """Measure, print and store the figures."""
    without = [simulate((0.0, 0.0), seed) for seed in SEEDS]
    among = [simulate((HANGING, THROTTLED), seed) for seed in SEEDS]
    figures: dict[str, float] = {"held_ms": max(world.longest_held_s for world in among) * 1000}
    print(f"{'ms':<8}{'p50':>10}{'p99':>10}{'among stragglers':>20}{'':>10}{'p99 ratio':>12}")
    for endpoint in ("calls", "feed"):
        rows = [
            statistics.quantiles([each for world in worlds for each in world.latencies[endpoint]], n=100)
            for worlds in (without, among)
        ]
        figures[f"{endpoint}_p99"] = rows[1][98] / rows[0][98]
        (p50, p99), (bad_p50, bad_p99) = ((row[49] * 1000, row[98] * 1000) for row in rows)
        print(f"{endpoint:<8}{p50:>10.1f}{p99:>10.1f}{bad_p50:>20.1f}{bad_p99:>10.1f}{bad_p99 / p99:>12.2f}")
    ends = sum((world.ends for world in among), Counter[str]())
    served = sum(len(each) for world in among for each in world.latencies.values())
    figures["false_late"] = ends["late though healthy"] / served
    print(f"the longest time for which stragglers held a lane: {figures['held_ms']:.0f} ms")
    print(f"healthy deliveries that left their lane: {figures['false_late']:.5f}")
    print(", ".join(f"{name}: {count:,}" for name, count in sorted(ends.items())))
    results.save("stragglers", figures)


if __name__ == "__main__":
    main()
