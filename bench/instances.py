"""Instances that post at the same time, on a virtual clock: real Posters, one account, and a table for their claims."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from botocore.exceptions import ClientError

from bench.engine_clients import Frozen
from harness.account import Account
from realtime.late import PROBING_S, RETRY_DELAYS_S, is_throttled
from realtime.posting.api import make_poster
from realtime.posting.delivery import Delivery, Frame, Outcome, Result
from realtime.posting.pacing import Quota
from realtime.posting.progress import Progress
from realtime.posting.shared_quota import Claim, SharedQuota
from realtime.posting.uses import Use
from realtime.tables.budget import Budget

EPOCH = 1_705_314_600.0
POST_MS, CLAIM_MS = (8, 14), (4, 12)  # how long an answer takes
CLIENTS = 5_000  # of each instance
HELLO = (Frame(b'{"type":"presence_update","data":{"user_id":789},"timestamp":"2024-01-15T10:30:00Z"}'),)


class World:
    """A clock that jumps to the next wake-up; of the threads that it starts, one runs at a time."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.chance = random.Random(seed)
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, threading.Lock]] = []
        self._turn = threading.Semaphore(0)

    def time(self) -> float:
        """Return the time since the epoch."""
        return EPOCH + self.now

    def monotonic(self) -> float:
        """Return the time since the start."""
        return self.now

    def _sleeper(self, at: float) -> threading.Lock:
        mine = threading.Lock()
        mine.acquire()
        heapq.heappush(self._sleepers, (at, next(self._order), mine))
        return mine

    def sleep(self, seconds: float) -> None:
        """Let the others go on; the next one is woken directly."""
        at = self.now + seconds
        if not self._sleepers or at < self._sleepers[0][0]:
            self.now = at
            return
        mine = self._sleeper(at)
        self._wake()
        mine.acquire()

    def _wake(self) -> None:
        self.now, _, sleeper = heapq.heappop(self._sleepers)
        sleeper.release()

    def start(self, work: Callable[[], None]) -> None:
        """Have a function begin."""
        mine = self._sleeper(self.now)

        def run() -> None:
            mine.acquire()
            try:
                work()
            finally:
                if self._sleepers:
                    self._wake()
                else:
                    self._turn.release()

        threading.Thread(target=run, daemon=True).start()

    def run(self) -> None:
        """Run until all have ended."""
        self._wake()
        self._turn.acquire()


class ClaimsTable:
    """The client of a table that holds nothing but claims. `units` are write units: one for each call."""

    def __init__(self) -> None:
        self.units = 0
        self._claimed: Counter[str] = Counter()

    def update_item(self, **request: Any) -> dict[str, Any]:
        """Do what Budget asks for: add, if there is room.

        Raises ClientError as botocore does.
        """
        self.units += 1
        values = request["ExpressionAttributeValues"]
        slot = request["Key"]["audience"]["S"]
        if self._claimed[slot] > int(values[":room"]["N"]):
            code = {"Code": "ConditionalCheckFailedException"}
            answer: Any = {"Error": code, "Item": {"claimed": {"N": str(self._claimed[slot])}}}
            raise ClientError(answer, "UpdateItem")
        self._claimed[slot] += int(values[":posts"]["N"])
        return {"Attributes": {"claimed": {"N": str(self._claimed[slot])}}}


class Later(Future[Claim]):
    """The answer to a claim, which arrives after a while."""

    def __init__(self, world: World, claim: Callable[[], Claim]) -> None:
        super().__init__()
        self.set_result(claim())
        self._world = world
        self._at = world.now + world.chance.uniform(*CLAIM_MS) / 1000

    def done(self) -> bool:
        """Return whether it has arrived."""
        return self._world.now >= self._at


def shared(world: World, table: Any, posts_per_second: float, use: Use) -> SharedQuota:
    """Return the quota of one instance, which claims from a table."""
    return SharedQuota(
        Budget(table, "events").claim,
        lambda claim: Later(world, claim),
        posts_per_second=posts_per_second,
        use=use,
        wall=world.time,
        jitter=world.chance.random,
    )


