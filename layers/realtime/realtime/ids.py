"""Ids of users and calls, of events, and how they look in JSON."""

from __future__ import annotations

import hashlib
import re

from realtime.text import is_unstorable

MAX_ID_LENGTH = 128
MAX_SAFE_INTEGER = 2**53 - 1  # past it a JavaScript client would round the number
_CANONICAL_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_EVENT_ID = re.compile(r"[0-9a-f]{28}")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\x9f/]")  # an id is a part of an audience's name, and `/` parts it
_RULE = f"must be a whole number, or 1 to {MAX_ID_LENGTH} characters with no '/', space or control character"
_MAX_BITS = 420  # what 126 digits can take: to write out a longer number only to refuse it would cost


def parse_id(value: object) -> str:
    """Return a user's or call's id as text; `123.0`, as some languages write whole numbers, is 123.

    Raises ValueError unless it is a whole number, or 1 to 128 characters that every store takes, with no space or `/`.
    """
    value = to_whole_number(value)
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= _MAX_BITS:
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_LENGTH or _FORBIDDEN.search(value):
        raise ValueError(_RULE)
    if is_unstorable(value):
        raise ValueError(f"{_RULE}; nor U+FFFE and its like, nor half of a character")
    return value


def to_whole_number(value: object) -> object:
    """Return a float that is a whole number as an int, and all else as it is."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_SAFE_INTEGER:
        return int(value)
    return value


def id_as_json(value: str) -> int | str:
    """Return the id as clients see it: canonical whole numbers as numbers, all else as strings."""
    if _CANONICAL_NUMBER.fullmatch(value) and int(value) <= MAX_SAFE_INTEGER:
        return int(value)
    return value


def make_event_id(at_ms: int, *source: str) -> str:
    """Return an id that sorts by time and is the same whenever it is made from the same time and source."""
    digest = hashlib.blake2b("\0".join(source).encode(), digest_size=8).hexdigest()
    return f"{at_ms:012x}{digest}"


def event_time_ms(event_id: object) -> int:
    """Return the time of an event's id, in ms since the epoch.

    Raises ValueError if it is no event's id.
    """
    if not isinstance(event_id, str) or not _EVENT_ID.fullmatch(event_id):
        raise ValueError("must be the id of a message that you have heard")
    return int(event_id[:12], 16)
