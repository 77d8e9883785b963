"""The sweep over many silent connections, in simulated time: what it asks and reads, and that nobody is overlooked.

`SWEEP_CONNECTIONS=1000000 pytest -s tests/unit/test_sweep_at_scale.py` prints the figures of a million (a minute).
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from realtime import session_checks
from realtime import sweep as sweeping
from realtime.posting.delivery import D, Outcome, Result
from realtime.sweep import Policy, Sweeper
from realtime.tables.connections import Connection, Session
from realtime.tables.dynamodb import Cursor
from realtime.tables.entries import Entry
from realtime.tables.session_scan import Progress, SweepWindow
from tests.unit.fakes import FakePoster

COUNT = int(os.environ.get("SWEEP_CONNECTIONS", "10000"))
LEASE, LIFE = 90, 7200
GET_RATE = 250  # a second: a twentieth of the posts' default part of RequestsPerSecond
PAGE_ROWS = 2_500  # of 400 bytes, for a session and what belongs to it
PAGE_UNITS = 128  # read units of 1 MB, eventually consistent
SEGMENTS = 8
SWEEP_SECONDS = 47.0
FAR_AWAY = 1 << 40


class Row:
    """A session's item."""

    __slots__ = ("asked", "connected", "heartbeat", "id", "lease", "told", "vanished")

    def __init__(self, number: int, connected: int) -> None:
        self.id = f"c{number}"
        self.connected = connected
        self.lease = connected + LEASE
        self.asked = self.told = 0
        self.heartbeat = False
        self.vanished: int | None = None


