"""The Events table: outbox, history and shard key at once. Whatever a client hears is first an item here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from realtime.audiences import connection_of, is_wide
from realtime.aws.clients import aws_errors
from realtime.errors import RealtimeError
from realtime.messages import ENDPOINTS
from realtime.tables.dynamodb import Value, attribute, item, plain, write_all
from realtime.tables.transactions import ConditionsFailed, transact

TRANSACTION_LIMIT = 100  # parts in one transaction
_INGESTED = "ingested"  # audiences of this kind hold no message: they mark events of the bus that were recorded
_AWAITED = "awaited"  # likewise: they mark acknowledgements that have not come yet
# EventBridge delivers an event again for up to 24 h; so long must its mark be kept.
_INGESTED_TTL_SECONDS = 26 * 3600
_CURSORS_KEY = {"audience": "sweep", "event_id": "-"}
_CURSORS_TTL_SECONDS = 3600
_MARK_PART = 0  # where the mark stands in a transaction


class Unreadable(RealtimeError):
    """An item that no function of ours writes, and no try will ever post; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message for one audience; times in s since the epoch."""

    audience: str
    event_id: str
    kind: str  # the message's type, for filters
    message: str  # the exact frame
    expires_at: int
    endpoint: str | None = None  # of the one connection addressed, when the audience is `connection/{id}`
    connected_at: int | None = None  # likewise, in ms, where it is known: a 410 of a young one is not believed
    close: bool = False  # end that connection once it has heard the message
    is_streamed: bool = True  # else `broadcast` is not shown it: somebody else posts it
    not_after: int | None = None  # past it the message is not worth hearing
    hidden_from: frozenset[str] = frozenset()  # users who must not hear it
    shown_to: frozenset[str] = frozenset()  # the only users who may hear it; none = all
    subject: str | None = None  # the user whose state it tells: a later entry of the kind makes it stale

    def as_item(self) -> dict[str, Any]:
        """Return the entry as it is stored."""
        return item(
            {
                "audience": self.audience,
                "event_id": self.event_id,
                "reach": self._reach(),
                "kind": self.kind,
                "message": self.message,
                "expires_at": self.expires_at,
                "endpoint": self.endpoint,
                "connected_at": self.connected_at,
                "close": self.close or None,
                "not_after": self.not_after,
                "hidden_from": self.hidden_from,
                "shown_to": self.shown_to,
                "subject": self.subject,
            }
        )

    def _reach(self) -> str | None:
        """Return what the stream's mappings filter by: which function posts it."""
        if not self.is_streamed:
            return None
        return "wide" if is_wide(self.audience) else "narrow"


def from_image(image: Any) -> Entry:
    """Read an entry from an item or a stream's image.

    Raises Unreadable where it is not what our own functions write.
    """
    try:
        values = plain(image)
        entry = Entry(
            audience=values["audience"],
            event_id=values["event_id"],
            kind=values["kind"],
            message=values["message"],
            expires_at=values["expires_at"],
            endpoint=values.get("endpoint"),
            connected_at=values.get("connected_at"),
            close=values.get("close", False),
            is_streamed="reach" in values,
            not_after=values.get("not_after"),
            hidden_from=values.get("hidden_from", frozenset()),
            shown_to=values.get("shown_to", frozenset()),
            subject=values.get("subject"),
        )
        _check(entry)
    except Exception as error:  # whatever it is, it is this item's own
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    return entry


def _check(entry: Entry) -> None:
    for name in ("audience", "event_id", "kind", "message"):
        if not isinstance(getattr(entry, name), str):
            raise TypeError(f"{name} is no string")
    if not isinstance(entry.subject, str | None):
        raise TypeError("subject is no string")
    if not isinstance(entry.expires_at, int):
        raise TypeError("expires_at is no number")
    for name in ("not_after", "connected_at"):
        if not isinstance(getattr(entry, name), int | None):
            raise TypeError(f"{name} is no number")
    for name in ("hidden_from", "shown_to"):
        if not isinstance(getattr(entry, name), frozenset):
            raise TypeError(f"{name} is no set")
    if connection_of(entry.audience) is not None and entry.endpoint not in ENDPOINTS:
        raise ValueError(f"endpoint is {entry.endpoint!r}")  # to post to no stage is a 403, as if a right were missing
    entry.message.encode()


