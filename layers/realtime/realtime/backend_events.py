"""What backends may say: the schema of each event on the bus.

`detail-type` is the message's type and `detail` its data; what a schema does not name is passed on as it is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from realtime import messages
from realtime.errors import InvalidEvent
from realtime.ids import make_event_id, parse_id, to_whole_number
from realtime.messages import MAX_FRAME_BYTES
from realtime.text import describe_value, dumps, find_problem, parse_name

MAX_RECIPIENTS = 90  # an event is recorded in one transaction, of 100 parts and 4 MB at most
MAX_ACKNOWLEDGING = 45  # users who are to acknowledge it: that takes a part for each of them more

SchemaType = TypeVar("SchemaType", bound=Struct)

Id = int | str
Name = Annotated[str, Meta(min_length=1, max_length=256)]  # and `_names` looks into it
Seconds = Annotated[int, Meta(gt=0, le=86_400)]
Recipients = tuple[str, ...] | Literal["everyone"] | None  # None where presence decides who hears it


class DeliveryOptions(Struct, forbid_unknown_fields=True):
    """The reserved key `delivery`, which is taken off before a message is sent."""

    to: list[Id] | Literal["everyone"] | None = None
    expires_in: Seconds | None = None
    ack_within: Annotated[int, Meta(gt=0, le=900)] | None = None  # SQS holds a message back for so long at most


class Call(Struct):
    """`call_ended` and `call_billing`: what else they hold is passed on."""

    call_id: Id
    user_id: Id
    listener_id: Id


class StartedCall(Call):
    """`call_started`."""

    call_type: Name
    status: Name


class SocialEvent(Struct):
    """`favorite_added` and its like: what `user_id` did to those that the event is delivered to."""

    user_id: Id
    username: Name
    action: Name | None = None  # filled in when absent


class StatusChange(Struct):
    """`status_change`: a user sets themself busy or available by hand."""

    user_id: Id
    is_busy: bool


class SessionRevoked(Struct):
    """`session_revoked`: all connections of a user end."""

    user_id: Id


class SystemNotification(Struct):
    """`system_notification`: all that it holds is passed on."""


SCHEMAS: dict[str, type[Struct]] = {
    "call_started": StartedCall,
    "call_ended": Call,
    "call_billing": Call,
    "favorite_added": SocialEvent,
    "favorite_removed": SocialEvent,
    "user_blocked": SocialEvent,
    "user_unblocked": SocialEvent,
    "system_notification": SystemNotification,
    "status_change": StatusChange,
    "session_revoked": SessionRevoked,
}
ACTIONS = {
    "favorite_added": "added_you_to_favorites",
    "favorite_removed": "removed_you_from_favorites",
    "user_blocked": "blocked_you",
    "user_unblocked": "unblocked_you",
}
_TOLD_BY_PRESENCE = frozenset({"status_change", "session_revoked"})
ID_FIELDS = ("call_id", "user_id", "listener_id")
NAMES = frozenset({"username", "call_type", "status", "action"})  # where a schema has them; else they are free text


class BackendEvent(Struct, frozen=True):
    """A backend's event, found good: `data` is what clients hear, `at` the event's own time in ms."""

    event_id: str
    kind: str
    data: dict[str, Any]
    to: Recipients
    expires_in: int | None
    ack_within: int | None
    at: int


def validate(event_id: object, kind: object, detail: object, at: int) -> BackendEvent:
    """Hold an event against its schema.

    Raises InvalidEvent that says which key is wrong, and how.
    """
    if not isinstance(kind, str) or (schema := SCHEMAS.get(kind)) is None:
        raise InvalidEvent(f"detail-type: unknown {kind!r}; known are {', '.join(SCHEMAS)}")
    if not isinstance(detail, dict):
        raise InvalidEvent("detail: must be a JSON object")
    if (problem := find_problem(detail, "detail")) is not None:
        raise InvalidEvent(problem)
    event_id = _name("id", event_id)
    data = {
        key: to_whole_number(value) if key in ID_FIELDS else value for key, value in detail.items() if key != "delivery"
    }
    _convert("detail", data, schema)
    delivery = _convert("detail.delivery", _with_whole_ids(detail.get("delivery", {})), DeliveryOptions)
    if kind in ACTIONS:
        data.setdefault("action", ACTIONS[kind])
    data |= {name: _id(f"detail.{name}", data[name]) for name in ID_FIELDS if name in data}
    _check_names(data, schema)
    to = _recipients(kind, data, delivery.to)
    if delivery.ack_within is not None and (not isinstance(to, tuple) or len(to) > MAX_ACKNOWLEDGING):
        raise InvalidEvent(f"detail.delivery.ack_within: only where 1 to {MAX_ACKNOWLEDGING} users are told")
    if (size := _size(kind, data)) > MAX_FRAME_BYTES:
        raise InvalidEvent(f"detail: makes a message of {size} bytes; a client can be sent {MAX_FRAME_BYTES}")
    return BackendEvent(event_id, kind, data, to, delivery.expires_in, delivery.ack_within, at)


def _convert(name: str, value: object, schema: type[SchemaType]) -> SchemaType:
    try:
        return msgspec.convert(value, schema)
    except msgspec.ValidationError as error:
        raise InvalidEvent(f"{name}: {error}") from error


def _size(kind: str, data: dict[str, Any]) -> int:
    """Return how many bytes a client would be sent at most: the whole frame, with the longest envelope."""
    envelope = messages.encode(kind, {}, 0, make_event_id(0), ack=True)
    return len(envelope) - len("{}") + len(dumps(data).encode())


def _with_whole_ids(delivery: object) -> object:
    """Return a `delivery` whose user ids are whole numbers where they are written as `123.0`."""
    if not isinstance(delivery, dict) or not isinstance(delivery.get("to"), list):
        return delivery
    return {**delivery, "to": [to_whole_number(each) for each in delivery["to"]]}


def _id(name: str, value: object) -> str:
    try:
        return parse_id(value)
    except ValueError as error:
        raise InvalidEvent(f"{name}: {error}; not {describe_value(value)}") from error


def _name(name: str, value: object) -> str:
    try:
        return parse_name(value)
    except ValueError as error:
        raise InvalidEvent(f"{name}: {error}; not {describe_value(value)}") from error


def _check_names(data: dict[str, Any], schema: type[Struct]) -> None:
    for name in sorted(NAMES.intersection(schema.__struct_fields__, data)):
        if data[name] is not None:
            _name(f"detail.{name}", data[name])


def _recipients(kind: str, data: dict[str, Any], to: list[Id] | Literal["everyone"] | None) -> Recipients:
    if to is not None and kind in _TOLD_BY_PRESENCE:
        raise InvalidEvent(f"detail.delivery.to: who hears of a {kind} follows from the user; leave it out")
    if isinstance(to, list):
        if not 0 < len(to) <= MAX_RECIPIENTS:
            raise InvalidEvent(f"detail.delivery.to: must name 1 to {MAX_RECIPIENTS} users, or be 'everyone'")
        return tuple(dict.fromkeys(_id("detail.delivery.to", each) for each in to))
    if to == "everyone" and kind != "system_notification":
        raise InvalidEvent(f"detail.delivery.to: a {kind} cannot be sent to everyone")
    if to is None and kind.startswith("call_"):
        return tuple(dict.fromkeys((data["user_id"], data["listener_id"])))
    if to is None and (kind in ACTIONS or kind == "system_notification"):
        raise InvalidEvent("detail.delivery.to: is required; name the users to tell")
    return to
