"""Presence: what clients and backends must learn when a user's state changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from realtime import messages
from realtime.audiences import everyone
from realtime.aws.bus import BusEvent
from realtime.ids import id_as_json, make_event_id
from realtime.tables.entries import Change, Message
from realtime.tables.users import User

if TYPE_CHECKING:
    from realtime.contract.to_backends import Transition
    from realtime.contract.to_clients import ListenerState, UserState


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings of a deployment for presence."""

    shards: int
    feed_role: str  # feed announces only users with this role
    history_seconds: int


@dataclass(frozen=True, slots=True)
class Consequences:
    """What follows from one change: news for clients, events for backends, and whether the user may have left."""

    changes: list[Change] = field(default_factory=list)
    bus_events: list[BusEvent] = field(default_factory=list)
    may_have_left: bool = False

    def __bool__(self) -> bool:
        """Return whether anything follows."""
        return bool(self.changes or self.bus_events or self.may_have_left)


def consequences(old: User | None, new: User, rules: Rules) -> Consequences:
    """Compare a user's state before and after a change; the same change always has the same consequences and ids."""
    was_online = old is not None and old.is_online
    was_busy = old is not None and old.is_busy
    was_away = old is not None and old.is_away
    is_listed = _is_listed(new, rules)
    is_listener = new.role == rules.feed_role
    online: dict[str, str] = {}  # the kind of message for each endpoint
    busy: dict[str, str] = {}
    shown_again: dict[str, str] = {}
    bus_events: list[BusEvent] = []
    if new.is_online != was_online:
        online["presence"] = "presence_update"
        bus_events.append(_bus_event(new))
    if is_listed != _is_listed(old, rules):
        online["feed"] = _online_kind(is_listed=is_listed)
    if new.is_busy != was_busy or new.is_away != was_away:
        busy["presence"] = "status_change"
        if is_listener:
            busy["feed"] = _busy_kind(new)
    unblocked = _unblocked(old, new)
    if unblocked:  # tell them the state that they could not see while they were blocked
        shown_again["presence"] = "presence_update"
        if is_listener:
            shown_again["feed"] = _online_kind(is_listed=is_listed)
    changes = [
        *_changes(online, new, rules),
        *_changes(busy, new, rules),
        *_changes(shown_again, new, rules, unblocked),
    ]
    had_connections = old is not None and bool(old.connection_ids)
    may_have_left = had_connections and not new.connection_ids and new.is_online
    return Consequences(changes, bus_events, may_have_left)


def state(user: User) -> UserState:
    """Return a user's presence as clients see it."""
    shown: UserState = {
        "user_id": id_as_json(user.user_id),
        "is_online": user.is_online,
        "is_busy": user.is_busy,
        "last_seen": messages.rfc3339(user.last_seen_ms) if user.last_seen_ms else None,
    }
    if user.is_away:
        shown["is_away"] = True
    return shown


def _unblocked(old: User | None, new: User) -> frozenset[str]:
    if old is None:
        return frozenset()
    return new.shown_to if old.listed_blocks != new.listed_blocks else old.hidden_from - new.hidden_from


def _is_listed(user: User | None, rules: Rules) -> bool:
    """Return whether feed shows a user as online; a new token may change the role of a user who is online already."""
    return user is not None and user.is_online and user.role == rules.feed_role


def current_messages(user: User, endpoint: str, feed_role: str) -> list[Message]:
    """Return the messages of an endpoint that report a user's whole state, as if it had just changed.

    Those that were sent about the user's last change have the same ids.
    """
    if endpoint == "presence":
        return [_message("presence", kind, user, feed_role) for kind in ("presence_update", "status_change")]
    if user.role != feed_role:
        return [_message("feed", _online_kind(is_listed=False), user, feed_role)]
    return [
        _message("feed", kind, user, feed_role) for kind in (_online_kind(is_listed=user.is_online), _busy_kind(user))
    ]


def _online_kind(*, is_listed: bool) -> str:
    return "listener_online" if is_listed else "listener_offline"


def _busy_kind(user: User) -> str:
    return "listener_busy" if user.is_busy else "listener_available"


def _message(endpoint: str, kind: str, user: User, feed_role: str) -> Message:
    data: UserState | ListenerState = state(user)
    if endpoint == "feed":
        is_listed = user.is_online and user.role == feed_role
        data = {"user_id": data["user_id"], "username": user.username, **state(user), "is_online": is_listed}
    event_id = _event_id(user, kind)
    return Message(event_id, kind, messages.encode(kind, data, user.changed_at_ms, event_id, user.version))


def _changes(
    kinds: Mapping[str, str], user: User, rules: Rules, shown_to: frozenset[str] = frozenset()
) -> list[Change]:
    if not kinds:
        return []
    of_endpoints = {endpoint: _message(endpoint, kind, user, rules.feed_role) for endpoint, kind in kinds.items()}
    return [
        Change(
            audience=audience,
            subject=user.user_id,
            version=user.version,
            messages=of_endpoints,
            expires_at_s=user.changed_at_ms // 1000 + rules.history_seconds,
            is_for_watchers=shard == 0,
            hidden_from=user.hidden_from,
            listed_blocks=user.listed_blocks,
            shown_to=shown_to,
            trace_id=user.trace_id,
        )
        for shard, audience in enumerate(everyone("presence", rules.shards))
    ]


def _bus_event(user: User) -> BusEvent:
    kind = "user_online" if user.is_online else "user_offline"
    detail: Transition = {
        "id": _event_id(user, kind),
        "user_id": id_as_json(user.user_id),
        "username": user.username,
        "version": user.version,
        "last_seen": messages.rfc3339(user.last_seen_ms),
        "connections": len(user.connection_ids),
    }
    return BusEvent(kind, detail, user.changed_at_ms)


def _event_id(user: User, kind: str) -> str:
    return make_event_id(user.changed_at_ms, kind, user.user_id, str(user.version))
