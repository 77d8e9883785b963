"""Who is connected: registering and forgetting a connection, in both tables that know of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from realtime.audiences import direct
from realtime.errors import ConnectionLimit, RealtimeError
from realtime.tables.connections import Connection, Connections
from realtime.tables.dynamodb import BATCH_WRITE_LIMIT
from realtime.tables.transactions import ConditionsFailed, transact
from realtime.tables.users import Users

_AUDIENCES_IN_TRANSACTION = 98  # of 100 parts, for the user and the session are two
_ITEMS_IN_TRANSACTION = 99  # likewise, the session's among them

FORGOTTEN_TOGETHER = BATCH_WRITE_LIMIT  # their sessions are deleted in one go, and then, as a rule, one item of each


@dataclass(frozen=True, slots=True)
class Gone:
    """A connection that is no more; without `user_id`, whose it was and what it heard must be looked up."""

    connection_id: str
    user_id: str | None = None
    audiences: Sequence[str] = ()  # all that it heard, its own included
    may_live: bool = False  # it could neither be served nor closed


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
        """Remove every trace of connections; return those of which some may be left, with the reason; `now` in ms.

        Their sessions first: should a later step fail, or be done in part, what is left are items of audiences, by
        which the next post finds the connection again. One that may live goes as a whole or not at all: it must never
        go on with a part of what it heard.
        """
        failed: dict[str, Exception] = {}
        known: dict[str, Gone] = {}
        for each in gone:
            try:
                found = self._look_up(each)
                if found.may_live and found.user_id is not None:
                    found = self._expel(found, found.user_id, now)
                known[each.connection_id] = found
            except RealtimeError as problem:
                failed[each.connection_id] = problem
        failed |= self._delete(known.values(), is_session=True)
        for each in known.values():
            try:
                if each.user_id is not None and each.connection_id not in failed:
                    self._users.leave(each.user_id, each.connection_id, now)
            except RealtimeError as problem:
                failed[each.connection_id] = problem
        left = [each for each in known.values() if each.connection_id not in failed]
        return failed | self._delete(left, is_session=False)

    def _look_up(self, gone: Gone) -> Gone:
        if gone.user_id is not None:
            return gone
        user_id, audiences = self._connections.find(gone.connection_id)
        return replace(gone, user_id=user_id, audiences=audiences)

    def _expel(self, gone: Gone, user_id: str, now: int) -> Gone:
        """Forget a connection as one; return what is left of it, beyond what a transaction holds."""
        own = direct(gone.connection_id)
        audiences = sorted(gone.audiences, key=lambda audience: audience != own)  # the session first
        within, beyond = audiences[:_ITEMS_IN_TRANSACTION], audiences[_ITEMS_IN_TRANSACTION:]
        parts = [self._users.leaving(user_id, gone.connection_id, now)]
        parts += self._connections.deletes(gone.connection_id, within)
        try:
            transact(self._client, parts, "giving up a connection")
        except ConditionsFailed:  # its user does not have it any more: it is being forgotten by somebody else, too
            return gone
        return replace(gone, user_id=None, audiences=beyond)

    def _delete(self, gone: Iterable[Gone], *, is_session: bool) -> dict[str, Exception]:
        """Delete the sessions of connections, or the other items; return those of which some may be left."""
        items = [
            (each.connection_id, audience)
            for each in gone
            for audience in each.audiences
            if (audience == direct(each.connection_id)) is is_session
        ]
        try:
            self._connections.delete(items)
        except RealtimeError as problem:
            return {connection_id: problem for connection_id, _ in items}
        return {}