class World:
    """A million clients, the tables, API Gateway, and a clock for all."""

    def __init__(self, count: int, *, scale: float) -> None:
        self.now, self.elapsed = 1_705_314_600, 0.0
        self.scale = scale  # of a million; the rates are as small a part
        chance = random.Random(0)
        self.rows = [Row(number, self.now - chance.randrange(LIFE)) for number in range(count)]
        for row in self.rows:  # as if the sweep had been at work all the time
            row.lease = max(row.lease, self.now - chance.randrange(600))
        self.by_id = {row.id: row for row in self.rows}
        self.segments = [self.rows[number::SEGMENTS] for number in range(SEGMENTS)]
        self.counts: Counter[str] = Counter()
        self.kept = Progress()
        self.forgotten: dict[str, tuple[int, int]] = {}
        self.waited_s: list[int] = []
        self.page_rows = max(1, int(PAGE_ROWS * scale))
        self.poster = AskPoster(self)
        tables: Any = SimpleNamespace(
            session_scan=self,
            served=SimpleNamespace(all=dict),
            calls=SimpleNamespace(open_since=lambda *_: ([], None)),
            users=SimpleNamespace(stranded=lambda *_, **__: ([], None)),
            outbox=self,
            registry=self,
            connections=self,
        )
        self.sweeper = Sweeper(
            tables, self.poster, Policy(LEASE, 10, 3600), clock=lambda: self.elapsed, pause=self._pause
        )

    def _pause(self, seconds: float) -> None:
        self.elapsed += seconds / SEGMENTS  # the segments are read at the same time

    def minute(self) -> Counter[str]:
        """Let a minute pass, in which old connections end and others begin, and sweep."""
        self.now += 60
        self.elapsed = 0.0
        for row in self.rows:
            if self.now - row.connected >= LIFE:
                self.counts["ended"] += 1
                self.counts["ended_without_advice"] += not row.told
                row.connected = self.now
                row.lease, row.told, row.asked = self.now + LEASE, 0, 0
        return self.sweeper.sweep(self.now * 1000, SWEEP_SECONDS)

    # ---- the tables

    def progress(self, segments: int) -> Progress:
        assert segments == SEGMENTS
        return self.kept

    def sessions_to_check(
        self, segment: int, segments: int, window: SweepWindow, after: Cursor
    ) -> tuple[list[Session], Cursor]:
        assert segments == SEGMENTS
        start = int(str(after["at"])) if after else 0
        rows = self.segments[segment]
        self.counts["pages"] += 1
        low, high = window.connected_from_ms // 1000, window.connected_to_ms // 1000
        before, silent = window.lease_before_s, window.silent
        found = [
            row
            for row in rows[start : start + self.page_rows]
            if (row.lease < before and (silent or row.heartbeat)) or low <= row.connected <= high
        ]
        self.counts["rows"] += len(found)
        end = start + self.page_rows
        return [self._session(row) for row in found], {"at": end} if end < len(rows) else None

    def _session(self, row: Row) -> Session:
        connection = Connection(row.id, "calls", row.id, row.connected * 1000, FAR_AWAY)
        return Session(connection, row.lease, 0, row.connected, row.connected, row.heartbeat)

    def keep(self, progress: Progress, now_ms: int) -> None:
        self.kept = progress

    def put(self, entry: Entry) -> None:
        self.by_id[entry.audience.partition("/")[2]].told += not entry.close
        self.counts["puts"] += 1

    def forget(self, connection_id: str, now_ms: int, seen_ms: int) -> None:
        self.forgotten[connection_id] = (now_ms // 1000, seen_ms // 1000)
        self.by_id[connection_id].lease = 1 << 40

    def renew_lease(self, connection_id: str, lease_until_s: int, *, heard_at_s: int | None) -> None:
        row = self.by_id[connection_id]
        self.waited_s.append(self.now - row.lease)
        row.lease = lease_until_s
        row.asked += 1
        self.counts["renewals"] += 1


class AskPoster(FakePoster):
    """Asks at the rate of the quota, on the world's clock."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def deliver(self, deliveries: Iterable[D], *, until: float, in_lane: bool = False) -> Iterator[Result[D]]:
        world = self._world
        for each in deliveries:
            if world.elapsed >= until:
                yield Result(each, Outcome.NOT_TRIED)
                return
            world.elapsed += 1 / (GET_RATE * world.scale)
            world.counts["asked"] += 1
            is_gone = world.by_id[each.connection_id].vanished is not None
            yield Result(each, Outcome.GONE if is_gone else Outcome.DELIVERED)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    scale = COUNT / 1_000_000
    monkeypatch.setattr(sweeping, "SEGMENTS", SEGMENTS)
    monkeypatch.setattr(session_checks, "MAX_ASKED", max(SEGMENTS, int(session_checks.MAX_ASKED * scale)))
    monkeypatch.setattr(session_checks, "MAX_FOUND", max(1, int(session_checks.MAX_FOUND * scale)))
    return World(COUNT, scale=scale)


def test_many_silent_connections_are_swept_within_the_quota_and_all_are_told_in_time(world: World) -> None:
    minutes = 20 if COUNT > 100_000 else 130
    for row in world.rows:
        row.told = row.connected < world.now - session_checks.RECONNECT_AFTER_SECONDS - 60
    most: Counter[str] = Counter()
    for _ in range(minutes):
        before = world.counts.copy()
        world.minute()
        spent = world.counts - before
        most |= spent
        assert world.elapsed <= SWEEP_SECONDS + 1, "a sweep takes too long"
    assert world.counts["ended_without_advice"] == 0
    assert most["asked"] <= GET_RATE * world.scale * SWEEP_SECONDS + 1
    last = minutes // 2
    told = {
        "connections": COUNT,
        "minutes": minutes,
        "a minute at most": dict(most),
        "read units a minute": most["pages"] * PAGE_UNITS,
        "longest wait for a question after a lease, s": max(world.waited_s[-last:]),
        "segments asking": world.kept.asking,
    }
    print(told)  # noqa: T201  # figures for a run with -s


def test_a_heartbeat_that_stopped_is_found_at_once_among_many_silent_connections(world: World) -> None:
    for _ in range(12):
        world.minute()
    gone = random.Random(1).sample(world.rows, 50)
    for row in gone:
        row.heartbeat, row.vanished, row.connected = True, world.now, world.now - 300
        row.lease = world.now + LEASE  # its last ping was just now
    began = world.now
    while len(world.forgotten) < len(gone):
        world.minute()
        assert world.now - began < 180, f"only {len(world.forgotten)} were found"
