"""Clients that lose their connections and resume by position, in virtual time: the real replay, batches and positions.

Each audience has a log, in the order in which its entries are written, and a lane that posts them, one batch at a time,
by any of several instances of `broadcast`. A client behaves as docs/clients.md says.
"""

from __future__ import annotations

import json
from bisect import bisect, insort
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from realtime.batch import Batch
from realtime.hiding import HistoryHiding
from realtime.ids import make_event_id
from realtime.positions import floor
from realtime.posted import SharedPositions
from realtime.replay import Replay
from realtime.tables.connections import Connection, Connections, Subscriber
from realtime.tables.entries import Entry
from realtime.tables.outbox import Item, Outbox
from realtime.tables.users import Users
from realtime.watched_states import WatchedStates
from tests.unit.fakes import FakeBlocks

START = 1_705_314_600_000  # ms
HISTORY_SECONDS = 86_400


class Log(Outbox):
    """The entries of the Events table. `logs`: each audience's, in the order in which they were written."""

    def __init__(self) -> None:
        self.logs: dict[str, list[Entry]] = {}
        self._by_id: dict[str, list[Entry]] = {}

    def put(self, entry: Entry) -> None:
        self.logs.setdefault(entry.audience, []).append(entry)
        insort(self._by_id.setdefault(entry.audience, []), entry, key=lambda each: each.event_id)

    def since(self, audience: str, event_id: str) -> Iterator[Item]:
        found = self._by_id.get(audience, [])
        later = islice(found, bisect(found, event_id, key=lambda each: each.event_id), None)
        return (Item(each.event_id, [each]) for each in later)


class VisibleAtOnce(Connections):
    """An index of audiences that does not lag."""

    def __init__(self) -> None:
        pass

    def wait_until_indexed(self, audiences: Collection[str], connection_id: str) -> None:
        pass


@dataclass
class Batching:
    """A batch under way: what is still to be posted to each connection, in order, by the entry's number."""

    instance: SharedPositions
    entries: Sequence[Entry]
    frames: dict[str, list[tuple[int, str]]]


