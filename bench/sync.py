"""What `sync` reads when 500 clients a second ask, with 20,000 users online and 50 changes a second.

A simulation: the real `Everyone` of many instances over tables in memory that count read units by DynamoDB's documented
rules (4 KB a unit, half of it for eventually consistent reads) and take virtual time; so does the work that `default`
does with its third of a core. A client that is refused asks again when it is told to. "for each client" is what `sync`
did before: everyone is read for every client. The limits are those of a new on-demand table: 12,000 units a second, and
3,000 for one partition key.
docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html
docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
"""

from __future__ import annotations

import itertools
import json
import math
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from harness.virtual_time import VirtualTime
from realtime import everyone
from realtime.errors import Unavailable
from realtime.everyone import Everyone, Rows
from realtime.presence import Rules, consequences
from realtime.snapshots import encode_pages
from realtime.tables.dynamodb import item
from realtime.tables.entries import Entry, read_entries
from realtime.tables.membership import ONLINE_SHARDS
from realtime.tables.outbox import Outbox
from realtime.tables.users import User, Users, read_user
from realtime.tables.views import Head, Made, Part, Views
from tools import results

ONLINE, SYNCS_A_SECOND, CHANGES_A_SECOND = 20_000, 500, 50
SECONDS, WARM_UP_SECONDS = 30, 62  # the log is a minute long before the clients come
STARTED_A_SECOND = 100  # instances; Lambda starts 1,000 of a function in ten seconds
TABLE_LIMIT, KEY_LIMIT = 12_000, 3000
LOG = "presence/*/0"
PART_BYTES = 50_000
_INDEX_ROW_BYTES, _ENTRY_BYTES = 192, 400  # as docs/cost.md's meter finds them
_CALL_S, _PAGE_S = 0.005, 0.02
_THROTTLED_S = 0.1  # until Lambda is asked again for an instance
# `default` has 512 MB, and so this part of a core. docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
CORE = 512 / 1769
# What work needs of a whole core, by `cpu_ms` and by reading pages of 1 MB through botocore. s
USER_S, CHANGE_S = 40e-6, 6e-6  # to read a user of the index and make what is shown; to read a change of the log
PACKED_BYTE_S, UNPACKED_BYTE_S = 0.6e-6, 0.8e-6  # of a base or a tail as it is stored
_CLAIMS: dict[Part, str] = {"base": "base_claimed_until_ms", "tail": "claimed_until_ms"}
_START = 1_705_314_600.0


class Store:
    """The contents of the tables, and the read units of each second and partition key."""

    def __init__(self, virtual: VirtualTime) -> None:
        self.virtual = virtual
        self.users = {str(number): _user(str(number)) for number in range(ONLINE)}
        self.entries: list[Entry] = []
        self.units: defaultdict[tuple[int, str], float] = defaultdict(float)
        self.written = 0
        self.heads: dict[str, Head] = {}
        self.rows: dict[str, bytes] = {}

    def read(self, key: str, size: float, *, consistent: bool = False, seconds: float = _CALL_S) -> None:
        """Count a read, and let its time pass."""
        units = max(1, math.ceil(size / 4096)) * (1 if consistent else 0.5)
        self.units[int(self.virtual.now), key] += units
        self.virtual.sleep(seconds)

    def work(self, seconds: float) -> None:
        """Let the time pass that work takes which needs so much of a core."""
        self.virtual.sleep(seconds / CORE)

    def change(self, chance: random.Random) -> None:
        """Change a user, and record the entries that follow."""
        user_id = str(chance.randrange(ONLINE))
        old = self.users[user_id]
        now_ms = int((_START + self.virtual.now) * 1000)
        new = replace(old, version=old.version + 1, changed_at_ms=now_ms, is_busy=not old.is_busy)
        self.users[user_id] = new
        for change in consequences(old, new, _RULES).changes:
            self.entries += [each for each in read_entries(change.as_item(), "wide") if each.audience == LOG]


class _Users(Users):
    def __init__(self, store: Store) -> None:
        self._store = store

    def online(self) -> Iterator[User]:
        size = len(self._store.users) * _INDEX_ROW_BYTES / ONLINE_SHARDS
        shown = list(self._store.users.values())
        for shard in range(ONLINE_SHARDS):
            self._store.read(f"online/{shard}", size, seconds=_PAGE_S * math.ceil(size / 1e6))
            self._store.work(len(shown) / ONLINE_SHARDS * USER_S)
        return iter(shown)

    def get_many(self, user_ids: Collection[str]) -> list[User]:
        for user_id in user_ids:
            self._store.units[int(self._store.virtual.now), f"user/{user_id}"] += 1
        self._store.virtual.sleep(_CALL_S)
        self._store.work(len(user_ids) * USER_S)
        return [self._store.users[user_id] for user_id in user_ids]


