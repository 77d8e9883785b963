"""Stand-ins for the objects that the units under test call: small, in memory, with the answers of the real ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from realtime.aws.bus import Bus, BusEvent
from realtime.aws.queues import Queue
from realtime.errors import Unavailable
from realtime.posting.delivery import D, Delivery, Outcome, Result
from realtime.posting.poster import Poster
from realtime.tables.connections import Connections, Subscriber
from realtime.tables.outbox import Entry, Outbox
from realtime.tables.registry import Gone, Registry


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


class FakeOutbox(Outbox):
    """The Events table, as a list of its entries."""

    def __init__(self, journal: list[str] | None = None) -> None:
        self.entries: list[Entry] = []
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

    def put_all(self, entries: Iterable[Entry]) -> None:
        self.entries += entries
        self.journal.append("outbox")


class FakeQueue(Queue):
    """A queue, as a list of the messages that were sent to it."""

    def __init__(self, journal: list[str] | None = None) -> None:
        self.sent: list[tuple[dict[str, Any], int, dict[str, str]]] = []
        self.journal = journal if journal is not None else []

    def __len__(self) -> int:
        return len(self.sent)

    def send(self, body: dict[str, Any], *, delay_seconds: int = 0, attributes: dict[str, str] | None = None) -> None:
        self.sent.append((body, delay_seconds, attributes or {}))
        self.journal.append("queue")


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

    def forget(self, connection_id: str, now_ms: int) -> str | None:
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


class FakePoster(Poster):
    """A Poster, as a list of its deliveries; time runs out after `room` deliveries."""

    def __init__(self, outcomes: Mapping[str, Outcome] | None = None, *, room: int | None = None) -> None:
        self._outcomes = outcomes or {}
        self._room = room
        self.deliveries: list[Delivery] = []
        self.close_unserved: bool | None = None
        self.throttled: set[str] = set()  # connections whose last answer was a 429
        self.refusal = "POST https://example.com/feed/@connections/*: 403 Forbidden"

    def __len__(self) -> int:
        return len(self.deliveries)

    def __contains__(self, connection_id: str) -> bool:
        return any(delivery.connection_id == connection_id for delivery in self.deliveries)

    def to(self, connection_id: str) -> Delivery:
        """Return the one delivery to a connection."""
        (found,) = (delivery for delivery in self.deliveries if delivery.connection_id == connection_id)
        return found

    def deliver(self, deliveries: Iterable[D], *, until: float, close_unserved: bool = False) -> Iterator[Result[D]]:
        self.close_unserved = close_unserved
        for delivery in deliveries:
            if self._room is not None and len(self) >= self._room:
                yield Result(delivery, Outcome.NOT_TRIED)
                return  # the rest is not drawn
            self.deliveries.append(delivery)
            outcome = self._outcomes.get(delivery.connection_id, Outcome.DELIVERED)
            yield Result(delivery, outcome, throttled=delivery.connection_id in self.throttled)
