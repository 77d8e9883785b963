"""Who is connected: registering and forgetting a connection, in both tables that know of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from realtime.connections import Connection, Connections
from realtime.dynamodb import BATCH_WRITE_LIMIT
from realtime.errors import ConnectionLimit, RealtimeError
from realtime.transactions import ConditionsFailed, transact
from realtime.users import Users

_AUDIENCES_IN_TRANSACTION = 98  # of 100 parts, for the user and the session are two

FORGOTTEN_TOGETHER = BATCH_WRITE_LIMIT // 2  # most connections are two items


@dataclass(frozen=True, slots=True)
class Gone:
    """A connection that is no more; without `user_id`, whose it was and what it heard must be looked up."""

    connection_id: str
    user_id: str | None = None
    audiences: Sequence[str] = ()  # all that it heard, its own included


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
        """Remove every trace of a connection; return whose it was, or None if it was forgotten already; `now` in ms.

        The user first: should the second step fail, the items left are found and deleted by the next to look.
        """
        user_id, audiences = self._connections.find(connection_id)
        if user_id is None:
            return None
        self._users.leave(user_id, connection_id, now)
        self._connections.delete((connection_id, audience) for audience in audiences)
        return user_id

    def forget_all(self, gone: Sequence[Gone], now: int) -> dict[str, Exception]:
        """Remove every trace of connections; return those of which some may be left, with the reason; `now` in ms."""
        failed: dict[str, Exception] = {}
        heard: set[tuple[str, str]] = set()
        for each in gone:
            try:
                heard.update(self._leave(each, now))
            except RealtimeError as problem:
                failed[each.connection_id] = problem
        try:
            self._connections.delete(heard)
        except RealtimeError as problem:
            failed |= {connection_id: problem for connection_id, _ in heard}
        return failed

    def _leave(self, gone: Gone, now: int) -> Iterator[tuple[str, str]]:
        """Take a connection from its user; yield the items that are left of it."""
        user_id, audiences = gone.user_id, gone.audiences
        if user_id is None:
            user_id, audiences = self._connections.find(gone.connection_id)
        if user_id is not None:
            self._users.leave(user_id, gone.connection_id, now)
        for audience in audiences:
            yield gone.connection_id, audience
