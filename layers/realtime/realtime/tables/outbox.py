"""The outbox: an entry in the Events table for everything that a client receives. It is also the history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from realtime.audiences import connection_of, is_wide
from realtime.aws.clients import aws_errors
from realtime.errors import RealtimeError
from realtime.messages import ENDPOINTS
from realtime.tables.dynamodb import attribute, item, pages, plain, write_all
from realtime.tables.events import INGESTED_TTL_SECONDS, entry_key, ingested_key
from realtime.tables.transactions import TRANSACTION_LIMIT, ConditionFailed, Item, Transaction, Write

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Unreadable(RealtimeError):
    """An item that none of our functions wrote, so no try will ever post it; the message says what is wrong with it."""


class Duplicate(ConditionFailed):
    """The event of the bus was recorded before, under the id `recorded_as`; None if it had no audience."""

    def __init__(self, mark: Item) -> None:
        super().__init__("the event was recorded before")
        self.recorded_as: str | None = plain(mark).get("recorded_as")


@dataclass(frozen=True, slots=True)
class Recorded:
    """The id under which an event of the bus is recorded, and whether it was recorded just now."""

    event_id: str | None  # None if it has no audience
    is_new: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One message for one audience; times since the epoch."""

    audience: str
    event_id: str
    kind: str  # the message's type, for filters
    message: str  # the exact frame
    expires_at_s: int
    endpoint: str | None = None  # of the one connection addressed, if the audience is `connection/{id}`
    connected_at_ms: int | None = None  # likewise, if it is known: a 410 of a young connection is not believed
    close: bool = False  # close that connection after the message
    is_streamed: bool = True  # False if `broadcast` is not shown it, because another function posts it
    not_after_s: int | None = None  # past it the message is not worth sending
    hidden_from: frozenset[str] = frozenset()  # users who must not receive it
    shown_to: frozenset[str] = frozenset()  # the only users who may receive it; none = all
    subject: str | None = None  # the user whose state it reports; a later entry of the same kind makes it stale

    def as_item(self) -> dict[str, Any]:
        """Return the entry as it is stored."""
        return item(
            {
                "audience": self.audience,
                "event_id": self.event_id,
                "reach": self._reach(),
                "kind": self.kind,
                "message": self.message,
                "expires_at": self.expires_at_s,
                "endpoint": self.endpoint,
                "connected_at": self.connected_at_ms,
                "close": self.close or None,
                "not_after": self.not_after_s,
                "hidden_from": self.hidden_from,
                "shown_to": self.shown_to,
                "subject": self.subject,
            }
        )

    def _reach(self) -> str | None:
        """Return the value by which the stream's mappings decide which function posts the entry."""
        if not self.is_streamed:
            return None
        return "wide" if is_wide(self.audience) else "narrow"


_TYPES: dict[str, Any] = {
    "audience": str,
    "event_id": str,
    "kind": str,
    "message": str,
    "expires_at_s": int,
    "connected_at_ms": int | None,
    "not_after_s": int | None,
    "hidden_from": frozenset,
    "shown_to": frozenset,
    "subject": str | None,
}


def read_entry(image: Any) -> Entry:
    """Read an entry from an item or a stream's image.

    Raises Unreadable if none of our functions wrote it.
    """
    try:
        values = plain(image)
        entry = Entry(
            audience=values["audience"],
            event_id=values["event_id"],
            kind=values["kind"],
            message=values["message"],
            expires_at_s=values["expires_at"],
            endpoint=values.get("endpoint"),
            connected_at_ms=values.get("connected_at"),
            close=values.get("close", False),
            is_streamed="reach" in values,
            not_after_s=values.get("not_after"),
            hidden_from=values.get("hidden_from", frozenset()),
            shown_to=values.get("shown_to", frozenset()),
            subject=values.get("subject"),
        )
        _check(entry)
    except Exception as error:  # whatever the error is, this item is at fault
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    return entry


def _check(entry: Entry) -> None:
    for name, kind in _TYPES.items():
        value = getattr(entry, name)
        if not isinstance(value, kind):
            raise TypeError(f"{name} is of type {type(value).__name__}")
    if connection_of(entry.audience) is not None and entry.endpoint not in ENDPOINTS:
        # A post to an unknown stage gets a 403, as if a right were missing.
        raise ValueError(f"endpoint is {entry.endpoint!r}")
    entry.message.encode()


class Outbox:
    """The entries of the Events table."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def put(self, entry: Entry) -> None:
        """Record one entry; the same entry again changes nothing, and the stream does not show it again."""
        with aws_errors("recording an event"):
            self._client.put_item(TableName=self._table, Item=entry.as_item())

    def put_all(self, entries: Iterable[Entry]) -> None:
        """Record entries, not in a transaction: after a failure the caller may record them all again."""
        unique = {(entry.audience, entry.event_id): entry for entry in entries}  # a batch may not name a key twice
        write_all(self._client, self._table, [{"PutRequest": {"Item": entry.as_item()}} for entry in unique.values()])

    def put_once(self, source_id: str, now_ms: int, entries: Sequence[Entry], effects: Sequence[Write]) -> Recorded:
        """Record an event of the bus, with its effects on other items, once and in a transaction.

        `source_id` is the event's own id. Raises the failure of an effect whose condition does not hold; nothing is
        recorded then.
        """
        event_id = entries[0].event_id if entries else None
        room = TRANSACTION_LIMIT - 1 - len(effects)
        # Only revoked sessions can be this many. They are recorded before the mark, so that none of them is missed.
        for entry in entries[room:]:
            self.put(entry)
        puts = [Write("Put", {"TableName": self._table, "Item": entry.as_item()}) for entry in entries[:room]]
        mark = self._mark(source_id, event_id, now_ms // 1000)
        try:
            Transaction(self._client).add(mark, *effects, *puts).commit("recording an event")
        except Duplicate as duplicate:
            return Recorded(duplicate.recorded_as, is_new=False)
        return Recorded(event_id, is_new=True)

    def _mark(self, source_id: str, event_id: str | None, now_s: int) -> Write:
        values = item({"expires_at": now_s + INGESTED_TTL_SECONDS, "recorded_as": event_id})
        return Write(
            "Put",
            {
                "TableName": self._table,
                "Item": {**ingested_key(source_id), **values},
                "ConditionExpression": "attribute_not_exists(audience)",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            },
            failure=Duplicate,
        )

    def get(self, audience: str, event_id: str) -> Entry | None:
        """Return an entry, or None if it does not exist any more."""
        key = entry_key(audience, event_id)
        with aws_errors("reading the outbox"):
            answer = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        return read_entry(answer["Item"]) if "Item" in answer else None

    def since(self, audience: str, event_id: str) -> Iterator[Entry]:
        """Yield an audience's entries after an id, oldest first, as of now."""
        return self._after(audience, event_id)

    def newest(self, audience: str, event_id: str, limit: int) -> list[Entry]:
        """Return up to `limit` of an audience's entries after an id, newest first, as of now."""
        return list(islice(self._after(audience, event_id, ScanIndexForward=False, Limit=limit), limit))

    def _after(self, audience: str, event_id: str, **options: Any) -> Iterator[Entry]:
        found = pages(
            self._client,
            "reading the outbox",
            TableName=self._table,
            KeyConditionExpression="audience = :audience AND event_id > :id",
            ExpressionAttributeValues={":audience": attribute(audience), ":id": attribute(event_id)},
            ConsistentRead=True,
            **options,
        )
        for image in chain.from_iterable(found):
            with suppress(Unreadable):  # `broadcast` gave it up, and logged the reason
                yield read_entry(image)