class _Outbox(Outbox):
    def __init__(self, store: Store) -> None:
        self._store = store

    def changed_since(self, log: str, event_id: str) -> Iterator[tuple[str, int]]:
        found = list(itertools.takewhile(lambda entry: entry.event_id > event_id, reversed(self._store.entries)))[::-1]
        size = len(found) * _ENTRY_BYTES
        self._store.read(log, size, consistent=True, seconds=_PAGE_S * math.ceil(size / 1e6 + 0.01))
        self._store.work(len(found) * CHANGE_S)
        return iter([(str(each.subject), each.version) for each in found])


class _Views(Views):
    def __init__(self, store: Store) -> None:
        self._store = store

    def head(self, name: str) -> Head | None:
        self._store.read(f"view/{name}", 1)
        return self._store.heads.get(name)

    def claim(self, name: str, part: Part, now_ms: int, until_ms: int) -> bool:
        self._store.written += 1
        head = self._store.heads.get(name, Head())
        if getattr(head, _CLAIMS[part]) >= now_ms:
            return False
        made: dict[str, Any] = {_CLAIMS[part]: until_ms}
        self._store.heads[name] = replace(head, claimed_at_ms=now_ms, **made)
        return True

    def wait_for(self, name: str, now_ms: int) -> None:
        self._store.written += 1
        self._store.heads[name] = replace(self._store.heads[name], awaited_at_ms=now_ms)

    def release(self, name: str, part: Part, until_ms: int, users: int | None = None) -> None:
        self._end(name, part, until_ms, {} if users is None else {"users": users})

    def publish_base(self, name: str, users: int, base: Made, step: Made | None, step_from: str, until_ms: int) -> bool:
        made = {"users": users, "base": base, "step": step, "step_from": step_from, "tail": None}
        return self._end(name, "base", until_ms, {**made, _CLAIMS["tail"]: 0})

    def publish_tail(self, name: str, tail: Made, until_ms: int) -> bool:
        return self._end(name, "tail", until_ms, {"tail": tail})

    def _end(self, name: str, part: Part, until_ms: int, values: dict[str, Any]) -> bool:
        self._store.written += 1
        head = self._store.heads[name]
        if getattr(head, _CLAIMS[part]) != until_ms:
            return False
        self._store.heads[name] = replace(head, **{_CLAIMS[part]: 0, **values})
        return True

    def write(self, rows: bytes, begun_ms: int) -> Made:
        self._store.work(len(rows) * PACKED_BYTE_S)
        self._store.written += math.ceil(len(rows) / 1024)
        self._store.virtual.sleep(_PAGE_S)
        made = Made(str(len(self._store.rows)), begun_ms, math.ceil(len(rows) / PART_BYTES))
        self._store.rows[made.view_id] = rows
        return made

    def read(self, made: Made) -> bytes | None:
        rows = self._store.rows[made.view_id]
        for part in range(made.parts):
            self._store.read(f"view/{made.view_id}/{part}", min(PART_BYTES, len(rows) - part * PART_BYTES))
        self._store.work(len(rows) * UNPACKED_BYTE_S)
        return rows


_RULES = Rules(shards=1, feed_role="listener", history_seconds=3600)


def _user(user_id: str) -> User:
    at_ms = int(_START * 1000) - 3_600_000
    return User(
        user_id=user_id,
        username=f"listener_{user_id}",
        role="listener",
        connection_ids=frozenset({"c"}),
        is_online=True,
        is_busy=False,
        last_seen_ms=at_ms,
        left_at_ms=0,
        version=1,
        changed_at_ms=at_ms,
        hidden_from=frozenset(),
    )


def _image(user_id: str) -> dict[str, Any]:
    """Return what the index has of a user."""
    user = _user(user_id)
    values = {"user_id": user_id, "username": user.username, "role": user.role, "is_online": True}
    return item({**values, "last_seen": user.last_seen_ms, "version": user.version})


class Instances:
    """The instances of `default`: each serves one client at a time, and a new one is started when all are busy."""

    def __init__(self, most: int, store: Store) -> None:
        self._most, self._virtual = most, store.virtual
        self._tables = _Users(store), _Outbox(store), _Views(store)
        self._free: list[Everyone] = []
        self._started = 0

    @contextmanager
    def one(self) -> Iterator[Everyone]:
        """Yield a free instance; wait for one if no more can be started now."""
        while not self._free:
            since = self._virtual.now - WARM_UP_SECONDS
            if self._started < min(self._most, STARTED_A_SECOND * (since + 1)):
                self._started += 1
                self._free.append(Everyone(*self._tables, clock=self._time, pause=self._virtual.sleep))
            else:
                self._virtual.sleep(_THROTTLED_S)
        instance = self._free.pop()
        try:
            yield instance
        finally:
            self._free.append(instance)

    def _time(self) -> float:
        return _START + self._virtual.now


