"""Stand-ins for what the units under test speak to: small, in memory, with the answers that the real ones give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from botocore.exceptions import ClientError

from realtime.bus import Announcement, Bus
from realtime.outbox import Entry, Outbox
from realtime.queues import Queue


class Sleeps:
    """Stands for time.sleep: notes how long."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)

    def __len__(self) -> int:
        return len(self.seconds)


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def aws_error(code: str, operation: str = "Operation", **more: Any) -> ClientError:
    """Return an error as botocore raises it."""
    response: Any = {"Error": {"Code": code, "Message": f"{code} happened"}, **more}
    return ClientError(response, operation)


class FakeOutbox(Outbox):
    """The Events table, as the entries that were put in it."""

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
    """A queue, as what was sent to it."""

    def __init__(self, journal: list[str] | None = None) -> None:
        self.sent: list[tuple[dict[str, Any], int, dict[str, str]]] = []
        self.journal = journal if journal is not None else []

    def __len__(self) -> int:
        return len(self.sent)

    def send(self, body: dict[str, Any], *, delay_seconds: int = 0, attributes: dict[str, str] | None = None) -> None:
        self.sent.append((body, delay_seconds, attributes or {}))
        self.journal.append("queue")


class FakeBus(Bus):
    """The bus, as what was told."""

    def __init__(self, journal: list[str] | None = None) -> None:
        self.told: list[Announcement] = []
        self.journal = journal if journal is not None else []

    def __len__(self) -> int:
        return len(self.told)

    def put_all(self, announcements: Sequence[Announcement]) -> None:
        self.told += announcements
        self.journal.append("bus")
