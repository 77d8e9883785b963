"""Calls: each has a record of its own, so that starts and ends may come twice, late, in any order, or not at all.

The record stands in the Events table under `call/{call id}`. While a call is ongoing it is also in the sparse
OpenCallsIndex, where `sweep` finds those whose end never came.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from realtime.aws.clients import aws_errors
from realtime.tables.dynamodb import Value, attribute, item, plain
from realtime.tables.users import Users

OPEN_CALLS_INDEX = "OpenCallsIndex"
OPEN_CALLS_SHARDS = 4
# EventBridge delivers for up to 24 h: so long may a call's start come after its end.
_ENDED_TTL_SECONDS = 26 * 3600
_OPEN_TTL_SECONDS = 14 * 86_400  # a back-stop: `sweep` ends it long before


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call that has begun and not ended."""

    call_id: str
    participants: frozenset[str]


class Calls:
    """The records of calls in the Events table."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def changing(
        self, users: Users, call_id: str, participants: frozenset[str], now: int, *, ongoing: bool
    ) -> list[dict[str, Any]]:
        """Return the parts of a transaction that begin or end a call for all who take part in it; `now` in ms.

        Beginning is conditional: it fails for a call that has ended already.
        """
        record = (self._starting if ongoing else self._ending)(call_id, participants, now // 1000)
        return [record, *(users.calling(each, call_id, now, ongoing=ongoing) for each in sorted(participants))]

    def open_since(self, started_before: int) -> Iterator[OpenCall]:
        """Yield the ongoing calls that began before a time (s)."""
        for shard in range(OPEN_CALLS_SHARDS):
            start: dict[str, Any] = {}
            while True:
                with aws_errors("reading open calls"):
                    answer = self._client.query(
                        TableName=self._table,
                        IndexName=OPEN_CALLS_INDEX,
                        KeyConditionExpression="open_shard = :shard AND started_at < :before",
                        ExpressionAttributeValues={
                            ":shard": attribute(str(shard)),
                            ":before": attribute(started_before),
                        },
                        **start,
                    )
                for row in answer["Items"]:
                    values = plain(row)
                    yield OpenCall(values["audience"].partition("/")[2], values["participants"])
                if "LastEvaluatedKey" not in answer:
                    break
                start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _starting(self, call_id: str, participants: frozenset[str], now: int) -> dict[str, Any]:
        return self._update(
            call_id,
            "SET participants = :participants, open_shard = :shard, expires_at = :expires, "
            "started_at = if_not_exists(started_at, :now)",
            condition="attribute_not_exists(ended_at)",  # its end may have come first
            values={
                ":participants": participants,
                ":shard": str(crc32(call_id.encode()) % OPEN_CALLS_SHARDS),
                ":expires": now + _OPEN_TTL_SECONDS,
                ":now": now,
            },
        )

    def _ending(self, call_id: str, participants: frozenset[str], now: int) -> dict[str, Any]:
        return self._update(
            call_id,
            "SET participants = :participants, expires_at = :expires, "
            "ended_at = if_not_exists(ended_at, :now) REMOVE open_shard",
            values={":participants": participants, ":expires": now + _ENDED_TTL_SECONDS, ":now": now},
        )

    def _update(
        self, call_id: str, expression: str, *, values: dict[str, Value], condition: str | None = None
    ) -> dict[str, Any]:
        update: dict[str, Any] = {
            "TableName": self._table,
            "Key": item({"audience": f"call/{call_id}", "event_id": "-"}),
            "UpdateExpression": expression,
            "ExpressionAttributeValues": {name: attribute(value) for name, value in values.items()},
        }
        if condition:
            update["ConditionExpression"] = condition
        return {"Update": update}