def simulate(instances: int, *, shared: bool, syncs_a_second: int = SYNCS_A_SECOND) -> dict[str, float]:
    """Let clients sync for some seconds; return read units a second, the longest answer (s) and what was missing."""
    chance = random.Random(7)
    random.seed(7)
    virtual = VirtualTime()
    store = Store(virtual)
    pool = Instances(instances, store)
    waits: list[float] = []
    missing = refused = 0

    def sync() -> None:
        nonlocal missing, refused
        asked = virtual.now
        while True:
            try:
                with pool.one() as instance:
                    before = len(store.entries)
                    rows: Rows = instance.read(LOG) if shared else instance.read_anew(LOG)
                break
            except Unavailable as problem:
                refused += 1
                virtual.sleep(problem.retry_after)
        waits.append(virtual.now - asked)
        for entry in store.entries[max(0, before - 100) : before]:
            message = json.loads(entry.message)
            missing += rows[entry.subject or str(message["data"]["user_id"])].version < message["version"]

    for number in range((WARM_UP_SECONDS + SECONDS) * CHANGES_A_SECOND):
        virtual.start(number / CHANGES_A_SECOND, lambda: store.change(chance))
    for number in range(SECONDS * syncs_a_second):
        virtual.start(WARM_UP_SECONDS + number / syncs_a_second, sync)
    virtual.run()
    first, last = WARM_UP_SECONDS, WARM_UP_SECONDS + SECONDS
    seconds = dict.fromkeys(range(first, last), 0.0)
    keys: list[float] = []
    for (second, _), units in store.units.items():
        if second in seconds:
            seconds[second] += units
            keys.append(units)
    return {
        "units": statistics.mean(seconds.values()),
        "peak_units": max(seconds.values()),
        "hottest_key": max(keys),
        "longest_s": max(waits),
        "median_s": statistics.median(waits),
        "missing": missing,
        "refused": refused,
    }


def cpu_ms() -> dict[str, float]:
    """Return the CPU (ms) of a sync whose base is in memory, and of the reading of a base."""
    rows = {str(number): everyone.Shown.of(_user(str(number))) for number in range(ONLINE)}
    packed = everyone.pack(rows.values())
    images = [_image(str(number)) for number in range(ONLINE)]
    began = time.process_time()
    for image in images:
        everyone.Shown.of(read_user(image))
    made = time.process_time()
    everyone.pack(rows.values())
    stored = time.process_time()
    everyone.unpack(packed)
    unpacked = time.process_time()
    frames = encode_pages([row.state for row in (rows | {}).values()], int(_START * 1000), {"since": "x" * 20})
    return {
        "make_ms": (made - began) * 1000,
        "pack_ms": (stored - made) * 1000,
        "base_ms": (unpacked - stored) * 1000,
        "answer_ms": (time.process_time() - unpacked) * 1000,
        "base_kilobytes": len(packed) / 1024,
        "frames": len(frames),
    }


class SharedRows:
    """Keeps what `step` returns, for all instances of the simulation: each for itself would need 5 GB."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, bytes], tuple[Rows, Rows]] = {}
        self._step = everyone.step

    def __call__(self, rows: Rows, packed: bytes) -> Rows:
        key = id(rows) if rows else 0, packed
        if key not in self._kept:
            self._kept[key] = rows, self._step(rows, packed)
        return self._kept[key][1]


def main() -> None:
    """Measure, print and store the figures."""
    figures: dict[str, float] = {}
    print(
        f"{'500 syncs/s, 20,000 online, 50 changes/s':<42}{'units/s':>9}{'peak':>9}{'a key':>9}{'p50 s':>8}{'max s':>8}"
        f"{'refused':>9}"
    )
    for instances in (700, 1_000):
        results.progress(f"{instances} instances")
        with mock.patch.object(everyone, "step", SharedRows()):
            found = simulate(instances, shared=True)
        assert not found["missing"], "a sync lacked a change that was recorded before it"
        assert found["longest_s"] < 15, "no view was made in time"
        figures |= {f"{name}_{instances}": value for name, value in found.items()}
        _row(f"shared, {instances} instances", found)
    results.progress("for each client")
    alone = simulate(10, shared=False, syncs_a_second=2)  # at the full rate it would take hours of CPU
    for name in ("units", "peak_units", "hottest_key"):
        alone[name] *= SYNCS_A_SECOND / 2
    _row("for each client (2 syncs/s, × 250)", alone)
    results.progress()
    figures |= {"alone_units": alone["units"], "alone_key": alone["hottest_key"], **cpu_ms()}
    figures["ratio"] = figures["units_700"] / alone["units"]
    print(f"a new on-demand table carries {TABLE_LIMIT:,} units/s, a key {KEY_LIMIT:,}; ratio {figures['ratio']:.4f}")
    print(
        f"CPU: a base of {figures['base_kilobytes']:.0f} KB made {figures['make_ms']:.0f} ms, "
        f"packed {figures['pack_ms']:.0f} ms, read {figures['base_ms']:.0f} ms, once in 20 s; "
        f"an answer of {figures['frames']:.0f} frames {figures['answer_ms']:.0f} ms"
    )
    results.save("sync", figures)


def _row(name: str, found: dict[str, float]) -> None:
    print(
        f"{name:<42}{found['units']:>9,.0f}{found['peak_units']:>9,.0f}{found['hottest_key']:>9,.0f}"
        f"{found['median_s']:>8.2f}{found['longest_s']:>8.2f}{found['refused']:>9,.0f}"
    )


if __name__ == "__main__":
    main()
