"""Snapshots: the current presence of users, in pages; together with the events that follow, a client misses nothing.

An index lags behind its table, and a page may reach the client after a later event. Therefore every user in a snapshot
and every presence message carries the user's `version`, and clients keep the state with the higher version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from realtime import messages
from realtime.audiences import is_wide, watched_user
from realtime.ids import id_as_json, make_event_id
from realtime.messages import MAX_FRAME_BYTES
from realtime.presence import state
from realtime.tables.connections import Connection, Connections
from realtime.tables.outbox import Outbox
from realtime.tables.users import User, Users

# How far an index may lag behind its table. The outbox, which does not lag, shows the users who changed since.
INDEX_LAG_SECONDS = 60
_READ_AT_ONCE = 100  # users; BatchGetItem takes no more


class Snapshots:
    """Make snapshots for connections."""

    def __init__(
        self,
        connections: Connections,
        users: Users,
        outbox: Outbox,
        *,
        feed_role: str,
    ) -> None:
        self._connections = connections
        self._users = users
        self._outbox = outbox
        self._feed_role = feed_role

    def of_audiences(self, connection: Connection, audiences: Sequence[str], now_ms: int) -> list[str]:
        """Return snapshot frames of all users that these audiences of a connection are about."""
        self._connections.wait_until_indexed(audiences, connection.connection_id)
        for audience in filter(is_wide, audiences):
            return self._of_everyone(connection, audience, now_ms)
        return self._of_users(connection, [watched_user(audience) for audience in audiences], now_ms)

    def _of_users(self, connection: Connection, user_ids: Sequence[str], now_ms: int) -> list[str]:
        """Return snapshot frames of watched users.

        They are read after `broadcast` can see the connection, so it posts every later change.
        """
        found = {user.user_id: user for user in self._read(user_ids)}
        states = []
        for user_id in user_ids:
            user = found.get(user_id)
            if user is not None and connection.user_id in user.hidden_from:
                continue
            if user is not None and self._is_on_endpoint(connection, user):
                states.append(_user_state(user))
            else:
                states.append(_unknown_user(user_id))
        return encode_pages(states, now_ms)

    def _of_everyone(self, connection: Connection, audience: str, now_ms: int) -> list[str]:
        """Return snapshot frames of every user online.

        The index lists them; users with a later message in the outbox are read from the table. These include
        users who have just left: they appear offline with a version, so a late, older message cannot bring them back.
        """
        found = {user.user_id: user for user in self._users.online()}
        changed: dict[str, None] = {}
        for entry in self._outbox.since(audience, make_event_id(now_ms - INDEX_LAG_SECONDS * 1000)):
            message = json.loads(entry.message)
            user_id = str(message["data"]["user_id"])
            if user_id not in found or found[user_id].version < message["version"]:
                changed[user_id] = None
        found |= {user.user_id: user for user in self._read(list(changed))}
        visible = (
            user
            for user in found.values()
            if self._is_on_endpoint(connection, user) and connection.user_id not in user.hidden_from
        )
        return encode_pages(map(_user_state, visible), now_ms)

    def _is_on_endpoint(self, connection: Connection, user: User) -> bool:
        """Return whether the endpoint of a connection shows a user: feed shows listeners only."""
        return connection.endpoint != "feed" or user.role == self._feed_role

    def _read(self, user_ids: Sequence[str]) -> Iterator[User]:
        for start in range(0, len(user_ids), _READ_AT_ONCE):
            yield from self._users.get_many(user_ids[start : start + _READ_AT_ONCE])


def encode_pages(users: Iterable[dict[str, Any]], now_ms: int) -> list[str]:
    """Return snapshot frames of at most 32 KB, the last of them `complete`."""
    parts: list[list[dict[str, Any]]] = [[]]
    room = full = MAX_FRAME_BYTES - len(messages.encode("snapshot", {"users": [], "complete": False}, now_ms))
    for user in users:
        size = len(json.dumps(user, separators=(",", ":"), ensure_ascii=False).encode()) + 1  # and a comma
        if size > room and parts[-1]:
            parts.append([])
            room = full
        parts[-1].append(user)
        room -= size
    return [messages.encode("snapshot", {"users": part, "complete": part is parts[-1]}, now_ms) for part in parts]


def _user_state(user: User) -> dict[str, Any]:
    return {"username": user.username, **state(user), "version": user.version}


def _unknown_user(user_id: str) -> dict[str, Any]:
    return {
        "username": None,
        "user_id": id_as_json(user_id),
        "is_online": False,
        "is_busy": False,
        "last_seen": None,
        "version": 0,
    }
