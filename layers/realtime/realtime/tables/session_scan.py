"""The sweep's scan of the Connections table for sessions to check, and where it had to stop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from realtime.aws.clients import aws_errors
from realtime.tables.connections import Session, read_session
from realtime.tables.dynamodb import attribute, item, plain
from realtime.tables.events import CURSORS_TTL_SECONDS, cursors_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Cursor = dict[str, str] | None  # the key after which a scan goes on; None at either end


@dataclass(frozen=True, slots=True)
class SweepWindow:
    """Which sessions a sweep must check; times since the epoch."""

    lease_before_s: int
    token_before_s: int
    connected_from_ms: int
    connected_to_ms: int

    def has_lapsed(self, session: Session) -> bool:
        """Return whether a session's lease has run out."""
        return session.lease_until_s < self.lease_before_s

    def has_expired(self, session: Session) -> bool:
        """Return whether a session's token has expired."""
        return session.connection.token_expires_at_s < self.token_before_s

    def is_old(self, session: Session) -> bool:
        """Return whether a session is of the age at which its client is told to reconnect."""
        return self.connected_from_ms <= session.connection.connected_at_ms <= self.connected_to_ms


class SessionScan:
    """A scan of the Connections table; its cursors are kept in the Events table."""

    def __init__(self, client: DynamoDBClient, connections_table: str, events_table: str) -> None:
        self._client = client
        self._connections_table = connections_table
        self._events_table = events_table

    def sessions_to_check(
        self, segment: int, segments: int, window: SweepWindow, after: Cursor
    ) -> tuple[list[Session], Cursor]:
        """Read a page of one segment of the table: the sessions within the window, and where to go on.

        A scan, not an index by lease: renewing leases in an index would cost eighteen times as much
        (docs/decisions/0006).
        """
        is_old = "attribute_exists(lease_until) AND connected_at BETWEEN :from AND :to"
        start: dict[str, Any] = {"ExclusiveStartKey": item(after)} if after else {}
        with aws_errors("looking for sessions to check"):
            answer = self._client.scan(
                TableName=self._connections_table,
                Segment=segment,
                TotalSegments=segments,
                # Only sessions have a lease and a token's end.
                FilterExpression=f"lease_until < :lease OR token_expires_at < :token OR ({is_old})",
                ExpressionAttributeValues={
                    ":lease": attribute(window.lease_before_s),
                    ":token": attribute(window.token_before_s),
                    ":from": attribute(window.connected_from_ms),
                    ":to": attribute(window.connected_to_ms),
                },
                **start,
            )
        last = answer.get("LastEvaluatedKey")
        return [read_session(row) for row in answer["Items"]], plain(last) if last else None

    def cursors(self, segments: int) -> list[Cursor]:
        """Return where the last sweep stopped in each segment; None if it reached the end."""
        with aws_errors("reading the cursors"):
            answer = self._client.get_item(TableName=self._events_table, Key=cursors_key(), ConsistentRead=True)
        kept: list[Cursor] = json.loads(plain(answer["Item"])["cursors"]) if "Item" in answer else []
        return kept if len(kept) == segments else [None] * segments

    def keep_cursors(self, cursors: Sequence[Cursor], now_ms: int) -> None:
        """Keep where a sweep stopped."""
        values = item({"cursors": json.dumps(cursors), "expires_at": now_ms // 1000 + CURSORS_TTL_SECONDS})
        with aws_errors("keeping the cursors"):
            self._client.put_item(TableName=self._events_table, Item={**cursors_key(), **values})
