"""The stored facts about one user: connections, leases, calls, version, blocks and last events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from realtime.audiences import personal
from realtime.tables.blocks import Blocks
from realtime.tables.connections import Connections, Session
from realtime.tables.dynamodb import item, plain

LAST_EVENTS = 10
SHOWN_BLOCKS = 20


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
    listed: frozenset[str] = frozenset()  # whom they have blocked, beside those in the item
    blockers: tuple[frozenset[str], bool] = (frozenset(), True)  # who has blocked them, and whether these are all

    def lines(self, now: int) -> Iterator[str]:
        """Yield the lines that an operator reads; `now` in s since the epoch."""
        blockers, are_all = self.blockers
        if self.item is None:
            yield f"Nothing is known of user {self.user_id}."
            if blockers:
                yield f"  blocked by   {_names(blockers, are_all=are_all)}"
            return
        user = self.item
        yield f"User {self.user_id}: {user.get('username') or 'no name'}, role {user.get('role') or 'none'}"
        yield f"  presence     {'online' if user.get('is_online') else 'offline'}, {_busy(user)}"
        yield f"  version      {user.get('version', 0)}"
        yield f"  last seen    {_moment(user.get('last_seen', 0) // 1000, now)}"
        if blocked := self.listed | user.get("hidden_from", frozenset()):
            yield f"  has blocked  {_names(blocked)}"
        if blockers:
            yield f"  blocked by   {_names(blockers, are_all=are_all)}"
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
                f"    {connection_id} on {connection.stage}: "
                f"since {_moment(connection.connected_at_ms // 1000, now)}, "
                f"lease until {_moment(session.lease_until_s, now)}, "
                f"token until {_moment(connection.token_expires_at_s, now)}"
            )
        yield f"  last events  {len(self.events) or 'none'}"
        for event in self.events:
            yield f"    {_moment(event.at // 1000, now)}  {event.kind} for {event.audience} ({event.event_id})"


def inspect(client: Any, user_id: str, *, connections: str, users: str, blocks: str, events: str) -> Inspection:
    """Read what the tables, given by name, have of a user."""
    stored = client.get_item(TableName=users, Key=item({"user_id": user_id}), ConsistentRead=True).get("Item")
    user = plain(stored) if stored else None
    sessions = Connections(client, connections).sessions((user or {}).get("connection_ids", ()))
    last: list[Event] = []
    for endpoint in ("calls", "notifications"):  # changes of presence are recorded for everyone
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
    found = Blocks(client, blocks)
    listed = found.listed(user_id) if user and user.get("listed_blocks") else frozenset()
    return Inspection(user_id, user, sessions, last[:LAST_EVENTS], listed, found.all_blockers(user_id))


def _names(user_ids: frozenset[str], *, are_all: bool = True) -> str:
    shown = sorted(user_ids, key=lambda user_id: (len(user_id), user_id))[:SHOWN_BLOCKS]
    left = len(user_ids) - len(shown)
    number = "" if are_all else " or more"
    return ", ".join(shown) + (f" and {left}{number} others" if left else "")


def _busy(user: dict[str, Any]) -> str:
    reasons = [f"call {call_id}" for call_id in sorted(user.get("busy_calls", ()))]
    if user.get("is_busy_manual"):
        reasons.append("by their own setting")
    if user.get("is_away"):
        reasons.append("away")
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
