"""The events that a backend may report, one function for each. Each raises InvalidEvent if the service would refuse it.

Every event has an idempotency key: of several with the same key, source and type the service tells the first alone.
Give a key of your own, such as the id of the row that changed, if the same thing may be reported by two calls;
otherwise each event gets a new one, so that only a PutEvents that is repeated counts once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict, Unpack
from uuid import uuid4

from listener_realtime import schema
from listener_realtime.messages import Id
from listener_realtime.schema import InvalidEvent

Recipients: TypeAlias = Iterable[Id] | Literal["everyone"]


class Options(TypedDict, total=False):
    """How an event is delivered: times are in seconds; `more` is passed on to clients as it is."""

    expires_in: int
    ack_within: int
    key: str
    more: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """A valid event: its type, and its detail as JSON."""

    type: str
    detail: str

    @classmethod
    def of(cls, kind: str, data: Mapping[str, Any], to: Recipients | None = None, **options: Any) -> Event:
        """Make an event of any type; `options` are those of `Options`."""
        more = options.pop("more", None) or {}
        key = options.pop("key", None) or str(uuid4())
        delivery = {name: value for name, value in options.items() if value is not None} | {"idempotency_key": key}
        if to is not None:
            delivery["to"] = schema.listed(to)
        detail = {**more, **data, "delivery": delivery}
        schema.check(kind, detail)
        return cls(kind, json.dumps(detail, separators=(",", ":"), ensure_ascii=False))

    @classmethod
    def read(cls, kind: str, detail: Mapping[str, Any]) -> Event:
        """Make an event of a whole detail, with `delivery`; it gets an idempotency key if it has none."""
        delivery = detail.get("delivery", {})
        if isinstance(delivery, dict) and delivery.get("idempotency_key") is None:
            detail = {**detail, "delivery": {**delivery, "idempotency_key": str(uuid4())}}
        schema.check(kind, detail)
        return cls(kind, json.dumps(detail, separators=(",", ":"), ensure_ascii=False))


def call_started(
    *,
    call_id: Id,
    user_id: Id,
    listener_id: Id,
    call_type: str,
    status: str,
    to: Recipients | None = None,
    **options: Unpack[Options],
) -> Event:
    """A call began: its participants become busy, and are told unless `to` names others."""
    data = {"call_type": call_type, "status": status, **_call(call_id, user_id, listener_id)}
    return Event.of("call_started", data, to, **options)


def call_ended(
    *, call_id: Id, user_id: Id, listener_id: Id, to: Recipients | None = None, **options: Unpack[Options]
) -> Event:
    """A call ended: its participants become available."""
    return Event.of("call_ended", _call(call_id, user_id, listener_id), to, **options)


def call_billing(
    *, call_id: Id, user_id: Id, listener_id: Id, to: Recipients | None = None, **options: Unpack[Options]
) -> Event:
    """What a call has cost so far, in `more`."""
    return Event.of("call_billing", _call(call_id, user_id, listener_id), to, **options)


def favorite_added(*, user_id: Id, username: str, to: Iterable[Id], **options: Unpack[Options]) -> Event:
    """A user added others to their favourites."""
    return Event.of("favorite_added", {"user_id": user_id, "username": username}, to, **options)


def favorite_removed(*, user_id: Id, username: str, to: Iterable[Id], **options: Unpack[Options]) -> Event:
    """A user removed others from their favourites."""
    return Event.of("favorite_removed", {"user_id": user_id, "username": username}, to, **options)


def user_blocked(*, user_id: Id, username: str, to: Iterable[Id], **options: Unpack[Options]) -> Event:
    """A user blocked others, who do not see their presence any more."""
    return Event.of("user_blocked", {"user_id": user_id, "username": username}, to, **options)


def user_unblocked(*, user_id: Id, username: str, to: Iterable[Id], **options: Unpack[Options]) -> Event:
    """A user unblocked others, who see their presence again."""
    return Event.of("user_unblocked", {"user_id": user_id, "username": username}, to, **options)


def system_notification(data: Mapping[str, Any], *, to: Recipients, **options: Unpack[Options]) -> Event:
    """Tell some users, or everyone, whatever you like."""
    return Event.of("system_notification", data, to, **options)


def status_change(*, user_id: Id, is_busy: bool, key: str | None = None) -> Event:
    """A user set their own status."""
    return Event.of("status_change", {"user_id": user_id, "is_busy": is_busy}, key=key)


def session_revoked(*, user_id: Id, key: str | None = None) -> Event:
    """End all connections of a user, and refuse the tokens issued so far."""
    return Event.of("session_revoked", {"user_id": user_id}, key=key)


def _call(call_id: Id, user_id: Id, listener_id: Id) -> dict[str, Id]:
    return {"call_id": call_id, "user_id": user_id, "listener_id": listener_id}


__all__ = [
    "Event",
    "InvalidEvent",
    "Options",
    "Recipients",
    "call_billing",
    "call_ended",
    "call_started",
    "favorite_added",
    "favorite_removed",
    "session_revoked",
    "status_change",
    "system_notification",
    "user_blocked",
    "user_unblocked",
]
