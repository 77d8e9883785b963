"""At a user's limit a newcomer takes the place of another connection: which one."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from realtime.tables.connections import Session


def deadest(
    connection_ids: Collection[str], sessions: Mapping[str, Session], stage: str, now_s: int, lease_seconds: int
) -> str:
    """Return the connection, one of a user's at least, that is most likely to be dead, or else is missed least.

    First comes an id without a session; then a lease that has run out; then the earliest sign of life; then, among
    equals, a connection of the newcomer's own stage, and the oldest. A lease is renewed when half of it is over, so
    signs of life within the same half of a lease are equal.
    """

    def life(connection_id: str) -> tuple[bool, bool, int, bool, int, str]:
        session = sessions.get(connection_id)
        if session is None:
            return False, False, 0, False, 0, connection_id
        silent_s = now_s - session.alive_at_s
        return (
            True,
            session.lease_until_s >= now_s,
            -int(silent_s // (lease_seconds / 2)),
            session.connection.stage != stage,
            session.connection.connected_at_ms,
            connection_id,
        )

    return min(connection_ids, key=life)
