"""A connection, and its session: the item that has its lease and the time when its token expires."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from realtime.tables.dynamodb import plain
from realtime.tables.rates import FULL_AT

# API Gateway ends a connection after 2 h, and its $disconnect may be late. TTL is only a back-stop: queries filter by
# time.
CONNECTION_TTL_SECONDS = 3 * 3600


@dataclass(frozen=True, slots=True)
class Connection:
    """One WebSocket connection; times since the epoch."""

    connection_id: str
    stage: str  # of the API: where it is posted to
    user_id: str
    connected_at_ms: int
    token_expires_at_s: int
    types: frozenset[str] = frozenset()  # the message types that it wants; none = all
    batch: bool = False  # a frame may be a JSON array of messages
    chosen: frozenset[str] = frozenset()  # the endpoints that it hears, if its stage is `live`
    may_set_status: bool = False  # its user's own, as its token says
    has_left_everyone: bool = False  # a frame `watch` has ended its subscription to everyone's presence

    @property
    def endpoints(self) -> frozenset[str]:
        """What it hears."""
        return self.chosen or frozenset({self.stage})

    @property
    def expires_at_s(self) -> int:
        """When DynamoDB may delete its items, if they are still there."""
        return self.connected_at_ms // 1000 + CONNECTION_TTL_SECONDS


@dataclass(frozen=True, slots=True)
class Session:
    """A connection, until when it counts as alive, and when its token bucket is full again; times since the epoch."""

    connection: Connection
    lease_until_s: int
    full_at_ms: int = 0
    heard_at_s: int = 0  # its last sign of life that is known, if it gave one after it connected
    pinged_at_s: int = 0  # its last ping that renewed the lease
    has_heartbeat: bool = False  # it has sent two pings within a lease
    wide: str | None = None  # the wide audience that it hears all of

    @property
    def alive_at_s(self) -> int:
        """Its last sign of life."""
        return max(self.heard_at_s, self.connection.connected_at_ms // 1000)


def read_session(row: Mapping[str, Any]) -> Session:
    """Read a session's item."""
    values = plain(row)
    connection = Connection(
        connection_id=values["connection_id"],
        stage=values["endpoint"],
        user_id=values["user_id"],
        connected_at_ms=values["connected_at"],
        token_expires_at_s=values["token_expires_at"],
        types=values.get("types", frozenset()),
        batch=values.get("batch", False),
        chosen=values.get("endpoints", frozenset()),
        may_set_status=values.get("may_set_status", False),
        has_left_everyone=values.get("left_everyone", False),
    )
    return Session(
        connection,
        values["lease_until"],
        values.get(FULL_AT, 0),
        values.get("heard_at", 0),
        values.get("pinged_at", 0),
        values.get("heartbeat", False),
        values.get("wide"),
    )
