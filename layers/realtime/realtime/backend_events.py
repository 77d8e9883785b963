"""The events that backends may send: the schema of each event on the bus.

`detail-type` is the type of the message and `detail` its data. Keys that a schema does not name are passed on as
they are.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Struct

from realtime import messages
from realtime.errors import InvalidEvent
from realtime.ids import make_event_id, parse_id, to_whole_number
from realtime.messages import MAX_FRAME_BYTES
from realtime.text import describe_value, dumps, find_problem, parse_name

MAX_RECIPIENTS = 90  # an event is recorded in one transaction, which has at most 100 parts and 4 MB
MAX_ACKNOWLEDGING = 45  # users who must acknowledge it: each takes one more part of the transaction

SchemaType = TypeVar("SchemaType", bound=Struct)

# For readers of the schemas alone: `parse_id` and `parse_name` check the same and more, with messages of their own.
_ID_TEXT = {"minLength": 1, "maxLength": 128, "pattern": r"^[^\u0000-\u0020\u007f-\u009f/]*$"}
_NAME_TEXT = {"pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"}

Id = int | Annotated[str, Meta(extra_json_schema=_ID_TEXT)]
Name = Annotated[str, Meta(min_length=1, max_length=256, extra_json_schema=_NAME_TEXT)]
Seconds = Annotated[int, Meta(gt=0, le=86_400)]
Recipients = tuple[str, ...] | Literal["everyone"] | None  # None: presence decides who receives it


class DeliveryOptions(Struct, forbid_unknown_fields=True):
    """The reserved key `delivery`, which is removed before a message is sent."""

    to: Annotated[
        list[Id] | Literal["everyone"] | None,
        Meta(description="The users who receive it, or `everyone`."),
    ] = None
    expires_in: Annotated[
        Seconds | None,
        Meta(description="Seconds from the event's own time after which clients do not receive it any more."),
    ] = None
    ack_within: Annotated[
        Annotated[int, Meta(gt=0, le=900)] | None,  # SQS delays a message by at most 900 s
        Meta(description="Seconds in which each recipient must acknowledge it, or `message_undelivered` follows."),
    ] = None
    idempotency_key: Annotated[
        Name | None,
        Meta(description="Of several events with one key, source and type, the first alone counts."),
    ] = None


class Call(Struct):
    """A call, as `call_ended` and `call_billing` report it; their other keys are passed on."""

    call_id: Id
    user_id: Id
    listener_id: Id


class StartedCall(Call):
    """A call, as `call_started` reports it; its other keys are passed on."""

    call_type: Name
    status: Name


class SocialEvent(Struct):
    """`favorite_added`, `user_blocked` and their opposites: what `user_id` did to the recipients."""

    user_id: Id
    username: Name
    action: Name | None = None  # filled in if absent


class StatusChange(Struct):
    """`status_change`: a user sets their own status to busy or available."""

    user_id: Id
    is_busy: bool


class SessionRevoked(Struct):
    """`session_revoked`: all connections of a user are closed."""

    user_id: Id


class SystemNotification(Struct):
    """Whatever a `system_notification` says: all its keys are passed on."""


class EventType(NamedTuple):
    """The rules for one type of event."""

    schema: type[Struct]
    # The recipients without `delivery.to`: both participants, or those that presence decides. None: `to` is required.
    default: Literal["participants", "presence"] | None = None
    action: str | None = None  # filled in if the event has none
    may_go_to_everyone: bool = False


EVENT_TYPES = {
    "call_started": EventType(StartedCall, "participants"),
    "call_ended": EventType(Call, "participants"),
    "call_billing": EventType(Call, "participants"),
    "favorite_added": EventType(SocialEvent, action="added_you_to_favorites"),
    "favorite_removed": EventType(SocialEvent, action="removed_you_from_favorites"),
    "user_blocked": EventType(SocialEvent, action="blocked_you"),
    "user_unblocked": EventType(SocialEvent, action="unblocked_you"),
    "system_notification": EventType(SystemNotification, may_go_to_everyone=True),
    "status_change": EventType(StatusChange, "presence"),
    "session_revoked": EventType(SessionRevoked, "presence"),
}
ID_FIELDS = ("call_id", "user_id", "listener_id")
NAMES = frozenset({"username", "call_type", "status", "action"})  # free text if the event's schema does not have them


class BackendEvent(Struct, frozen=True):
    """A valid event of a backend: `data` is what clients receive, `at_ms` the time that the backend gave it.

    `event_id` is EventBridge's, or is made from the idempotency key: then `has_key`.
    """

    event_id: str
    has_key: bool
    kind: str
    data: dict[str, Any]
    to: Recipients
    expires_in_s: int | None
    ack_within_s: int | None
    at_ms: int


def validate(event_id: object, source: object, kind: object, detail: object, at_ms: int) -> BackendEvent:
    """Check an event against its schema.

    Raises InvalidEvent, whose message says which key is wrong, and how.
    """
    if not isinstance(kind, str) or (rules := EVENT_TYPES.get(kind)) is None:
        raise InvalidEvent(f"detail-type: unknown {describe_value(kind)}; known types are {', '.join(EVENT_TYPES)}")
    if not isinstance(detail, dict):
        raise InvalidEvent("detail: must be a JSON object")
    if (problem := find_problem(detail, "detail")) is not None:
        raise InvalidEvent(problem)
    event_id = _name("id", event_id)
    data = {
        key: to_whole_number(value) if key in ID_FIELDS else value for key, value in detail.items() if key != "delivery"
    }
    _convert("detail", data, rules.schema)
    delivery = _convert("detail.delivery", _with_whole_ids(detail.get("delivery", {})), DeliveryOptions)
    if rules.action is not None:
        data.setdefault("action", rules.action)
    data |= {name: _id(f"detail.{name}", data[name]) for name in ID_FIELDS if name in data}
    _check_names(data, rules.schema)
    to = _recipients(kind, data, delivery.to, rules)
    if delivery.ack_within is not None and (not isinstance(to, tuple) or len(to) > MAX_ACKNOWLEDGING):
        raise InvalidEvent(f"detail.delivery.ack_within: allowed only with 1 to {MAX_ACKNOWLEDGING} recipients")
    if (size := _size(kind, data)) > MAX_FRAME_BYTES:
        raise InvalidEvent(f"detail: the message would have {size} bytes; the limit is {MAX_FRAME_BYTES}")
    key = delivery.idempotency_key
    if key is not None:
        key = _name("detail.delivery.idempotency_key", key)
        event_id = make_event_id(0, _name("source", source), kind, key)
    return BackendEvent(event_id, key is not None, kind, data, to, delivery.expires_in, delivery.ack_within, at_ms)


def _convert(name: str, value: object, schema: type[SchemaType]) -> SchemaType:
    try:
        return msgspec.convert(value, schema)
    except msgspec.ValidationError as error:
        raise InvalidEvent(f"{name}: {error}") from error


def _size(kind: str, data: dict[str, Any]) -> int:
    """Return the largest size of the frame that a client would be sent (bytes), with the longest envelope."""
    envelope = messages.encode(kind, {}, 0, make_event_id(0), ack=True)
    return len(envelope) - len("{}") + len(dumps(data).encode())


def _with_whole_ids(delivery: object) -> object:
    """Return a `delivery` whose user ids are integers, even if they were written as `123.0`."""
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


def _recipients(
    kind: str, data: dict[str, Any], to: list[Id] | Literal["everyone"] | None, rules: EventType
) -> Recipients:
    if to is not None and rules.default == "presence":
        raise InvalidEvent(f"detail.delivery.to: leave it out; `user_id` says already who receives a {kind}")
    if isinstance(to, list):
        if not 0 < len(to) <= MAX_RECIPIENTS:
            raise InvalidEvent(f"detail.delivery.to: must list 1 to {MAX_RECIPIENTS} users, or be 'everyone'")
        return tuple(dict.fromkeys(_id("detail.delivery.to", each) for each in to))
    if to == "everyone" and not rules.may_go_to_everyone:
        raise InvalidEvent(f"detail.delivery.to: a {kind} cannot be sent to everyone")
    if to is None and rules.default == "participants":
        return tuple(dict.fromkeys((data["user_id"], data["listener_id"])))
    if to is None and rules.default is None:
        raise InvalidEvent("detail.delivery.to: is required; list the recipients")
    return to