class Client:
    """A client with one connection at a time."""

    def __init__(self, audiences: Sequence[str], types: frozenset[str] = frozenset()) -> None:
        self.audiences = audiences
        self.connection: Connection | None = None
        self.position: dict[str, str] = {}
        self.heard: Counter[str] = Counter()
        self.told: list[dict[str, Any]] = []  # the data of each `resumed`
        self.asks = False  # it wants to resume
        self._types = types
        self._held: dict[str, str] | None = None

    def connect(self, now_ms: int, name: str) -> None:
        """Open a connection; what live messages say of positions waits until everything missed has come."""
        self.connection = Connection(name, "notifications", "123", now_ms, now_ms // 1000 + 3600, self._types)
        self._held = {} if self.position else None
        self.asks = bool(self.position)

    def drop(self) -> None:
        """Lose the connection."""
        self.connection = None
        self.asks = False

    def receive(self, frame: str) -> None:
        """Take a frame."""
        content = json.loads(frame)
        for message in content if isinstance(content, list) else [content]:
            if "id" in message:
                self.heard[message["id"]] += 1
            position = message.get("position", {})
            if message["type"] == "resumed":
                self.told.append(message["data"])
                self.position |= position
                self.asks = not message["data"]["complete"]
                if not self.asks:
                    self.position |= self._held or {}
                    self._held = None
            elif self._held is not None:
                self._held |= position
            else:
                self.position |= position


class NobodyWatched(WatchedStates):
    """The states of watched users, of whom there are none."""

    def __init__(self) -> None:
        pass


class NobodyKnown(Users):
    """The Users table, with nobody in it."""

    def __init__(self) -> None:
        pass


@dataclass
class World:
    """The service, as far as it concerns resuming, and a client."""

    client: Client
    instances: Sequence[SharedPositions]
    now_ms: int = START
    outbox: Log = field(default_factory=Log)
    batches: dict[str, Batching] = field(default_factory=dict)
    answer: list[str] = field(default_factory=list)  # frames for the client, which no batch posts
    due: set[str] = field(default_factory=set)  # what the client must hear
    _done: Counter[str] = field(default_factory=Counter)  # entries of each audience
    _ids: int = 0

    def __post_init__(self) -> None:
        self.replay = Replay(
            VisibleAtOnce(),
            self.outbox,
            NobodyWatched(),
            HistoryHiding(FakeBlocks(), NobodyKnown()),
            history_seconds=HISTORY_SECONDS,
            presence_history_seconds=HISTORY_SECONDS,
        )

    def write(self, *audiences: str, late_ms: int = 0, kind: str = "system_notification", **more: Any) -> str:
        """Record an event whose id was made some time ago."""
        self._ids += 1
        event_id = make_event_id(self.now_ms - late_ms, str(self._ids))
        message = json.dumps({"type": kind, "data": {"n": self._ids}, "id": event_id}, separators=(",", ":"))
        for audience in audiences:
            entry = Entry(audience, event_id, kind, message, self.now_ms // 1000 + HISTORY_SECONDS, **more)
            self.outbox.put(entry)
        return event_id

    def pending(self, audience: str) -> Sequence[Entry]:
        """Return the entries that no batch has done."""
        return self.outbox.logs.get(audience, [])[self._done[audience] :]

    def begin(self, audience: str, size: int, instance: int) -> None:
        """Begin a batch of an audience, if none is under way and there are entries."""
        entries = self.pending(audience)[:size]
        if not entries or audience in self.batches:
            return
        positions = self.instances[instance]
        batch = Batch(entries, positions.of(_names(entries)))
        frames = {}
        if self.client.connection and audience in self.client.audiences:
            subscriber = _subscriber(self.client.connection)
            due = batch.due(subscriber, batch.every)
            numbers = [number for number in range(len(entries)) if due >> number & 1]
            bodies = [frame.body.decode() for frame in batch.frames(due, packed=False)]
            frames[subscriber.connection_id] = list(zip(numbers, bodies, strict=True))
        self.batches[audience] = Batching(positions, entries, frames)

    def post(self, audience: str) -> bool:
        """Post the next frame of a batch; return whether there was one."""
        batch = self.batches.get(audience)
        for connection_id, frames in batch.frames.items() if batch else ():
            if frames:
                _, frame = frames.pop(0)
                if self.client.connection and self.client.connection.connection_id == connection_id:
                    self.client.receive(frame)
                return True
        return False

    def end(self, audience: str, done: int | None = None) -> None:
        """End a batch: all its entries are done, or only the first of them, if it is handed back."""
        batch = self.batches.get(audience)
        if batch is None:
            return
        if done is None:
            while self.post(audience):
                pass
            done = len(batch.entries)
        else:
            done = min(done, len(batch.entries), *(frames[0][0] for frames in batch.frames.values() if frames))
        batch.instance.keep(_names(batch.entries), done, self.now_ms // 1000)
        self._done[audience] += done
        del self.batches[audience]

    def connect(self) -> None:
        """Let the client connect."""
        self._ids += 1
        self.client.connect(self.now_ms, f"connection-{self._ids}")
        self.answer = []

    def drop(self) -> None:
        """Let the client lose its connection, with all that is on its way."""
        self.client.drop()
        self.answer = []

    def ask(self) -> None:
        """Let the client send `resume`, or `ping` if it has nothing to ask for; the answer is on its way."""
        connection = self.client.connection
        if connection is None or self.answer:
            return
        if self.client.asks:
            position = json.loads(json.dumps(self.client.position))
            self.answer = self.replay.since_position(connection, self.client.audiences, position, self.now_ms)
        else:
            pong = {"type": "pong", "position": floor(connection.connected_at_ms, self.now_ms)}
            self.answer = [json.dumps(pong)]

    def step(self) -> None:
        """Bring the client the next frame of an answer."""
        if self.answer:
            self.client.receive(self.answer.pop(0))

    def recover(self) -> None:
        """Let the client be connected until it has everything."""
        if self.client.connection is None:
            self.connect()
        while self.client.asks or self.answer:
            self.ask()
            while self.answer:
                self.step()

    def missed(self) -> set[str]:
        """Return what the client must have heard and has not."""
        return {event_id for event_id in self.due if event_id not in self.client.heard}

    @property
    def sent(self) -> int:
        """How many messages reached the client."""
        return self.client.heard.total()

    @property
    def duplicates(self) -> int:
        """How many of them it had."""
        return self.sent - len(self.client.heard)


def _names(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    return [(entry.audience, entry.event_id) for entry in entries]


def _subscriber(connection: Connection) -> Subscriber:
    return Subscriber(connection.connection_id, connection.user_id, connection.connected_at_ms, connection.types)
