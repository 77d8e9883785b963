"""The one gate for text: which characters every store accepts, and how the others are escaped.

unstorable  a lone surrogate (half of a character, which UTF-8 cannot encode), a noncharacter (such as U+FFFE, which SQS
            refuses) or a control character (SQS and XML refuse most of them)
name        an id, a username, a role, a word such as `call_type`: has no unstorable character
free text   everything else that a backend passes on to clients: may have any character but a lone surrogate
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_NAME_LENGTH = 256
MAX_DEPTH = 100  # nested lists and objects; every later reader of the message must be able to parse it
MAX_INTEGER_BITS = 1023  # a JavaScript client reads a longer number as Infinity

_CONTROLS = "\x00-\x1f\x7f-\x9f"
_SURROGATES = "\ud800-\udfff"
_NONCHARACTERS = "\ufdd0-\ufdef\ufffe\uffff" + "".join(
    chr(plane << 16 | last) for plane in range(1, 17) for last in (0xFFFE, 0xFFFF)
)
_UNSTORABLE = re.compile(f"[{_CONTROLS}{_SURROGATES}{_NONCHARACTERS}]")
_compact, _with_nan = (
    json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=each) for each in (False, True)
)
_LONE_SURROGATE = re.compile(f"[{_SURROGATES}]")


def is_unstorable(text: str) -> bool:
    """Return whether a text has a character that some store refuses."""
    return _UNSTORABLE.search(text) is not None


def parse_name(value: object) -> str:
    """Return a name unchanged.

    Raises ValueError unless it has 1 to 256 characters, none of them unstorable.
    """
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_LENGTH or is_unstorable(value):
        raise ValueError(
            f"must be a string of 1 to {MAX_NAME_LENGTH} characters, with no control character, noncharacter or half "
            "of a character"
        )
    return value


def make_storable(text: str, limit: int | None = None) -> str:
    r"""Escape unstorable characters as `\x0a`, `\ufffe` or `\U0001fffe`, and cut the text to `limit` characters."""
    clean = _UNSTORABLE.sub(lambda match: _escape(match.group()), text)
    return clean if limit is None or len(clean) <= limit else clean[: limit - 1] + "…"


def describe_value(value: object) -> str:
    """Describe a value in the reason of a refusal: short, and without unstorable characters."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > MAX_INTEGER_BITS:
        return f"a number of {value.bit_length()} bits"
    return make_storable(repr(value) if isinstance(value, str | int | float | None) else type(value).__name__, 60)


def dumps(value: object, *, allow_nan: bool = False) -> str:
    r"""Return compact JSON that every store accepts: unstorable characters of strings are escaped, as `\ufffe` is.

    Parsing it gives the same strings. Raises ValueError if JSON cannot express a value (NaN, unless it is allowed), and
    RecursionError if the value is nested too deeply.
    """
    text = (_with_nan if allow_nan else _compact).encode(value)
    if text.isprintable():  # the search takes longer than all the rest
        return text
    return _UNSTORABLE.sub(lambda match: json.dumps(match.group())[1:-1], text)


def loads(text: str) -> Any:
    """Parse JSON from outside the service.

    Raises ValueError if it is not JSON, is nested too deeply, or has a number with more digits than Python reads.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("too many levels of lists and objects") from error


def find_problem(value: object, path: str) -> str | None:
    """Return what in a JSON value cannot be passed on to a client, beginning with its path, or None.

    Keys and values are checked at every level: no lone surrogate, no NaN or Infinity, no number that a client would
    read as Infinity, and at most 100 levels.
    """
    todo: list[tuple[object, str, int]] = [(value, path, 0)]
    while todo:
        each, place, depth = todo.pop()
        problem = _problem(each)
        if problem is None and isinstance(each, dict | list) and depth == MAX_DEPTH:
            problem = f"more than {MAX_DEPTH} levels of lists and objects"
        if problem is not None:
            return f"{place}: {problem}"
        if isinstance(each, dict):
            todo += [(inner, f"{place}.{make_storable(key, 60)}", depth + 1) for key, inner in each.items()]
        elif isinstance(each, list):
            todo += [(inner, f"{place}[{at}]", depth + 1) for at, inner in enumerate(each)]
    return None


def _problem(value: object) -> str | None:
    """Return what is wrong with a value itself, not with the values in it."""
    match value:
        case str() if _LONE_SURROGATE.search(value):
            return "holds half of a character (a lone surrogate), which UTF-8 cannot encode"
        case float() if not math.isfinite(value):
            return f"{value} is not JSON"
        case int() if value.bit_length() > MAX_INTEGER_BITS:
            return f"a number of {value.bit_length()} bits, which a client would read as Infinity"
        case dict():
            bad_key = next((key for key in value if _LONE_SURROGATE.search(key)), None)
            if bad_key is not None:
                return f"its key {describe_value(bad_key)} holds half of a character (a lone surrogate)"
    return None


def _escape(character: str) -> str:
    if ord(character) <= 0x7F:
        return f"\\x{ord(character):02x}"
    return character.encode("ascii", "backslashreplace").decode()
