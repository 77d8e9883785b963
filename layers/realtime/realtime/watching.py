"""Watching: a client may name the users it shows, and then receives the presence of these users alone.

Presence then costs in proportion to what clients show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from realtime.audiences import is_wide, personal
from realtime.errors import BadRequest
from realtime.ids import parse_id
from realtime.tables.connections import Connection, Connections

MAX_WATCHED = 100  # users per connection
WATCHABLE = frozenset({"feed", "presence"})


def parse_user_ids(values: object) -> list[str]:
    """Return the ids of the users that a client names, each once.

    Raises BadRequest, whose message says what is wrong with them.
    """
    if not isinstance(values, list) or not 0 < len(values) <= MAX_WATCHED:
        raise BadRequest(f"user_ids: must be a list of 1 to {MAX_WATCHED} user ids")
    try:
        return list(dict.fromkeys(parse_id(value) for value in values))
    except ValueError as error:
        raise BadRequest(f"user_ids: each {error}") from error


def check_watchable(endpoint: str) -> None:
    """Raise BadRequest unless this endpoint carries presence."""
    if endpoint not in WATCHABLE:
        raise BadRequest(f"{endpoint} tells no presence; connect to {' or '.join(sorted(WATCHABLE))}")


class Watching:
    """Read and change the audiences that a connection subscribes to."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def subscriptions(self, connection: Connection) -> list[str]:
        """Return the audiences that a connection subscribes to on its endpoint."""
        _, audiences = self._connections.subscriptions(connection.connection_id)
        return [audience for audience in audiences if audience.startswith(connection.endpoint + "/")]

    def watch(self, connection: Connection, user_ids: Sequence[str]) -> list[str]:
        """Subscribe a connection to these users instead of to everyone; return the users' audiences.

        The new subscriptions are added before the old one is removed: in between the client may receive a message
        twice, but it misses none. Raises BadRequest if the connection would watch too many users.
        """
        current = self.subscriptions(connection)
        wanted = [personal(connection.endpoint, user_id) for user_id in user_ids]
        watched = [audience for audience in current if not is_wide(audience)]
        if len({*watched, *wanted}) > MAX_WATCHED:
            raise BadRequest(f"user_ids: a connection watches {MAX_WATCHED} users at most, and this one {len(watched)}")
        self._connections.subscribe(connection, [audience for audience in wanted if audience not in current])
        self._connections.delete((connection.connection_id, audience) for audience in current if is_wide(audience))
        return wanted

    def unwatch(self, connection: Connection, user_ids: Sequence[str]) -> None:
        """Unsubscribe a connection from these users."""
        self._connections.delete(
            (connection.connection_id, personal(connection.endpoint, user_id)) for user_id in user_ids
        )


def read_watch_parameter(parameters: Mapping[str, Any], endpoint: str) -> list[str]:
    """Return the users that the query parameter `watch` names; none if it is absent."""
    text = parameters.get("watch")
    if not text:
        return []
    check_watchable(endpoint)
    return parse_user_ids([each.strip(" ") for each in text.split(",") if each.strip(" ")])
