"""Who is connected: registering and forgetting a connection, in both tables that know of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from realtime.connections import Connection, Connections
from realtime.errors import ConnectionLimit
from realtime.transactions import ConditionsFailed, transact
from realtime.users import Users

_AUDIENCES_IN_TRANSACTION = 98  # of 100 parts, for the user and the session are two


class Registry:
    """The Connections and Users tables, kept in step."""

    def __init__(self, client: Any, connections: Connections, users: Users) -> None:
        self._client = client
        self._connections = connections
        self._users = users

    def register(
        self,
        connection: Connection,
        audiences: Sequence[str],
        *,
        username: str | None,
        role: str | None,
        now: int,
        lease_until: int,
        limit: int,
    ) -> None:
        """Store a connection and set its user online, both or neither; `now` in ms, `lease_until` in s.

        Raises ConnectionLimit if the user has `limit` connections already.
        """
        within, beyond = audiences[:_AUDIENCES_IN_TRANSACTION], audiences[_AUDIENCES_IN_TRANSACTION:]
        if beyond:  # before, so that a registered connection hears them all; left alone, they are soon found gone
            self._connections.hear(connection, beyond)
        joining = self._users.joining(
            connection.user_id,
            connection.connection_id,
            username=username,
            role=role,
            now=now,
            limit=limit,
        )
        try:
            transact(
                self._client,
                [joining, *self._connections.puts(connection, within, lease_until)],
                "registering a connection",
            )
        except ConditionsFailed as failed:
            raise ConnectionLimit(reason=f"user {connection.user_id} has {limit} connections") from failed

    def forget(self, connection_id: str, now: int) -> str | None:
        """Remove every trace of a connection; return whose it was, or None if it was forgotten already.

        The user first: should the second step fail, the items left are found and deleted by the next to look.
        """
        user_id, audiences = self._connections.find(connection_id)
        if user_id is None:
            return None
        self._users.leave(user_id, connection_id, now)
        self._connections.delete(connection_id, audiences)
        return user_id
