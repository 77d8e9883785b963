"""Watching: a client that names the users it shows hears of them alone, so that presence costs what is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from realtime.audiences import is_wide, personal
from realtime.errors import BadRequest
from realtime.ids import parse_id
from realtime.tables.connections import Connection, Connections

MAX_WATCHED = 100  # users a connection
WATCHABLE = frozenset({"feed", "presence"})


def parse_user_ids(values: object) -> list[str]:
    """Return the ids of the users that a client names.

    Raises BadRequest that says what is wrong with them.
    """
    if not isinstance(values, list) or not 0 < len(values) <= MAX_WATCHED:
        raise BadRequest(f"user_ids: must be a list of 1 to {MAX_WATCHED} user ids")
    try:
        return list(dict.fromkeys(parse_id(value) for value in values))
    except ValueError as error:
        raise BadRequest(f"user_ids: each {error}") from error


def check_watchable(endpoint: str) -> None:
    """Refuse to watch users where no presence is told."""
    if endpoint not in WATCHABLE:
        raise BadRequest(f"{endpoint} tells no presence; connect to {' or '.join(sorted(WATCHABLE))}")


class Watching:
    """Changes what a connection hears of."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def heard(self, connection: Connection) -> list[str]:
        """Return the audiences that a connection hears on its endpoint."""
        _, audiences = self._connections.find(connection.connection_id)
        return [audience for audience in audiences if audience.startswith(connection.endpoint + "/")]

    def watch(self, connection: Connection, user_ids: Sequence[str]) -> list[str]:
        """Let a connection hear of these users, and no more of everyone; return the audiences that they are.

        First the new, then the old is taken away: in between it hears some things twice, and misses none.
        Raises BadRequest if they would be too many.
        """
        heard = self.heard(connection)
        wanted = [personal(connection.endpoint, user_id) for user_id in user_ids]
        watched = [audience for audience in heard if not is_wide(audience)]
        if len({*watched, *wanted}) > MAX_WATCHED:
            raise BadRequest(f"user_ids: a connection watches {MAX_WATCHED} users at most, and this one {len(watched)}")
        self._connections.hear(connection, [audience for audience in wanted if audience not in heard])
        self._connections.delete((connection.connection_id, audience) for audience in heard if is_wide(audience))
        return wanted

    def unwatch(self, connection: Connection, user_ids: Sequence[str]) -> None:
        """Let a connection hear of these users no more."""
        self._connections.delete(
            (connection.connection_id, personal(connection.endpoint, user_id)) for user_id in user_ids
        )


def read_watch_parameter(parameters: Mapping[str, Any], endpoint: str) -> list[str]:
    """Return the users named by `?watch=`; none where it is not given."""
    text = parameters.get("watch")
    if not text:
        return []
    check_watchable(endpoint)
    return parse_user_ids([each.strip(" ") for each in text.split(",") if each.strip(" ")])
