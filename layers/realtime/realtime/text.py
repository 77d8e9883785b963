"""The one gate for text: what every store downstream takes, and how what it would not take is written all the same.

odd         half of a character (a lone surrogate: no UTF-8), a noncharacter (U+FFFE and its like: SQS refuses them),
            or a control character (SQS and XML refuse most of them)
name        an id, a username, a role, a word such as `call_type`: holds nothing odd
free text   all else that a backend passes on to clients: may hold anything but halves of characters
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_NAME_LENGTH = 256
MAX_DEPTH = 100  # levels of lists and objects in each other: whoever reads the message on must be able to
MAX_INTEGER_BITS = 1023  # past them a JavaScript client reads Infinity

_CONTROLS = "\x00-\x1f\x7f-\x9f"
_SURROGATES = "\ud800-\udfff"
_NONCHARACTERS = "\ufdd0-\ufdef\ufffe\uffff" + "".join(
    chr(plane << 16 | last) for plane in range(1, 17) for last in (0xFFFE, 0xFFFF)
)
_ODD = re.compile(f"[{_CONTROLS}{_SURROGATES}{_NONCHARACTERS}]")
_HALF = re.compile(f"[{_SURROGATES}]")


def is_unstorable(text: str) -> bool:
    """Return whether a text holds what some store downstream refuses."""
    return _ODD.search(text) is not None


def parse_name(value: object) -> str:
    """Return a name as it is.

    Raises ValueError unless it is 1 to 256 characters, none of them odd.
    """
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_LENGTH or is_unstorable(value):
        raise ValueError(
            f"must be a string of 1 to {MAX_NAME_LENGTH} characters, with no control character, noncharacter or half "
            "of a character"
        )
    return value


def make_storable(text: str, limit: int | None = None) -> str:
    r"""Return a text with what is odd written as `\x0a`, `\ufffe` or `\U0001fffe`, cut to so many characters."""
    clean = _ODD.sub(lambda odd: _escaped(odd.group()), text)
    return clean if limit is None or len(clean) <= limit else clean[: limit - 1] + "…"


def describe_value(value: object) -> str:
    """Return a value as the reason of a refusal may hold it: short, and nothing odd."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > MAX_INTEGER_BITS:
        return f"a number of {value.bit_length()} bits"
    return make_storable(repr(value) if isinstance(value, str | int | float | None) else type(value).__name__, 60)


def dumps(value: object, *, allow_nan: bool = False) -> str:
    r"""Return compact JSON that every store takes: what is odd in its strings stands there as `\ufffe`.

    Whoever parses it reads the same strings. Raises ValueError where JSON has no word for the value (NaN, unless it is
    allowed), and RecursionError where it is too deep.
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=allow_nan)
    return _ODD.sub(lambda odd: json.dumps(odd.group())[1:-1], text)


def loads(text: str) -> Any:
    """Parse JSON from elsewhere.

    Raises ValueError for whatever is none, is too deep to be read, or holds a number of more digits than Python reads.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("too many levels of lists and objects") from error


def find_problem(value: object, path: str) -> str | None:
    """Say what in a JSON value could not be passed on to a client, beginning with the path to it; None where nothing.

    Keys and values count, however deep: no halves of characters, no NaN or Infinity, no number that a client would
    read as Infinity, no more than 100 levels.
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
    """Say what of a value, without what it holds in turn, could not be passed on."""
    match value:
        case str() if _HALF.search(value):
            return "holds half of a character (a lone surrogate), which no UTF-8 has"
        case float() if not math.isfinite(value):
            return f"{value} is no JSON"
        case int() if value.bit_length() > MAX_INTEGER_BITS:
            return f"a number of {value.bit_length()} bits, which a client would read as Infinity"
        case dict():
            odd = next((key for key in value if _HALF.search(key)), None)
            return (
                None if odd is None else f"its key {describe_value(odd)} holds half of a character (a lone surrogate)"
            )
    return None


def _escaped(character: str) -> str:
    if ord(character) <= 0x7F:
        return f"\\x{ord(character):02x}"
    return character.encode("ascii", "backslashreplace").decode()
