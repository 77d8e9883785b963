"""Audiences, the only routing concept: a connection subscribes to audiences; an event is recorded for audiences.

`calls/{user}`, `notifications/{user}`   one user's connections on that endpoint
`feed/{user}`, `presence/{user}`         the connections that watch one user
`{endpoint}/*/{shard}`                   every connection on that endpoint, split over shards
`connection/{id}`                        one connection
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

CONNECTION = "connection"


def personal(endpoint: str, user_id: str) -> str:
    """Return the audience about one user: their own connections, or the connections that watch them."""
    return f"{endpoint}/{user_id}"


def everyone(endpoint: str, shards: int) -> list[str]:
    """Return the audiences that together are all connections on an endpoint."""
    return [f"{endpoint}/*/{shard}" for shard in range(shards)]


def direct(connection_id: str) -> str:
    """Return the audience of a single connection; it is also the key of that connection's session."""
    return f"{CONNECTION}/{connection_id}"


def initial_audiences(
    endpoint: str, user_id: str, connection_id: str, shards: int, watched: Sequence[str] = ()
) -> list[str]:
    """Return the audiences that a new connection subscribes to; if it watches users, only theirs."""
    if watched:
        return [personal(endpoint, each) for each in watched]
    wide = f"{endpoint}/*/{crc32(connection_id.encode()) % shards}"
    return {
        "feed": [wide],
        "presence": [wide],
        "calls": [personal("calls", user_id)],
        "notifications": [personal("notifications", user_id), wide],
    }[endpoint]


def audiences_beside(wide: str, user_id: str, connection_id: str) -> list[str]:
    """Return all audiences of a connection that subscribes to a wide one; one that watches users does not."""
    endpoint = endpoint_of(wide)
    own = [personal(endpoint, user_id)] if endpoint == "notifications" else []
    return [direct(connection_id), wide, *own]


def connection_of(audience: str) -> str | None:
    """Return the connection's id if the audience is a single connection."""
    kind, _, rest = audience.partition("/")
    return rest if kind == CONNECTION else None


def is_wide(audience: str) -> bool:
    """Return whether an audience is a shard of everyone on an endpoint."""
    return "/*/" in audience


def watched_user(audience: str) -> str:
    """Return the user that an audience is about; it must not be wide."""
    return audience.partition("/")[2]


def endpoint_of(audience: str) -> str:
    """Return the endpoint, which is the stage, of an audience's connections."""
    return audience.partition("/")[0]
