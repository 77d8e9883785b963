"""Inputs for the targets: samples of each kind, changed by chance, in their structure and in their bytes."""

from __future__ import annotations

import base64
import copy
import json
import random
from functools import cache
from typing import Any, Final

import jwt
import msgspec

from tests.samples import KEY_ID, SECRET, backend_event, names, sample

EXPIRES: Final = 4_000_000_000  # s; PyJWT reads the machine's clock
_TEXTS: Final = (
    *("", " ", "0", "123", "-1", "1e999", "NaN", "null", "true", "*", "*/0", "a/b", "presence/*/0", "calls/123"),
    *("\ud800", "\udfff\ud800", "\ufffe", "\uffff", "\x00", "\x7f", "\x85", "\u2028", "\U0001fffe", "é", "😀", "ﬁ"),
    *(
        "x" * 257,
        "9" * 400,
        "2024-01-15T10:30:00Z",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "../..",
        "%00",
    ),
    *("018d0cabc5d09d700803fd29b9ab", "Bearer x", "a,b,,c", '{"a":1}', "[" * 30, "ping", "sync", "resume", "watch"),
)
_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 123.0, 0.1, 1e300, 10**30, -(2**70), 2**1024, 2**53 + 1, 10**18, float("nan")),
    *(float("inf"), float("-inf"), [], {}, [[]], [None], [1, "1", 1.0], {"": {}}, {"to": "everyone"}, ["a"] * 200),
)


def _deep(levels: int) -> str:
    return "[" * levels + "]" * levels


_RAW: Final = (
    *(_deep(5000), _deep(90), '{"a":' * 3000, "9" * 5000, "-" + "9" * 5000, "", "null", "[]", "{}", '"', "\ufeff{}"),
    *('{"type":"ping","type":1}', "[1,2", "nan", "1" + "0" * 400, '"\\ud800"', '{"\\udfff":1}', "\x00", "'", "{'a':1}"),
)


def _signed(**claims: Any) -> str:
    return jwt.encode({"sub": "123", "exp": EXPIRES, **claims}, SECRET, headers={"kid": KEY_ID})


def _image(record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = record["dynamodb"].get("NewImage", {})
    return found


def _bodies(function: str) -> list[Any]:
    return [json.loads(record["body"]) for name in names(function) for record in sample(name).get("Records", ())]


@cache
def seeds(target: str) -> tuple[Any, ...]:
    """Return good inputs of a target: JSON values, and texts that are none."""
    found: list[Any]
    match target:
        case "frame":
            found = [_json(sample(name)["body"]) for name in names("default")]
            found.append({"type": "resume", "data": {"position": {"at": 1, "sum": "1"}}})
        case "query":
            found = [sample(name).get("queryStringParameters") or {} for name in names("connect")]
            found += [{"types": "listener_online", "batch": "true"}, {"endpoints": "feed,calls", "watch": "1,2"}]
            found += [{"headers": {"Sec-WebSocket-Protocol": "bearer, x", "Origin": "https://a.example"}, "token": ""}]
        case "token":
            found = [_signed(), _signed(scope="feed", role="listener"), _signed(exp=1)]
            found += [
                f"{_part({'alg': 'none'})}.{_part({'sub': '1'})}.",
                f"{_part({'alg': 'RS256', 'kid': 'a'})}.e30.AA",
            ]
        case "claims":
            more = {
                "role": "listener",
                "username": "jane",
                "scope": "feed calls",
                "iat": EXPIRES - 9,
                "aud": "a",
                "iss": "b",
            }
            found = [
                {"sub": "123", "exp": EXPIRES},
                {"sub": 123, "exp": EXPIRES, **more},
                {"sub": "1", "header": {"kid": "x"}},
            ]
        case "jwks":
            rsa = {"kty": "RSA", "kid": "a", "use": "sig", "alg": "RS256", "n": "AQAB" * 90, "e": "AQAB"}
            ec = {"kty": "EC", "kid": "a", "crv": "P-256", "x": "A" * 43, "y": "B" * 43}
            found = [
                {"keys": [rsa]},
                {"keys": [ec]},
                {"keys": [rsa, ec]},
                {"keys": [{"kty": "oct", "kid": "a", "k": "AA"}]},
            ]
        case "secrets":
            found = [{"1": "s" * 64}, {"a": "x" * 32, "b": "y" * 40}, "k" * 44]
        case "bus":
            found = [backend_event(name.partition(".")[2]) for name in names("ingest")]
        case "user_change":
            found = [_image(record) for name in names("announce") for record in sample(name)["Records"]]
        case "event_entry":
            found = [_image(record) for name in names("broadcast") for record in sample(name)["Records"]]
        case "check_order":
            found = _bodies("deadlines")
        case "straggler":
            found = _bodies("late")
        case _:
            found = _bodies(target)
    return tuple(found)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@cache
def _encoded(target: str) -> tuple[bytes, ...]:
    return tuple(map(msgspec.json.encode, seeds(target)))


def make(target: str, chance: random.Random) -> bytes:
    """Return one input."""
    if chance.random() < 0.04:
        return chance.choice(_RAW).encode("utf-8", "surrogatepass")
    value = msgspec.json.decode(chance.choice(_encoded(target)))  # a copy, faster than copy.deepcopy
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        value = _changed(value, chance)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=chance.random() < 0.7)
    data = text.encode("utf-8", "surrogatepass")
    if chance.random() < 0.25:
        data = _scrambled(data, chance)
    return data


def _value(chance: random.Random) -> Any:
    pool = _TEXTS if chance.random() < 0.6 else _VALUES
    return copy.deepcopy(chance.choice(pool))


def _changed(value: Any, chance: random.Random) -> Any:
    """Return a value with a change somewhere in it."""
    if isinstance(value, dict) and value:
        key = chance.choice(list(value))
        match chance.randrange(8):
            case 0:
                del value[key]
            case 1:
                value[chance.choice(_TEXTS)] = _value(chance)
            case 2:
                value[key] = _value(chance)
            case 3:
                value[key] = [value[key]] if chance.random() < 0.5 else {key: value[key]}
            case _:
                value[key] = _changed(value[key], chance)
        return value
    if isinstance(value, list) and value:
        at = chance.randrange(len(value))
        match chance.randrange(4):
            case 0:
                del value[at]
            case 1:
                value = value * chance.choice((2, 3, 30))
            case _:
                value[at] = _changed(value[at], chance)
        return value
    if isinstance(value, str) and value and chance.random() < 0.4:
        at = chance.randrange(len(value))
        return value[:at] + chance.choice(_TEXTS) + value[at + chance.randrange(2) :]
    if isinstance(value, int) and not isinstance(value, bool) and chance.random() < 0.4:
        return value + chance.choice((-1, 1, 1000, -(10**6), 10**15))
    return _value(chance)


def _scrambled(data: bytes, chance: random.Random) -> bytes:
    """Return bytes of which some are changed, left out, doubled or put in."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                changed[at:at] = bytes([chance.randrange(256)])
            case 1:
                del changed[at : at + chance.choice((1, 1, 8))]
            case 2 if changed:
                changed[at % len(changed)] ^= 1 << chance.randrange(8)
            case _:
                changed[at:at] = changed[: chance.choice((2, 20))]
    return bytes(changed)
