"""What the service accepts of a backend, so that an event which it would refuse is refused before it is sent.

The rules are those of docs/backends.md; a test holds them to the service's own.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

MAX_RECIPIENTS = 90
MAX_ACKNOWLEDGING = 45
MAX_MESSAGE_BYTES = 32 * 1024
MAX_DEPTH = 100
MAX_INTEGER_BITS = 1023
MAX_SAFE_INTEGER = 2**53 - 1
MAX_ID_BITS = 420  # of a number with 126 digits

_CALL = ("call_id", "user_id", "listener_id")
_SOCIAL = ("user_id", "username")
REQUIRED: dict[str, tuple[str, ...]] = {
    "call_started": (*_CALL, "call_type", "status"),
    "call_ended": _CALL,
    "call_billing": _CALL,
    "favorite_added": _SOCIAL,
    "favorite_removed": _SOCIAL,
    "user_blocked": _SOCIAL,
    "user_unblocked": _SOCIAL,
    "system_notification": (),
    "status_change": ("user_id", "is_busy"),
    "session_revoked": ("user_id",),
}
ACTIONS = {
    "favorite_added": "added_you_to_favorites",
    "favorite_removed": "removed_you_from_favorites",
    "user_blocked": "blocked_you",
    "user_unblocked": "unblocked_you",
}
_WITH_PARTICIPANTS = frozenset({"call_started", "call_ended", "call_billing"})
_WITHOUT_RECIPIENTS = frozenset({"status_change", "session_revoked"})
_IDS = ("call_id", "user_id", "listener_id")
_NAMES = ("username", "call_type", "status")

_SURROGATES = "\ud800-\udfff"
_NONCHARACTERS = "\ufdd0-\ufdef\ufffe\uffff" + "".join(
    chr(plane << 16 | last) for plane in range(1, 17) for last in (0xFFFE, 0xFFFF)
)
_UNSTORABLE = re.compile(f"[\x00-\x1f\x7f-\x9f{_SURROGATES}{_NONCHARACTERS}]")
_LONE_SURROGATE = re.compile(f"[{_SURROGATES}]")
_NOT_IN_IDS = re.compile(r"[ /]")


class InvalidEvent(ValueError):
    """The service would refuse this event; the text names the key, and what is wrong with it."""


def check(kind: str, detail: Mapping[str, Any]) -> None:
    """Raise InvalidEvent if the service would refuse the detail of an event of this type."""
    if kind not in REQUIRED:
        raise InvalidEvent(f"detail-type: unknown {kind!r}; known types are {', '.join(REQUIRED)}")
    _check_json(detail)
    for key in REQUIRED[kind]:
        if key not in detail:
            raise InvalidEvent(f"detail.{key}: is required")
    for key in _IDS:
        if key in detail:
            _check_id(f"detail.{key}", detail[key])
    names = [key for key in _NAMES if key in REQUIRED[kind]]
    names += ["action"] if kind in ACTIONS and detail.get("action") is not None else []
    for key in names:
        _check_name(f"detail.{key}", detail[key])
    if kind == "status_change" and not isinstance(detail["is_busy"], bool):
        raise InvalidEvent("detail.is_busy: must be true or false")
    _check_delivery(kind, detail.get("delivery", {}))
    if (size := _size(kind, detail)) > MAX_MESSAGE_BYTES:
        raise InvalidEvent(f"detail: the message would have {size} bytes; the limit is {MAX_MESSAGE_BYTES}")


def _check_delivery(kind: str, delivery: object) -> None:
    if not isinstance(delivery, dict):
        raise InvalidEvent("detail.delivery: must be an object")
    if unknown := delivery.keys() - {"to", "expires_in", "ack_within", "idempotency_key"}:
        raise InvalidEvent(f"detail.delivery: unknown keys {', '.join(sorted(unknown))}")
    _check_seconds("detail.delivery.expires_in", delivery.get("expires_in"), 86_400)
    _check_seconds("detail.delivery.ack_within", delivery.get("ack_within"), 900)
    if (key := delivery.get("idempotency_key")) is not None:
        _check_name("detail.delivery.idempotency_key", key)
    to = delivery.get("to")
    _check_recipients(kind, to)
    acknowledging = len(set(map(_id, to))) if isinstance(to, list) else 2 if to is None else 0
    is_possible = 0 < acknowledging <= MAX_ACKNOWLEDGING and kind not in _WITHOUT_RECIPIENTS
    if delivery.get("ack_within") is not None and not is_possible:
        raise InvalidEvent(f"detail.delivery.ack_within: allowed only with 1 to {MAX_ACKNOWLEDGING} recipients")


def _check_recipients(kind: str, to: object) -> None:
    place = "detail.delivery.to"
    if to is None:
        if kind not in _WITH_PARTICIPANTS | _WITHOUT_RECIPIENTS:
            raise InvalidEvent(f"{place}: is required; list the recipients")
    elif kind in _WITHOUT_RECIPIENTS:
        raise InvalidEvent(f"{place}: leave it out; the user decides who receives a {kind}")
    elif isinstance(to, list):
        if not 0 < len(to) <= MAX_RECIPIENTS:
            raise InvalidEvent(f"{place}: must list 1 to {MAX_RECIPIENTS} users, or be 'everyone'")
        for each in to:
            _check_id(place, each)
    elif to != "everyone" or kind != "system_notification":
        raise InvalidEvent(f"{place}: must be a list of user ids, or 'everyone' for a system_notification")


def _check_seconds(place: str, value: object, most: int) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most):
        raise InvalidEvent(f"{place}: must be a whole number from 1 to {most}")


def _check_id(place: str, value: object) -> None:
    whole = _whole(value)
    if isinstance(whole, int) and not isinstance(whole, bool):
        is_id = whole.bit_length() <= MAX_ID_BITS
    else:
        is_id = isinstance(whole, str) and 0 < len(whole) <= 128 and not _NOT_IN_IDS.search(whole)
        is_id = is_id and not _UNSTORABLE.search(str(whole))
    if not is_id:
        raise InvalidEvent(f"{place}: must be a whole number, or 1 to 128 characters with no '/', space or control")


def _check_name(place: str, value: object) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= 256 or _UNSTORABLE.search(value):
        raise InvalidEvent(f"{place}: must be a string of 1 to 256 characters, with no control character")


def _check_json(detail: Mapping[str, Any]) -> None:
    todo: list[tuple[object, str, int]] = [(detail, "detail", 0)]
    while todo:
        each, place, depth = todo.pop()
        if isinstance(each, Mapping | list | tuple) and depth == MAX_DEPTH:
            raise InvalidEvent(f"{place}: more than {MAX_DEPTH} levels of lists and objects")
        if isinstance(each, Mapping):
            for key, inner in each.items():
                if not isinstance(key, str) or _LONE_SURROGATE.search(key):
                    raise InvalidEvent(f"{place}: a key must be a string without half of a character")
                todo.append((inner, f"{place}.{key[:60]}", depth + 1))
        elif isinstance(each, list | tuple):
            todo += [(inner, f"{place}[{at}]", depth + 1) for at, inner in enumerate(each)]
        else:
            _check_value(place, each)


def _check_value(place: str, value: object) -> None:
    if isinstance(value, str) and _LONE_SURROGATE.search(value):
        raise InvalidEvent(f"{place}: holds half of a character (a lone surrogate)")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidEvent(f"{place}: {value} is not JSON")
    if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
        raise InvalidEvent(f"{place}: a number of {value.bit_length()} bits, which a client would read as Infinity")
    if value is not None and not isinstance(value, str | int | float):
        raise InvalidEvent(f"{place}: a {type(value).__name__} is not JSON")


def _whole(value: object) -> object:
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) <= MAX_SAFE_INTEGER
    return int(value) if is_whole and isinstance(value, float) else value


def _id(value: object) -> str:
    return str(_whole(value))


def _size(kind: str, detail: Mapping[str, Any]) -> int:
    """Return the largest size of the message that a client would be sent (bytes)."""
    data = {key: value for key, value in detail.items() if key != "delivery"}
    if kind in ACTIONS:
        data.setdefault("action", ACTIONS[kind])
    data |= {key: _id(data[key]) for key in _IDS if key in data}
    message = {"type": kind, "data": data, "timestamp": "2026-01-01T00:00:00.000Z", "id": "0" * 28, "ack": True}
    text = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    return len(_UNSTORABLE.sub(lambda match: json.dumps(match.group())[1:-1], text).encode())


def listed(ids: Iterable[Any] | str) -> list[Any] | str:
    """Return recipients as JSON has them."""
    return ids if isinstance(ids, str) else list(ids)
