"""Snapshots: the current presence of users, in pages; together with the events that follow, a client misses nothing.

An index lags behind its table, and a page may reach the client after a later event. Therefore every user in a snapshot
and every presence message carries the user's `version`, and clients keep the state with the higher version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from realtime import messages
from realtime.audiences import heard_through, is_presence, is_wide, log_of, watched_user
from realtime.everyone import Everyone, Shown
from realtime.ids import id_as_json
from realtime.messages import MAX_FRAME_BYTES
from realtime.positions import floor
from realtime.tables.blocks import Blocks
from realtime.tables.connections import Connection, Connections
from realtime.text import dumps

if TYPE_CHECKING:
    from realtime.contract.to_clients import User


class Snapshots:
    """Make snapshots for connections."""

    def __init__(self, connections: Connections, everyone: Everyone, blocks: Blocks, *, feed_role: str) -> None:
        self._connections = connections
        self._blocks = blocks
        self._everyone = everyone
        self._feed_role = feed_role

    def of_audiences(self, connection: Connection, subscribed: Sequence[str], now_ms: int) -> list[str]:
        """Return snapshot frames of all users whose presence a connection hears through its subscriptions.

        They must be read after `broadcast` can see the connection, so that it posts every later change.
        """
        self._connections.wait_until_indexed(subscribed, connection.connection_id)
        audiences = [each for each in heard_through(subscribed, connection.endpoints) if is_presence(each)]
        for audience in filter(is_wide, audiences):
            rows = self._everyone.read(log_of(audience) or audience)
            hiding = self._hiding(connection.user_id, rows)
            visible = (
                row.state
                for row in rows.values()
                if row.user_id not in hiding and self._has_to_be_shown(connection, row)
            )
            return encode_pages(visible, now_ms, floor(connection.connected_at_ms, now_ms))
        return self.of_users(connection, list(dict.fromkeys(map(watched_user, audiences))), now_ms)

    def of_users(self, connection: Connection, user_ids: Sequence[str], now_ms: int) -> list[str]:
        """Return snapshot frames of watched users.

        They must be read after `broadcast` can see the connection, so that it posts every later change.
        """
        found = {user.user_id: Shown.of(user) for user in self._everyone.of(user_ids)}
        hiding = self._hiding(connection.user_id, found)
        states = []
        for user_id in user_ids:
            row = found.get(user_id)
            if user_id in hiding:
                continue
            is_shown = row is not None and self._has_to_be_shown(connection, row)
            states.append(row.state if row is not None and is_shown else _unknown_user(user_id))
        return encode_pages(states, now_ms, floor(connection.connected_at_ms, now_ms))

    def _hiding(self, user_id: str, rows: Mapping[str, Shown]) -> frozenset[str]:
        """Return which users have blocked a user; the Blocks table is asked only about those with many blocks."""
        asked = [row.user_id for row in rows.values() if row.has_listed_blocks]
        known = frozenset(row.user_id for row in rows.values() if user_id in row.hidden_from)
        return known | self._blocks.blockers(user_id, asked)

    def _has_to_be_shown(self, connection: Connection, row: Shown) -> bool:
        """Return whether a connection hears about a user: feed shows listeners only."""
        return "presence" in connection.endpoints or row.role == self._feed_role


def encode_pages(states: Iterable[str], now_ms: int, position: Mapping[str, str]) -> list[str]:
    """Return snapshot frames of at most 32 KB, the last of them `complete`, each with a position; a state is JSON."""
    parts: list[list[str]] = [[]]
    last, other = (
        messages.encode("snapshot", {"users": [], "complete": each}, now_ms, position=position)
        for each in (True, False)
    )
    room = full = MAX_FRAME_BYTES - len(other)
    for each in states:
        size = len(each.encode()) + 1  # and a comma
        if size > room and parts[-1]:
            parts.append([])
            room = full
        parts[-1].append(each)
        room -= size
    return [_filled(last if part is parts[-1] else other, part) for part in parts]


def _filled(empty: str, states: Sequence[str]) -> str:
    before, after = empty.split("[]", 1)
    return f"{before}[{','.join(states)}]{after}"


def _unknown_user(user_id: str) -> str:
    unknown: User = {
        "username": None,
        "user_id": id_as_json(user_id),
        "is_online": False,
        "is_busy": False,
        "last_seen": None,
        "version": 0,
    }
    return dumps(unknown)
