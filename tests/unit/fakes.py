"""Stand-ins for the objects that the units under test call: small, in memory, with the answers of the real ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from realtime.aws.bus import Bus, BusEvent
from realtime.aws.queues import Queue
from realtime.errors import Unavailable
from realtime.posting.delivery import D, Delivery, Outcome, Result
from realtime.posting.poster import Poster
from realtime.tables.blocks import Blocks
from realtime.tables.connections import Connections, Subscriber
from realtime.tables.entries import Change, Entry, LateMark, read_entries
from realtime.tables.outbox import Outbox
from realtime.tables.posted import LastPosted, PostedPositions
from realtime.tables.registry import Gone, Registry
from realtime.tables.served import Served
from realtime.tables.stragglers import CAPACITY, Behind, Stragglers, mark_of


class Sleeps:
    """Replaces time.sleep and records the durations."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)

    def __len__(self) -> int:
        return len(self.seconds)


class Clock:
    """A clock that a test moves."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def aws_error(code: str, operation: str = "Operation", **more: Any) -> ClientError:
    """Return an error as botocore raises it."""
    response: Any = {"Error": {"Code": code, "Message": f"{code} happened"}, **more}
    return ClientError(response, operation)


def as_client(fake: object) -> Any:
    """Return a fake as a client of an AWS service, of which it has only the methods that its test needs."""
    return fake


def entries_of(change: Change) -> list[Entry]:
    """Return all entries that a change of presence stands for, as the two functions read them."""
    stored = change.as_item()
    return [*read_entries(stored, "wide"), *read_entries(stored, "narrow")]


class FakeOutbox(Outbox):
    """The Events table, as a list of its entries."""

    def __init__(self, journal: list[str] | None = None) -> None:
        self.entries: list[Entry] = []
        self.marks: list[LateMark] = []
        self.journal = journal if journal is not None else []

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __contains__(self, audience: str) -> bool:
        return any(entry.audience == audience for entry in self.entries)

    def put(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.journal.append("outbox")

    def put_all(self, entries: Iterable[Entry | Change | LateMark]) -> None:
        for each in entries:
            if isinstance(each, LateMark):
                self.marks.append(each)
            else:
                self.entries += [each] if isinstance(each, Entry) else entries_of(each)
        self.journal.append("outbox")


class FakeQueue(Queue):
    """A queue, as a list of the messages that were sent to it."""

    def __init__(self, journal: list[str] | None = None) -> None:
        self.sent: list[tuple[dict[str, Any], int, dict[str, str]]] = []
        self.journal = journal if journal is not None else []
        self.error: Exception | None = None

    def __len__(self) -> int:
        return len(self.sent)

    def send(self, body: dict[str, Any], *, delay_seconds: int = 0, attributes: dict[str, str] | None = None) -> None:
        if self.error:
            raise self.error
        self.sent.append((body, delay_seconds, attributes or {}))
        self.journal.append("queue")

    def send_all(self, messages: Sequence[tuple[dict[str, Any], Mapping[str, str]]], *, delay_seconds: int = 0) -> None:
        for body, attributes in messages:
            self.send(body, delay_seconds=delay_seconds, attributes=dict(attributes))


class FakeBus(Bus):
    """The bus, as a list of its events."""

    def __init__(self, journal: list[str] | None = None) -> None:
        self.told: list[BusEvent] = []
        self.journal = journal if journal is not None else []

    def __len__(self) -> int:
        return len(self.told)

    def put_all(self, events: Sequence[BusEvent]) -> None:
        self.told += events
        self.journal.append("bus")


class FakeConnections(Connections):
    """The Connections table, as pages of subscribers by audience."""

    def __init__(self, pages: Mapping[str, Sequence[Sequence[Subscriber]]]) -> None:
        self._pages = pages
        self.read: list[str] = []
        self.failing: dict[str, int] = {}  # audiences that cannot be read, and after how many pages
        self.errors: dict[str, Exception] = {}  # what reading these audiences raises

    def __contains__(self, audience: str) -> bool:
        return audience in self._pages

    def about_user(self, audiences: Collection[str], now_s: int) -> dict[str, list[Subscriber]]:
        return {each: [one for page in self.subscribers(each, now_s) for one in page] for each in audiences}

    def subscribers(self, audience: str, now_s: int) -> Iterator[list[Subscriber]]:
        self.read.append(audience)
        if audience in self.errors:
            raise self.errors[audience]
        for number, page in enumerate(self._pages.get(audience, [[]])):
            if self.failing.get(audience) == number:
                raise Unavailable("reading an audience: ThrottlingException")
            yield list(page)


class FakeRegistry(Registry):
    """The registry, as a list of the forgotten connections."""

    def __init__(self, error: Exception | None = None) -> None:
        self.gone: list[Gone] = []  # with known audiences, or with none
        self.forgotten: list[str] = []
        self.forgotten_at: list[int] = []  # ms
        self._error = error

    def __len__(self) -> int:
        return len(self.forgotten)

    def __contains__(self, connection_id: str) -> bool:
        return connection_id in self.forgotten

    def forget(self, connection_id: str, now_ms: int, seen_ms: int | None = None) -> str | None:
        if self._error:
            raise self._error
        self.forgotten.append(connection_id)
        return "123"

    def forget_all(self, gone: Sequence[Gone], now_ms: int) -> dict[str, Exception]:
        if self._error:
            return {each.connection_id: self._error for each in gone}
        self.gone += gone
        self.forgotten_at.append(now_ms)
        self.forgotten += [each.connection_id for each in gone]
        return {}


class FakeBlocks(Blocks):
    """The Blocks table, as pairs of a blocker and a user whom they have blocked; all of them are on lists."""

    def __init__(self, *blocks: tuple[str, str]) -> None:
        self.blocks = set(blocks)
        self.asked: list[tuple[str, frozenset[str]]] = []  # a blocker, and the others who were asked about
        self.read: list[str] = []  # the blockers whose whole lists were read
        self.error: Exception | None = None

    def blockers(self, user_id: str, candidates: Collection[str]) -> frozenset[str]:
        return frozenset(each for each in candidates if (each, user_id) in self.blocks)

    def listed_among(self, blocker: str, others: Collection[str]) -> frozenset[str]:
        if self.error:
            raise self.error
        self.asked.append((blocker, frozenset(others)))
        return frozenset(each for each in others if (blocker, each) in self.blocks)

    def listed(self, blocker: str) -> frozenset[str]:
        self.read.append(blocker)
        return frozenset(other for each, other in self.blocks if each == blocker)


class FakeServed(Served):
    """The marks of what was served, as a list."""

    def __init__(self) -> None:
        self.marks: list[tuple[frozenset[str], int]] = []

    def mark(self, audiences: Iterable[str], now_s: int) -> None:
        if marked := frozenset(audiences):
            self.marks.append((marked, now_s))


class FakePosted(PostedPositions):
    """The positions that instances of `broadcast` share. `error`: what reading and writing raise."""

    def __init__(self, error: Exception | None = None) -> None:
        self.noted: dict[str, LastPosted] = {}
        self.error = error

    def __len__(self) -> int:
        return len(self.noted)

    def __contains__(self, audience: str) -> bool:
        return audience in self.noted

    def read(self, audiences: Collection[str]) -> dict[str, LastPosted]:
        if self.error:
            raise self.error
        return {audience: self.noted[audience] for audience in audiences if audience in self.noted}

    def write(self, posted: Mapping[str, LastPosted], now_s: int) -> None:
        if self.error:
            raise self.error
        self.noted |= posted


class FakePoster(Poster):
    """A Poster, as a list of its deliveries; time runs out after `room` deliveries."""

    def __init__(self, outcomes: Mapping[str, Outcome] | None = None, *, room: int | None = None) -> None:
        self._outcomes = outcomes or {}
        self._room = room
        self.deliveries: list[Delivery] = []
        self.in_lane: list[bool] = []  # of each call
        self.sent: dict[str, int] = {}  # how many frames are finished, for a connection
        self.until: float | None = None  # of the last call
        self.answers: dict[str, str] = {}  # what a GET is answered
        self.refusal = "POST https://example.com/feed/@connections/*: 403 Forbidden"

    def __len__(self) -> int:
        return len(self.deliveries)

    def __contains__(self, connection_id: str) -> bool:
        return any(delivery.connection_id == connection_id for delivery in self.deliveries)

    def to(self, connection_id: str) -> Delivery:
        """Return the one delivery to a connection."""
        (found,) = (delivery for delivery in self.deliveries if delivery.connection_id == connection_id)
        return found

    def deliver(self, deliveries: Iterable[D], *, until: float, in_lane: bool = False) -> Iterator[Result[D]]:
        self.in_lane.append(in_lane)
        self.until = until
        for delivery in deliveries:
            if self._room is not None and len(self) >= self._room:
                yield Result(delivery, Outcome.NOT_TRIED)
                return  # the rest is not drawn
            self.deliveries.append(delivery)
            outcome = self._outcomes.get(delivery.connection_id, Outcome.DELIVERED)
            reason = self.answers.get(delivery.connection_id, "")
            yield Result(delivery, outcome, self.sent.get(delivery.connection_id, 0), reason)


class FakeStragglers(Stragglers):
    """The item of the connections that are behind, as two sets."""

    def __init__(self, journal: list[str] | None = None) -> None:
        self.late: set[str] = set()
        self.skipped: set[str] = set()
        self.journal = journal if journal is not None else []
        self.errors: dict[str, Exception] = {}  # what a method raises
        self.before: dict[str, Callable[[], object]] = {}  # what happens just before a method's effect, once

    def _begin(self, method: str) -> None:
        if (happens := self.before.pop(method, None)) is not None:
            happens()
        self.journal.append(method)
        if method in self.errors:
            raise self.errors[method]

    def read(self) -> Behind:
        self._begin("read")
        marks: dict[str, list[str]] = {}
        for mark in sorted(self.late):
            marks.setdefault(mark.partition(" ")[0], []).append(mark)
        return Behind(marks, frozenset(self.skipped), len(self.late) + len(self.skipped))

    def add(self, marks: Sequence[str], now_s: int) -> bool:
        self._begin("add")
        if len(self.late) >= CAPACITY:
            return False
        self.late |= set(marks)
        return True

    def skip(self, marks: Mapping[str, Sequence[str]]) -> bool:
        self._begin("skip")
        if not all(self.late & set(each) for each in marks.values()):
            return False
        self.skipped |= marks.keys()
        return True

    def heal(self, connection_id: str, token: str) -> bool:
        self._begin("heal")
        if connection_id in self.skipped:
            return False
        self.late.discard(mark_of(connection_id, token))
        return True

    def remove(self, connection_id: str, marks: Collection[str]) -> None:
        self._begin("remove")
        self.skipped.discard(connection_id)
        self.late -= set(marks)