class Pool:
    """Makes requests of the account; all connections are healthy. `sent` counts them by the second."""

    def __init__(self, world: World, account: Account, sent: Counter[int]) -> None:
        self._world, self._account, self._sent = world, account, sent
        self._answers: list[tuple[float, int, Progress[Any], int]] = []
        self._order = itertools.count()

    @property
    def in_flight(self) -> int:
        return len(self._answers)

    def send(self, task: Progress[Any], method: str, path: str, headers: list[str], body: bytes) -> None:
        """Make a request."""
        world = self._world
        self._sent[int(world.now)] += 1
        at = world.now + world.chance.uniform(*POST_MS) / 1000
        heapq.heappush(self._answers, (at, next(self._order), task, 200 if self._account.take() else 429))

    def receive(self) -> list[tuple[Progress[Any], int, str]]:
        """Return the answers that have come."""
        came = []
        while self._answers and self._answers[0][0] <= self._world.now:
            _, _, task, status = heapq.heappop(self._answers)
            came.append((task, status, ""))
        return came

    def wait(self, seconds: float) -> None:
        """Wait for the next answer, or for some seconds."""
        if self._answers:
            seconds = min(seconds, self._answers[0][0] - self._world.now)
        self._world.sleep(max(seconds, 0.0001))

    def abandon(self, which: Callable[[Progress[Any]], bool] | None = None) -> list[Progress[Any]]:
        """Abort the requests of some tasks, or all."""
        abandoned = [each for each in self._answers if which is None or which(each[2])]
        if abandoned:
            self._answers = [each for each in self._answers if each not in abandoned]
            heapq.heapify(self._answers)
        return [task for _, _, task, _ in abandoned]

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


class Instance:
    """One instance of `broadcast`: what it posted, and how long each of its events took."""

    def __init__(self, world: World, account: Account, quota: Quota, sent: Counter[int], late: list[Delivery]) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.closed = 0
        self.latencies: list[float] = []
        self._world, self._late = world, late
        self._poster = make_poster(
            "https://api.example",
            "us-east-1",
            Frozen,
            quota=quota,
            open_pool=lambda: Pool(world, account, sent),
            clock=world,
            jitter=world.chance.random,
        )

    def post_to_everyone(self, until: float) -> None:
        """Post to one client after another, without an end."""
        numbers = itertools.cycle(range(CLIENTS))
        for _ in self._deliver((delivery(f"c{number}=") for number in numbers), until):
            pass

    def post_events(self, a_second: float, posts: int, until: float) -> None:
        """Post events that come at random, each to so many connections; what comes meanwhile is the next batch."""
        world, due = self._world, 0.0
        waiting: list[float] = []
        while world.now < until:
            while due <= world.now:
                waiting.append(due)
                due += world.chance.expovariate(a_second)
            if not waiting:
                world.sleep(due - world.now)
                continue
            batch, waiting = waiting, []
            events = {delivery(f"{number}-{at}="): at for at in batch for number in range(posts)}
            for result in self._deliver(events, until):
                if result.outcome is Outcome.DELIVERED:
                    self.latencies.append(world.now - events[result.delivery])

    def _deliver(self, deliveries: Iterable[Delivery], until: float) -> Iterator[Result[Delivery]]:
        for result in self._poster.deliver(deliveries, until=until, in_lane=True):
            self.outcomes[result.outcome] += 1
            if result.outcome is Outcome.LATE:
                self._late.append(result.delivery)
            yield result

    def serve_stragglers(self, until: float) -> None:
        """Post what the others were late with; count whom `late` would close, because only they get 429s.

        Whoever has to wait for the account is put off, for as long as `late` does after the first try.
        """
        put_off: list[tuple[float, Delivery]] = []
        while self._world.now < until:
            due = [each for at, each in put_off if at <= self._world.now]
            put_off = [(at, each) for at, each in put_off if at > self._world.now]
            batch, self._late[:] = [*due, *self._late[:10]], self._late[10:]
            if not batch:
                self._world.sleep(0.2)
                continue
            throttled = []
            for result in self._poster.deliver(batch, until=until):
                self.outcomes[result.outcome] += 1
                if self._world.now >= until:
                    continue
                if result.outcome is Outcome.THROTTLED:
                    throttled.append(result.delivery)
                else:
                    self.closed += result.outcome is not Outcome.DELIVERED
            if throttled and is_throttled(self._poster, "presence", min(until, self._world.now + PROBING_S)):
                put_off += [(self._world.now + RETRY_DELAYS_S[0], each) for each in throttled]
            else:
                self.closed += len(throttled)


def delivery(connection_id: str) -> Delivery:
    """Return a delivery to an old connection."""
    return Delivery("presence", connection_id, HELLO, EPOCH - 3600)
