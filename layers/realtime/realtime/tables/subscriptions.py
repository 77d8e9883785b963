"""The items of the Connections table: their keys, what stands in them, and what they say.

A subscription has the connection's id as its partition key and the audience as its sort key, and a copy in the index
of audiences. One to a watched user has the two keys the other way round, and no copy: it costs a unit, not two, to
write and to delete, and all who watch a user are one partition, which can be read as of now (docs/decisions/0047).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from realtime.audiences import is_watching, listing_of, watching
from realtime.tables.dynamodb import Value, item, plain
from realtime.tables.sessions import Connection
from realtime.tables.watched import WATCHED
from realtime.watch_state import WatchState


@dataclass(frozen=True, slots=True)
class Subscriber:
    """What `broadcast` must know of a connection to post to it; times since the epoch."""

    connection_id: str
    user_id: str
    connected_at_ms: int
    types: frozenset[str] = frozenset()
    batch: bool = False


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """What is stored of a connection; without `user_id` it is not registered."""

    user_id: str | None = None
    audiences: Sequence[str] = ()  # that it subscribes to; and the one of its session
    # For which it may have an item, `watched` last: without it, nothing leads to those of watched users.
    stored: Sequence[str] = ()


def item_key(connection_id: str, audience: str) -> dict[str, Any]:
    """Return the key of a connection's item for an audience."""
    if is_watching(audience):
        connection_id, audience = listing_of(audience), connection_id
    return item({"connection_id": connection_id, "audience": audience})


def make_item(connection: Connection, audience: str, more: Mapping[str, Value | None]) -> dict[str, Any]:
    """Return a connection's item for one of its audiences."""
    values: dict[str, Value | None] = {
        "user_id": connection.user_id,
        "endpoint": connection.stage,
        "connected_at": connection.connected_at_ms,
        "types": connection.types,
        "batch": connection.batch or None,
        "expires_at": connection.expires_at_s,
    }
    return item_key(connection.connection_id, audience) | item({**values, **more})


def subscription(connection: Connection, audience: str) -> dict[str, Any]:
    """Return the item of a subscription."""
    listing = None if is_watching(audience) else listing_of(audience)
    return make_item(connection, audience, {"indexed_audience": listing})


def read_subscriber(row: Mapping[str, Any], id_name: str) -> Subscriber:
    """Read a row whose attribute `id_name` is the connection's id.

    By hand, because `plain` takes four times as long, and there may be 100,000 rows.
    """
    types, batch = row.get("types"), row.get("batch")
    return Subscriber(
        connection_id=row[id_name]["S"],
        user_id=row["user_id"]["S"],
        connected_at_ms=int(row["connected_at"]["N"]),
        types=frozenset(types["SS"]) if types else frozenset(),
        batch=batch["BOOL"] if batch else False,
    )


def read_subscriptions(rows: Iterable[Mapping[str, Any]]) -> Subscriptions:
    """Read all the items in a connection's own partition."""
    values: dict[str, Any] = {}
    audiences: list[str] = []
    for row in rows:
        values |= plain(row)
        audiences.append(values["audience"])
    if WATCHED not in audiences:
        return Subscriptions(values.get("user_id"), audiences, audiences)
    audiences.remove(WATCHED)
    state, stage = WatchState.from_text(values["state"]), values["endpoint"]
    heard, stored = ([watching(stage, each) for each in sorted(users)] for users in (state.watched, state.subscribed))
    return Subscriptions(values["user_id"], [*audiences, *heard], [*audiences, *stored, WATCHED])
