"""Calls: each has an item, so that its start and its end may come twice, late, in any order, or never.

The item is in the Events table. While a call is ongoing it is also in the sparse OpenCallsIndex, where `sweep`
finds the calls whose end never came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from zlib import crc32

from realtime.ids import make_event_id
from realtime.tables.dynamodb import Cursor, Value, attribute, plain, sharded_page
from realtime.tables.events import ENDED_CALL_TTL_SECONDS, OPEN_CALL_TTL_SECONDS, call_id_of, call_key
from realtime.tables.outbox import Duplicate
from realtime.tables.transactions import ConditionFailed, Item, Transaction, Write
from realtime.tables.users import Users

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

OPEN_CALLS_INDEX = "OpenCallsIndex"
OPEN_CALLS_SHARDS = 4


class CallEnded(ConditionFailed):
    """The call cannot start, because it has ended."""


class OtherParticipants(ConditionFailed):
    """The call has these participants, who are not those that were expected."""

    def __init__(self, participants: frozenset[str]) -> None:
        super().__init__("the call has other participants")
        self.participants = participants


@dataclass(frozen=True, slots=True)
class Report:
    """An event of the bus that reports a start or an end: its own id, and the id under which it is recorded."""

    source_id: str
    event_id: str

    @property
    def mark(self) -> str:
        """The attribute of the call by which a duplicate is recognised."""
        return f"recorded_{make_event_id(0, self.source_id)[12:]}"


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

    def call_writes(
        self,
        call_id: str,
        participants: frozenset[str],
        now_ms: int,
        *,
        ongoing: bool,
        report: Report | None = None,
        before: frozenset[str] | None = None,
    ) -> list[Write]:
        """Return the writes that start or end a call for all its participants.

        The start of a call that has ended fails with CallEnded. If an event reports it, the call keeps that it was
        recorded, and a second time fails with Duplicate. If the call has other participants already, it fails with
        OtherParticipants; given these as `before`, the writes end the call for them as well.
        """
        expected = participants if before is None else before
        write = (self._start_write if ongoing else self._end_write)(
            call_id, participants, expected, now_ms // 1000, report
        )
        busy = participants if ongoing else frozenset()
        return [
            write,
            *(
                self._users.call_write(each, call_id, now_ms, ongoing=each in busy)
                for each in sorted(participants | expected)
            ),
        ]

    def end(self, call: OpenCall, now_ms: int) -> None:
        """End a call whose end never came, for the participants that it has by now."""
        writes = self.call_writes(call.call_id, call.participants, now_ms, ongoing=False)
        try:
            Transaction(self._client).add(*writes).commit("ending a call")
        except OtherParticipants as others:  # the index lags behind the table
            self.end(replace(call, participants=others.participants), now_ms)

    def open_since(self, started_before_s: int, after: Cursor = None) -> tuple[list[OpenCall], Cursor]:
        """Read a page of the ongoing calls that started before a time; return them and where to go on."""
        rows, cursor = sharded_page(
            self._client,
            "reading open calls",
            "open_shard",
            OPEN_CALLS_SHARDS,
            after,
            values={":before": started_before_s},
            TableName=self._table,
            IndexName=OPEN_CALLS_INDEX,
            KeyConditionExpression="open_shard = :shard AND started_at < :before",
        )
        found = map(plain, rows)
        return [OpenCall(call_id_of(each["audience"]), each["participants"]) for each in found], cursor

    def _start_write(
        self, call_id: str, participants: frozenset[str], expected: frozenset[str], now_s: int, report: Report | None
    ) -> Write:
        return self._update(
            call_id,
            "SET participants = :participants, open_shard = :shard, expires_at = :expires, "
            "started_at = if_not_exists(started_at, :now)",
            expected=expected,
            conditions=["attribute_not_exists(ended_at)"],  # its end may have come first
            values={
                ":participants": participants,
                ":shard": str(crc32(call_id.encode()) % OPEN_CALLS_SHARDS),
                ":expires": now_s + OPEN_CALL_TTL_SECONDS,
                ":now": now_s,
            },
            report=report,
        )

    def _end_write(
        self, call_id: str, participants: frozenset[str], expected: frozenset[str], now_s: int, report: Report | None
    ) -> Write:
        return self._update(
            call_id,
            "SET participants = :participants, expires_at = :expires, ended_at = if_not_exists(ended_at, :now)",
            removing=" REMOVE open_shard",
            expected=expected,
            values={":participants": participants, ":expires": now_s + ENDED_CALL_TTL_SECONDS, ":now": now_s},
            report=report,
        )

    def _update(
        self,
        call_id: str,
        setting: str,
        *,
        expected: frozenset[str],
        conditions: Sequence[str] = (),
        values: dict[str, Value],
        report: Report | None,
        removing: str = "",
    ) -> Write:
        conditions = [*conditions, "(attribute_not_exists(participants) OR participants = :expected)"]
        values = {**values, ":expected": expected}
        update: dict[str, Any] = {
            "TableName": self._table,
            "Key": call_key(call_id),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if report:
            setting += ", #mark = :recorded_as"
            conditions = [*conditions, "attribute_not_exists(#mark)"]
            values = {**values, ":recorded_as": report.event_id}
            update["ExpressionAttributeNames"] = {"#mark": report.mark}
        update["ConditionExpression"] = " AND ".join(conditions)
        update["UpdateExpression"] = setting + removing
        update["ExpressionAttributeValues"] = {name: attribute(value) for name, value in values.items()}

        def fail(found: Item) -> ConditionFailed:
            call = plain(found)
            if report and report.mark in call:
                return Duplicate(call[report.mark])
            if (others := call.get("participants", expected)) != expected:
                return OtherParticipants(others)
            return CallEnded("the call has ended")

        return Write("Update", update, failure=fail)
