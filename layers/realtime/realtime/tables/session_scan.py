"""The sweep's scan of the Connections table for sessions to check, and what one sweep tells the next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from realtime.aws.clients import aws_errors
from realtime.tables.dynamodb import Cursor, attribute, item, plain
from realtime.tables.events import CURSORS_TTL_SECONDS, cursors_key
from realtime.tables.sessions import Session, read_session

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class SweepWindow:
    """Which sessions a sweep must check; times since the epoch.

    A session whose lease has run out is shown if it has a heartbeat. Without one it is shown only if `silent`, and not
    if it hears one of the audiences `heard` and connected from `heard_from_ms` to `heard_to_ms`.
    """

    lease_before_s: int
    token_before_s: int
    connected_from_ms: int
    connected_to_ms: int
    silent: bool = True
    heard: Sequence[str] = ()
    heard_from_ms: int = 0
    heard_to_ms: int = 0

    def has_lapsed(self, session: Session) -> bool:
        """Return whether a session's lease has run out."""
        return session.lease_until_s < self.lease_before_s

    def has_expired(self, session: Session) -> bool:
        """Return whether a session's token has expired."""
        return session.connection.token_expires_at_s < self.token_before_s

    def is_old(self, session: Session) -> bool:
        """Return whether a session is of the age at which its client is told to reconnect."""
        return self.connected_from_ms <= session.connection.connected_at_ms <= self.connected_to_ms


@dataclass(frozen=True, slots=True)
class Pass:
    """How far the pass over one segment has come; it tells the clients that became old since `since_ms`."""

    since_ms: int
    begun_ms: int
    cursor: Cursor = None  # None: it is done


@dataclass(frozen=True, slots=True)
class Progress:
    """What one sweep tells the next: how far each of its reads has come."""

    passes: Sequence[Pass] = ()  # by segment
    asking: int = 0  # in how many segments the silent are asked about at a time; 0: in all
    first: int = 0  # the first of these segments
    users: Cursor = None
    calls: Cursor = None


class SessionScan:
    """A scan of the Connections table; how far it has come is kept in the Events table."""

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
        has_lapsed = "lease_until < :lease"
        values: dict[str, Any] = {
            ":lease": attribute(window.lease_before_s),
            ":token": attribute(window.token_before_s),
            ":from": attribute(window.connected_from_ms),
            ":to": attribute(window.connected_to_ms),
        }
        if not window.silent:
            has_lapsed += " AND attribute_exists(heartbeat)"
        elif window.heard:
            names = {f":heard{number}": attribute(audience) for number, audience in enumerate(window.heard)}
            hears = f"wide IN ({', '.join(names)}) AND connected_at BETWEEN :heard_from AND :heard_to"
            has_lapsed += f" AND NOT (attribute_not_exists(heartbeat) AND {hears})"
            heard_between = {":heard_from": window.heard_from_ms, ":heard_to": window.heard_to_ms}
            values |= {**names, **item(heard_between)}
        start: dict[str, Any] = {"ExclusiveStartKey": item(after)} if after else {}
        with aws_errors("looking for sessions to check"):
            answer = self._client.scan(
                TableName=self._connections_table,
                Segment=segment,
                TotalSegments=segments,
                # Only sessions have a lease and a token's end.
                FilterExpression=f"({has_lapsed}) OR token_expires_at < :token OR ({is_old})",
                ExpressionAttributeValues=values,
                **start,
            )
        last = answer.get("LastEvaluatedKey")
        return [read_session(row) for row in answer["Items"]], plain(last) if last else None

    def progress(self, segments: int) -> Progress:
        """Return how far the last sweep came; its passes only if it had as many segments."""
        with aws_errors("reading how far the last sweep came"):
            answer = self._client.get_item(TableName=self._events_table, Key=cursors_key(), ConsistentRead=True)
        kept: dict[str, Any] = json.loads(plain(answer.get("Item", {})).get("progress", "null"))
        if not kept:
            return Progress()
        passes = [Pass(**each) for each in kept["passes"]]
        return Progress(**{**kept, "passes": passes if len(passes) == segments else ()})

    def keep(self, progress: Progress, now_ms: int) -> None:
        """Keep how far a sweep has come."""
        values = item({"progress": json.dumps(asdict(progress)), "expires_at": now_ms // 1000 + CURSORS_TTL_SECONDS})
        with aws_errors("keeping how far the sweep came"):
            self._client.put_item(TableName=self._events_table, Item={**cursors_key(), **values})
