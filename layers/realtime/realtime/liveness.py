"""Whether a connection whose lease has run out is alive: which silence is explained, what API Gateway's answer means.

    it hears all of a wide audience that was served within a lease, and it has no heartbeat: it is alive
    likewise, with a heartbeat that stopped when the audience became busy: it is alive
    otherwise API Gateway is asked, which knows a connection for up to ten minutes after its client has vanished:
        410                                                                              it is gone
        200, no heartbeat                         it stays; it is asked about again after as long as it has lived,
                                                  at most ten minutes: then API Gateway itself ends idle connections
        200, a heartbeat, active within a lease   it stays; its lease is renewed from then
        200, a heartbeat, and silence             it is most probably gone: it is closed, and comes back if it lives

A client has a heartbeat if it has sent two pings within a lease. The posts to a wide audience may themselves be what
API Gateway calls activity, so this counts only if the connection does not hear such an audience.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from realtime.tables.served import Service
from realtime.tables.sessions import Session

IDLE_SECONDS = 600  # after which API Gateway ends a connection without a message either way


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges connections at one moment, in s since the epoch; `served` is what is known of each wide audience."""

    now_s: int
    lease_seconds: int
    served: Mapping[str, Service]

    def heard(self, session: Session) -> Service | None:
        """Return when the connection's wide audience was served, if that was within a lease and it was there."""
        service = self.served.get(session.wide or "")
        if service is None or service.served_at_s <= self.now_s - self.lease_seconds:
            return None
        return service if session.connection.connected_at_ms // 1000 < service.served_at_s else None

    def is_explained(self, session: Session) -> bool:
        """Return whether a connection is silent because it hears enough."""
        service = self.heard(session)
        if service is None:
            return False
        return not session.has_heartbeat or session.alive_at_s < service.busy_since_s + self.lease_seconds

    def last_sign_s(self, session: Session) -> int:
        """Return the last sign of life of a connection."""
        service = self.heard(session)
        return service.served_at_s if service and self.is_explained(session) else session.alive_at_s

    def spared_until_s(self, session: Session, active_at_s: int | None) -> int | None:
        """Return the end of a new lease of a connection that API Gateway knows; None if it is most probably gone."""
        if not session.has_heartbeat:
            age_s = self.now_s - session.connection.connected_at_ms // 1000
            return self.now_s + max(self.lease_seconds, min(age_s, IDLE_SECONDS))
        if active_at_s is None or self.heard(session) or active_at_s + self.lease_seconds <= self.now_s:
            return None
        return active_at_s + self.lease_seconds


def read_last_active(body: str) -> int | None:
    """Return the time, in s since the epoch, in GetConnection's answer; None if it cannot be read."""
    try:
        moment = datetime.fromisoformat(json.loads(body)["lastActiveAt"])
    except (ValueError, TypeError, KeyError):
        return None
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp())
