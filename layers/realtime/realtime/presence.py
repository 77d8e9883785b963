"""Presence: what clients and backends must learn when a user's state changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from realtime import messages
from realtime.audiences import everyone, personal
from realtime.aws.bus import BusEvent
from realtime.ids import id_as_json, make_event_id
from realtime.tables.outbox import Entry
from realtime.tables.users import User


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings of a deployment for presence."""

    shards: int
    feed_role: str  # feed announces only users with this role
    history_seconds: int


@dataclass(frozen=True, slots=True)
class Consequences:
    """What follows from one change: entries for clients, events for backends, and whether the user may have left."""

    entries: list[Entry] = field(default_factory=list)
    bus_events: list[BusEvent] = field(default_factory=list)
    may_have_left: bool = False


def consequences(old: User | None, new: User, rules: Rules) -> Consequences:
    """Compare a user's state before and after a change; the same change always has the same consequences and ids."""
    was_online = old is not None and old.is_online
    was_busy = old is not None and old.is_busy
    is_listed = _is_listed(new, rules)
    entries: list[Entry] = []
    bus_events: list[BusEvent] = []
    if new.is_online != was_online:
        entries += _on_presence("presence_update", new, rules)
        bus_events.append(_bus_event(new))
    if is_listed != _is_listed(old, rules):
        entries += _on_feed("listener_online" if is_listed else "listener_offline", new, rules)
    if new.is_busy != was_busy:
        entries += _on_presence("status_change", new, rules)
        if new.role == rules.feed_role:
            entries += _on_feed("listener_busy" if new.is_busy else "listener_available", new, rules)
    unblocked = old.hidden_from - new.hidden_from if old is not None else frozenset()
    if unblocked:  # tell them the state that they could not see while they were blocked
        entries += _on_presence("presence_update", new, rules, unblocked)
        if new.role == rules.feed_role:
            entries += _on_feed("listener_online" if is_listed else "listener_offline", new, rules, unblocked)
    had_connections = old is not None and bool(old.connection_ids)
    may_have_left = had_connections and not new.connection_ids and new.is_online
    return Consequences(entries, bus_events, may_have_left)


def state(user: User) -> dict[str, Any]:
    """Return a user's presence as clients see it."""
    return {
        "user_id": id_as_json(user.user_id),
        "is_online": user.is_online,
        "is_busy": user.is_busy,
        "last_seen": messages.rfc3339(user.last_seen_ms) if user.last_seen_ms else None,
    }


def _is_listed(user: User | None, rules: Rules) -> bool:
    """Return whether feed shows a user as online; a new token may change the role of a user who is online already."""
    return user is not None and user.is_online and user.role == rules.feed_role


def _on_presence(kind: str, user: User, rules: Rules, shown_to: frozenset[str] = frozenset()) -> list[Entry]:
    return _entries("presence", kind, state(user), user, rules, shown_to)


def _on_feed(kind: str, user: User, rules: Rules, shown_to: frozenset[str] = frozenset()) -> list[Entry]:
    presence = state(user)
    listener = {"user_id": presence["user_id"], "username": user.username, **presence}
    return _entries("feed", kind, {**listener, "is_online": _is_listed(user, rules)}, user, rules, shown_to)


def _entries(
    endpoint: str, kind: str, data: dict[str, Any], user: User, rules: Rules, shown_to: frozenset[str]
) -> list[Entry]:
    identity = _event_id(user, kind)
    message = messages.encode(kind, data, user.changed_at_ms, identity, user.version)
    return [
        Entry(
            audience=audience,
            event_id=identity,
            kind=kind,
            message=message,
            expires_at_s=user.changed_at_ms // 1000 + rules.history_seconds,
            hidden_from=user.hidden_from,
            shown_to=shown_to,
            # A message to only some subscribers must not replace one that all of them get.
            subject=user.user_id if endpoint == "presence" and not shown_to else None,
        )
        for audience in (*everyone(endpoint, rules.shards), personal(endpoint, user.user_id))
    ]


def _bus_event(user: User) -> BusEvent:
    kind = "user_online" if user.is_online else "user_offline"
    return BusEvent(
        detail_type=kind,
        detail={
            "id": _event_id(user, kind),
            "user_id": id_as_json(user.user_id),
            "username": user.username,
            "version": user.version,
            "last_seen": messages.rfc3339(user.last_seen_ms),
            "connections": len(user.connection_ids),
        },
        at_ms=user.changed_at_ms,
    )


def _event_id(user: User, kind: str) -> str:
    return make_event_id(user.changed_at_ms, kind, user.user_id, str(user.version))
