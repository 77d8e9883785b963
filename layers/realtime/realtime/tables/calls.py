"""Calls: each has an item, so that its start and its end may come twice, late, in any order, or never.

The item is in the Events table. While a call is ongoing it is also in the sparse OpenCallsIndex, where `sweep`
finds the calls whose end never came.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any
from zlib import crc32

from realtime.tables.dynamodb import Value, attribute, pages, plain
from realtime.tables.events import ENDED_CALL_TTL_SECONDS, OPEN_CALL_TTL_SECONDS, call_id_of, call_key
from realtime.tables.transactions import ConditionFailed, Item, Transaction, Write
from realtime.tables.users import Users

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

OPEN_CALLS_INDEX = "OpenCallsIndex"
OPEN_CALLS_SHARDS = 4


class CallEnded(ConditionFailed):
    """The call cannot start, because it has ended."""


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call that has started and not ended."""

    call_id: str
    participants: frozenset[str]


class Calls:
    """The calls of the Events table."""

    def __init__(self, client: DynamoDBClient, table: str, users: Users) -> None:
        self._client = client
        self._table = table
        self._users = users

    def call_writes(self, call_id: str, participants: frozenset[str], now_ms: int, *, ongoing: bool) -> list[Write]:
        """Return the writes that start or end a call for all its participants.

        The start of a call that has ended fails with CallEnded.
        """
        write = (self._start_write if ongoing else self._end_write)(call_id, participants, now_ms // 1000)
        return [
            write,
            *(self._users.call_write(each, call_id, now_ms, ongoing=ongoing) for each in sorted(participants)),
        ]

    def end(self, call: OpenCall, now_ms: int) -> None:
        """End a call whose end never came."""
        writes = self.call_writes(call.call_id, call.participants, now_ms, ongoing=False)
        Transaction(self._client).add(*writes).commit("ending a call")

    def open_since(self, started_before_s: int) -> Iterator[OpenCall]:
        """Yield the ongoing calls that started before a time."""
        for shard in range(OPEN_CALLS_SHARDS):
            found = pages(
                self._client,
                "reading open calls",
                TableName=self._table,
                IndexName=OPEN_CALLS_INDEX,
                KeyConditionExpression="open_shard = :shard AND started_at < :before",
                ExpressionAttributeValues={
                    ":shard": attribute(str(shard)),
                    ":before": attribute(started_before_s),
                },
            )
            for row in chain.from_iterable(found):
                values = plain(row)
                yield OpenCall(call_id_of(values["audience"]), values["participants"])

    def _start_write(self, call_id: str, participants: frozenset[str], now_s: int) -> Write:
        return self._update(
            call_id,
            "SET participants = :participants, open_shard = :shard, expires_at = :expires, "
            "started_at = if_not_exists(started_at, :now)",
            condition="attribute_not_exists(ended_at)",  # its end may have come first
            values={
                ":participants": participants,
                ":shard": str(crc32(call_id.encode()) % OPEN_CALLS_SHARDS),
                ":expires": now_s + OPEN_CALL_TTL_SECONDS,
                ":now": now_s,
            },
        )

    def _end_write(self, call_id: str, participants: frozenset[str], now_s: int) -> Write:
        return self._update(
            call_id,
            "SET participants = :participants, expires_at = :expires, "
            "ended_at = if_not_exists(ended_at, :now) REMOVE open_shard",
            values={":participants": participants, ":expires": now_s + ENDED_CALL_TTL_SECONDS, ":now": now_s},
        )

    def _update(
        self, call_id: str, expression: str, *, values: dict[str, Value], condition: str | None = None
    ) -> Write:
        update: dict[str, Any] = {
            "TableName": self._table,
            "Key": call_key(call_id),
            "UpdateExpression": expression,
            "ExpressionAttributeValues": {name: attribute(value) for name, value in values.items()},
        }
        if condition:
            update["ConditionExpression"] = condition
        return Write("Update", update, failure=_ended)


def _ended(_found: Item) -> CallEnded:
    return CallEnded("the call has ended")