class Outbox:
    """The Events table, for those who write to it."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def put(self, entry: Entry) -> None:
        """Record one entry; the same entry again changes nothing, and the stream does not show it again."""
        with aws_errors("recording an event"):
            self._client.put_item(TableName=self._table, Item=entry.as_item())

    def put_all(self, entries: Iterable[Entry]) -> None:
        """Record entries, not as one: a caller that fails midway tries them all again, to the same effect."""
        unique = {(entry.audience, entry.event_id): entry for entry in entries}  # a batch may not name a key twice
        write_all(self._client, self._table, [{"PutRequest": {"Item": entry.as_item()}} for entry in unique.values()])

    def since(self, audience: str, event_id: str) -> Iterator[Entry]:
        """Yield an audience's entries after an id, oldest first, as the table itself holds them."""
        return self._after(audience, event_id)

    def newest(self, audience: str, event_id: str, limit: int) -> list[Entry]:
        """Return an audience's entries after an id, newest first, at most so many, as the table itself holds them."""
        return list(islice(self._after(audience, event_id, ScanIndexForward=False, Limit=limit), limit))

    def _after(self, audience: str, event_id: str, **options: Any) -> Iterator[Entry]:
        start: dict[str, Any] = {}
        while True:
            with aws_errors("reading the outbox"):
                answer = self._client.query(
                    TableName=self._table,
                    KeyConditionExpression="audience = :audience AND event_id > :id",
                    ExpressionAttributeValues={":audience": attribute(audience), ":id": attribute(event_id)},
                    ConsistentRead=True,
                    **options,
                    **start,
                )
            for image in answer["Items"]:
                with suppress(Unreadable):  # `broadcast` has given it up, and said so
                    yield from_image(image)
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def recorded_as(self, source_id: str) -> str:
        """Return the id under which an event of the bus, which was for some audience, was recorded."""
        with aws_errors("reading the outbox"):
            answer = self._client.get_item(TableName=self._table, Key=item(_ingested(source_id)), ConsistentRead=True)
        return str(plain(answer["Item"])["recorded_as"])

    def get(self, audience: str, event_id: str) -> Entry | None:
        """Return an entry, or None where there is none any more."""
        key = item({"audience": audience, "event_id": event_id})
        with aws_errors("reading the outbox"):
            answer = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        return from_image(answer["Item"]) if "Item" in answer else None

    def awaiting(self, user_id: str, event_id: str, expires_at: int) -> dict[str, Any]:
        """Return the part of a transaction that notes that a user is to acknowledge an event."""
        noted = item({**_awaited(user_id, event_id), "expires_at": expires_at})
        return {"Put": {"TableName": self._table, "Item": noted}}

    def is_awaited(self, user_id: str, event_id: str) -> bool:
        """Return whether a user has yet to acknowledge an event."""
        with aws_errors("reading the outbox"):
            answer = self._client.get_item(
                TableName=self._table, Key=item(_awaited(user_id, event_id)), ConsistentRead=True
            )
        return "Item" in answer

    def settle(self, user_id: str, event_id: str) -> None:
        """Await a user's acknowledgement no more; where none is awaited, nothing changes."""
        with aws_errors("noting an acknowledgement"):
            self._client.delete_item(TableName=self._table, Key=item(_awaited(user_id, event_id)))

    def cursors(self, segments: int) -> list[dict[str, str] | None]:
        """Return where the last sweep stopped in each segment of the Connections table; None where it finished."""
        with aws_errors("reading the cursors"):
            answer = self._client.get_item(TableName=self._table, Key=item(_CURSORS_KEY), ConsistentRead=True)
        kept = json.loads(plain(answer["Item"])["cursors"]) if "Item" in answer else []
        return kept if len(kept) == segments else [None] * segments

    def keep_cursors(self, cursors: Sequence[dict[str, str] | None], now: int) -> None:
        """Keep where a sweep stopped; `now` in ms."""
        kept = item({**_CURSORS_KEY, "cursors": json.dumps(cursors), "expires_at": now // 1000 + _CURSORS_TTL_SECONDS})
        with aws_errors("keeping the cursors"):
            self._client.put_item(TableName=self._table, Item=kept)

    def put_once(self, source_id: str, now: int, entries: Sequence[Entry], effects: Sequence[dict[str, Any]]) -> bool:
        """Record what an event of the bus says, with its effects on other tables, once and as one.

        `source_id` is the event's own id, `now` in s. Returns False if it had been recorded before.
        Raises ConditionsFailed where a condition of an effect does not hold; nothing is recorded then.
        """
        mark = {
            "Put": {
                "TableName": self._table,
                "Item": item(
                    {
                        **_ingested(source_id),
                        "expires_at": now + _INGESTED_TTL_SECONDS,
                        "recorded_as": entries[0].event_id if entries else None,
                    }
                ),
                "ConditionExpression": "attribute_not_exists(audience)",
            }
        }
        room = TRANSACTION_LIMIT - 1 - len(effects)
        for entry in entries[room:]:  # only sessions that are revoked can be so many; before, so that none is missed
            self.put(entry)
        puts = [{"Put": {"TableName": self._table, "Item": entry.as_item()}} for entry in entries[:room]]
        try:
            transact(self._client, [mark, *effects, *puts], "recording an event")
        except ConditionsFailed as failed:
            if _MARK_PART not in failed.parts:
                raise
            return False
        return True


def _ingested(source_id: str) -> dict[str, Value | None]:
    return {"audience": f"{_INGESTED}/{source_id}", "event_id": "-"}


def _awaited(user_id: str, event_id: str) -> dict[str, Value | None]:
    return {"audience": f"{_AWAITED}/{user_id}", "event_id": event_id}
