"""Ending a user's connections: which they are, and the last frame that each of them gets."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from realtime.audiences import direct
from realtime.tables import Tables
from realtime.tables.connections import Session
from realtime.tables.entries import Entry

_COMMIT_SECONDS = 0.1  # in which a transaction that has begun to show its writes shows them all


def revoke(tables: Tables, user_id: str, before_s: int) -> list[Session]:
    """Refuse the tokens of a user that were issued before a time; return the sessions of this moment.

    The connections are read only after the tokens are revoked. So a handshake is either registered before, and closed
    with the others, or refused.
    """
    tables.users.revoke(user_id, before_s)
    return sessions_of(tables, user_id)


def sessions_of(tables: Tables, user_id: str) -> list[Session]:
    """Return the sessions of a user's connections, as of now."""
    user = tables.users.get(user_id)
    connection_ids = user.connection_ids if user else frozenset()
    sessions = tables.connections.sessions(connection_ids)
    if len(sessions) < len(connection_ids):  # a transaction may show its write of the user before the session's
        time.sleep(_COMMIT_SECONDS)
        sessions = tables.connections.sessions(connection_ids)
    return sessions


def last_frames(sessions: Iterable[Session], frame: str, event_id: str, expires_at_s: int) -> Sequence[Entry]:
    """Return the entries that bring a last frame to connections, and close them."""
    return [
        Entry(
            audience=direct(connection.connection_id),
            event_id=event_id,
            kind="error",
            message=frame,
            expires_at_s=expires_at_s,
            stage=connection.stage,
            connected_at_ms=connection.connected_at_ms,
            close=True,
        )
        for connection in (session.connection for session in sessions)
    ]
