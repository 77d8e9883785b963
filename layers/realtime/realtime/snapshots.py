"""Snapshots: how things stand, in pages, such that with the events that follow nothing is missed.

An index lags behind its table, and a page may reach the client after a younger event. So that its view is right all
the same, every user in a snapshot and every presence message carries the user's `version`: the higher one holds.
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

# How far an index may lag behind its table; who changed since is found by the outbox, which does not.
INDEX_LAG_SECONDS = 60
_READ_AT_ONCE = 100  # users, as many as BatchGetItem takes


class Snapshots:
    """Tells connections how things stand."""

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

    def of_audiences(self, connection: Connection, audiences: Sequence[str], now: int) -> list[str]:
        """Return snapshot frames of all that these audiences of a connection are about; `now` in ms."""
        self._connections.await_heard(audiences, connection.connection_id)
        for audience in filter(is_wide, audiences):
            return self._of_everyone(connection, audience, now)
        return self._of_users(connection, [watched_user(audience) for audience in audiences], now)

    def _of_users(self, connection: Connection, user_ids: Sequence[str], now: int) -> list[str]:
        """Read the users themselves: what changes from here on is posted, for the connection is visible."""
        known = {user.user_id: user for user in self._read(user_ids)}
        shown = []
        for user_id in user_ids:
            user = known.get(user_id)
            if user is not None and connection.user_id in user.hidden_from:
                continue
            if user is not None and self._is_told_of(connection, user):
                shown.append(_shown(user))
            else:
                shown.append(_unknown(user_id))
        return pages(shown, now)

    def _of_everyone(self, connection: Connection, audience: str, now: int) -> list[str]:
        """Read the index of who is online, and from the table those of whom the outbox knows something younger.

        Among these is who has just gone: told as offline with a version, a late older message cannot bring them back.
        """
        found = {user.user_id: user for user in self._users.online()}
        changed: dict[str, None] = {}
        for entry in self._outbox.since(audience, make_event_id(now - INDEX_LAG_SECONDS * 1000)):
            message = json.loads(entry.message)
            user_id = str(message["data"]["user_id"])
            if user_id not in found or found[user_id].version < message["version"]:
                changed[user_id] = None
        found |= {user.user_id: user for user in self._read(list(changed))}
        told = (user for user in found.values() if self._is_told_of(connection, user))
        return pages((_shown(user) for user in told if connection.user_id not in user.hidden_from), now)

    def _is_told_of(self, connection: Connection, user: User) -> bool:
        """Return whether a user's changes are told on the endpoint of a connection: on feed, only listeners' are."""
        return connection.endpoint != "feed" or user.role == self._feed_role

    def _read(self, user_ids: Sequence[str]) -> Iterator[User]:
        for start in range(0, len(user_ids), _READ_AT_ONCE):
            yield from self._users.get_many(user_ids[start : start + _READ_AT_ONCE])


def pages(users: Iterable[dict[str, Any]], now: int) -> list[str]:
    """Return snapshot frames of at most 32 KB, the last of them `complete`."""
    parts: list[list[dict[str, Any]]] = [[]]
    room = full = MAX_FRAME_BYTES - len(messages.encode("snapshot", {"users": [], "complete": False}, now))
    for user in users:
        size = len(json.dumps(user, separators=(",", ":"), ensure_ascii=False).encode()) + 1  # and a comma
        if size > room and parts[-1]:
            parts.append([])
            room = full
        parts[-1].append(user)
        room -= size
    return [messages.encode("snapshot", {"users": part, "complete": part is parts[-1]}, now) for part in parts]


def _shown(user: User) -> dict[str, Any]:
    return {"username": user.username, **state(user), "version": user.version}


def _unknown(user_id: str) -> dict[str, Any]:
    return {
        "username": None,
        "user_id": id_as_json(user_id),
        "is_online": False,
        "is_busy": False,
        "last_seen": None,
        "version": 0,
    }
