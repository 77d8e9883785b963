"""The stored facts about one user: connections, leases, calls, version and last events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from realtime.audiences import personal
from realtime.messages import ENDPOINTS
from realtime.tables.connections import Connections, Session
from realtime.tables.dynamodb import item, plain

LAST_EVENTS = 10


@dataclass(frozen=True)
class Event:
    """An event that was sent to the user, or that is about them; `at` is in ms since the epoch."""

    event_id: str
    audience: str
    kind: str

    @property
    def at(self) -> int:
        """Return the moment at which it was recorded."""
        return int(self.event_id[:12], 16)


@dataclass(frozen=True)
class Inspection:
    """One user as the tables have them: `item` is the user's item in the Users table, None if there is none."""

    user_id: str
    item: dict[str, Any] | None
    sessions: list[Session]
    events: list[Event]

    def lines(self, now: int) -> Iterator[str]:
        """Yield the lines that an operator reads; `now` in s since the epoch."""
        if self.item is None:
            yield f"Nothing is known of user {self.user_id}."
            return
        user = self.item
        yield f"User {self.user_id}: {user.get('username') or 'no name'}, role {user.get('role') or 'none'}"
        yield f"  presence     {'online' if user.get('is_online') else 'offline'}, {_busy(user)}"
        yield f"  version      {user.get('version', 0)}"
        yield f"  last seen    {_moment(user.get('last_seen', 0) // 1000, now)}"
        if user.get("hidden_from"):
            yield f"  hidden from  {', '.join(sorted(user['hidden_from']))}"
        registered = {session.connection.connection_id: session for session in self.sessions}
        connection_ids = sorted(user.get("connection_ids", ()))
        yield f"  connections  {len(connection_ids)}"
        for connection_id in connection_ids:
            session = registered.get(connection_id)
            if session is None:
                yield f"    {connection_id}: counted, but not registered"
                continue
            connection = session.connection
            yield (
                f"    {connection_id} on {connection.endpoint}: "
                f"since {_moment(connection.connected_at_ms // 1000, now)}, "
                f"lease until {_moment(session.lease_until_s, now)}, "
                f"token until {_moment(connection.token_expires_at_s, now)}"
            )
        yield f"  last events  {len(self.events) or 'none'}"
        for event in self.events:
            yield f"    {_moment(event.at // 1000, now)}  {event.kind} for {event.audience} ({event.event_id})"


def inspect(client: Any, user_id: str, *, connections: str, users: str, events: str) -> Inspection:
    """Read what the three tables, given by name, have of a user."""
    found = client.get_item(TableName=users, Key=item({"user_id": user_id}), ConsistentRead=True).get("Item")
    user = plain(found) if found else None
    sessions = Connections(client, connections).sessions((user or {}).get("connection_ids", ()))
    last: list[Event] = []
    for endpoint in ENDPOINTS:
        answer = client.query(
            TableName=events,
            KeyConditionExpression="audience = :audience",
            ExpressionAttributeValues=item({":audience": personal(endpoint, user_id)}),
            ScanIndexForward=False,
            Limit=LAST_EVENTS,
        )
        rows = [plain(row) for row in answer["Items"]]
        last += [Event(row["event_id"], row["audience"], row["kind"]) for row in rows]
    last.sort(key=lambda event: event.event_id, reverse=True)
    return Inspection(user_id, user, sessions, last[:LAST_EVENTS])


def _busy(user: dict[str, Any]) -> str:
    reasons = [f"call {call_id}" for call_id in sorted(user.get("busy_calls", ()))]
    if user.get("is_busy_manual"):
        reasons.append("by their own setting")
    return f"busy ({', '.join(reasons)})" if reasons else "available"


def _moment(seconds: int, now: int) -> str:
    """Return a time and how far it is from now, as in `10:30:00Z (5 min ago)`."""
    if not seconds:
        return "never"
    away = abs(seconds - now)
    amount = f"{away} s" if away < 120 else f"{away // 60} min" if away < 7200 else f"{away // 3600} h"
    when = datetime.fromtimestamp(seconds, UTC)
    shown = f"{when:%H:%M:%SZ}" if away < 43_200 else f"{when:%Y-%m-%dT%H:%M:%SZ}"
    return f"{shown} ({f'in {amount}' if seconds > now else f'{amount} ago'})"
