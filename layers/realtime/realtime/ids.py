"""Ids of users, calls and events, and how they are written in JSON."""

from __future__ import annotations

import hashlib
import re

from realtime.text import is_unstorable

MAX_ID_LENGTH = 128
MAX_SAFE_INTEGER = 2**53 - 1  # a JavaScript client would round a larger number
_CANONICAL_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_EVENT_ID = re.compile(r"[0-9a-f]{28}")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\x9f/]")  # an id is part of an audience's name, whose parts `/` separates
_RULE = f"must be a whole number, or 1 to {MAX_ID_LENGTH} characters with no '/', space or control character"
_MAX_BITS = 420  # of a number with 126 digits; a longer one is refused before it is converted to text, which is slow


def parse_id(value: object) -> str:
    """Return the id of a user or a call as text; `123.0`, as some languages write whole numbers, is 123.

    Raises ValueError unless it is a whole number, or 1 to 128 characters that every store accepts, no space or `/`.
    """
    value = to_whole_number(value)
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= _MAX_BITS:
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_LENGTH or _FORBIDDEN.search(value):
        raise ValueError(_RULE)
    if is_unstorable(value):
        raise ValueError(f"{_RULE}, no noncharacter (such as U+FFFE) and no half of a character")
    return value


def to_whole_number(value: object) -> object:
    """Convert a float that is a whole number to an int; return anything else unchanged."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_SAFE_INTEGER:
        return int(value)
    return value


def id_as_json(value: str) -> int | str:
    """Return an id as clients see it: a canonical whole number as a number, any other id as a string."""
    if _CANONICAL_NUMBER.fullmatch(value) and int(value) <= MAX_SAFE_INTEGER:
        return int(value)
    return value


def make_event_id(at_ms: int, *source: str) -> str:
    """Make an id that sorts by time; the same time and source always make the same id."""
    digest = hashlib.blake2b("\0".join(source).encode(), digest_size=8).hexdigest()
    return f"{at_ms:012x}{digest}"


def is_event_id(text: str) -> bool:
    """Return whether a text has the form of an event's id."""
    return _EVENT_ID.fullmatch(text) is not None


def event_time_ms(event_id: object) -> int:
    """Return the time in an event's id (ms since the epoch).

    Raises ValueError if it is not the id of an event.
    """
    if not isinstance(event_id, str) or not is_event_id(event_id):
        raise ValueError("must be the id of a message that you have received")
    return int(event_id[:12], 16)
