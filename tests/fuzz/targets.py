"""One target for each parser of bytes from outside: what it does with any input, and what it must never do.

A target returns `accepted`, `answered` (an error that the sender gets) or `rejected` (set aside whole, with a reason).
Anything else is a finding: an exception that leaves a function, an input that is none of these, an answer that no
client can read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl

import jwt
import msgspec

from realtime.aws.token_keys import parse_keys
from realtime.errors import AuthFailed, ConfigurationError, Unavailable
from realtime.text import is_unstorable
from realtime.tokens import PublishedKeys, Tokens
from tests.fuzz.world import World
from tests.samples import KEY_ID, SECRET, queued, sample

Target = Callable[[bytes], str]
ACCEPTED, ANSWERED, REJECTED = "accepted", "answered", "rejected"
_NOTHING_FAILED: Final[dict[str, Any]] = {"batchItemFailures": []}
_CODES: Final = frozenset({"AUTH_FAILED", "PERMISSION_DENIED", "RATE_LIMITED", "CONNECTION_LIMIT", "BAD_REQUEST"})


class Finding(AssertionError):
    """An input with which the service does what it must not."""


def check(is_right: object, what: str) -> None:
    """Raise a Finding unless something holds."""
    if not is_right:
        raise Finding(what)


@cache
def world() -> World:
    """Return the functions."""
    return World()


def text_of(data: bytes) -> str:
    """Return bytes as a text as JSON may bring it: what is no UTF-8 becomes halves of characters."""
    return data.decode("utf-8", "surrogateescape")


def json_of(data: bytes) -> Any:
    """Return the JSON value in some bytes; where it is none, the text."""
    text = text_of(data)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def frame(data: bytes) -> str:
    """A client's frame: an answer always comes, is no internal error, and every client can read it."""
    event = _sample("default.ping")
    event["body"] = text_of(data)
    answer = world().invoke("default", event)
    check(answer["statusCode"] == 200, "the status is not 200")
    said = json.loads(answer["body"])
    check(not is_unstorable(answer["body"]), "the answer has characters that not every client reads")
    if said["type"] != "error":
        return ACCEPTED
    check(said["data"]["code"] in _CODES, f"{said['data']['code']}: {world().log.reason}")
    return ANSWERED


def query(data: bytes) -> str:
    """A handshake's query string, and its headers: a client is let in, or refused with a status that says why."""
    event = _sample("connect.token-in-query")
    found = json_of(data)
    if isinstance(found, dict):
        headers = found.pop("headers", {})
        given = {str(name): value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}
        if isinstance(headers, dict):
            event["headers"] = {**event["headers"], **{str(name): str(value) for name, value in headers.items()}}
    else:
        given = dict(parse_qsl(str(found), keep_blank_values=True, errors="surrogateescape"))
    event["queryStringParameters"] = {"token": event["queryStringParameters"]["token"], **given}
    status = world().invoke("connect", event)["statusCode"]
    if status == 500 and "unknown key id" in str(world().log.reason):  # "try again", by docs/decisions/0022
        return ANSWERED
    check(status in {200, 400, 401, 403, 429}, f"status {status}: {world().log.reason}")
    check(status != 200 or world().aws.writes, "let in, and not registered")
    return ACCEPTED if status == 200 else ANSWERED


@cache
def _tokens() -> Tokens:
    class Keys:
        def candidates(self, kid: str | None) -> list[str]:
            return [SECRET] if kid in (None, KEY_ID) else []

    return Tokens(Keys(), PublishedKeys("https://example.com/jwks", lambda: {"keys": []}), max_seconds=3_153_600_000)


def token(data: bytes) -> str:
    """A token as it comes: it proves an identity, or is refused with a reason that quotes nothing of it."""
    return _verify(text_of(data))


def claims(data: bytes) -> str:
    """The claims of a token that is well signed."""
    found = json_of(data)
    header = found.pop("header", None) if isinstance(found, dict) else None
    payload = data if isinstance(found, str) else json.dumps(found).encode()
    headers = {
        "kid": KEY_ID,
        **({str(name): value for name, value in header.items()} if isinstance(header, dict) else {}),
    }
    try:
        signed = jwt.PyJWS().encode(payload, SECRET, algorithm="HS256", headers={**headers, "alg": "HS256"})
    except (TypeError, ValueError, jwt.PyJWTError):
        return REJECTED  # no signer makes such a token
    return _verify(signed)


def _verify(text: str) -> str:
    try:
        identity = _tokens().verify(text)
    except AuthFailed as refused:
        check(refused.reason, "no reason")
        check(len(text) < 20 or text not in str(refused), "the reason quotes the token")
        return ANSWERED
    except Unavailable:
        return ANSWERED
    for each in (identity.user_id, identity.username or "x", identity.role or "x"):
        check(each and not is_unstorable(each), "an identity that no table takes")
    return ACCEPTED


def jwks(data: bytes) -> str:
    """What a JWKS URL answers: keys are found, or the handshakes are told to try again."""
    keys = PublishedKeys("https://example.com/jwks", lambda: json_of(data))
    try:
        keys.get_signing_key("a")
    except (Unavailable, jwt.PyJWKClientError):
        return REJECTED
    return ACCEPTED


def secrets(data: bytes) -> str:
    """What a store of secrets holds: usable secrets, or a message for the operator that tells none."""
    text = text_of(data)
    try:
        found = parse_keys(text, "/keys")
    except ConfigurationError as problem:
        check(len(text) < 12 or text not in str(problem), "the message quotes the secret")
        return REJECTED
    check(
        all(len(each.encode(errors="surrogatepass")) >= 32 for each in found.values()), "a secret that can be guessed"
    )
    return ACCEPTED


def bus(data: bytes) -> str:
    """A backend's event, as its queue brings it: recorded, or set aside whole with the reason."""
    text = text_of(data) or " "  # SQS has no empty messages
    answer = world().invoke("ingest", queued(text))
    aside = [each for each in world().aws.sent if each["QueueUrl"] == "rejected"]
    check(answer == _NOTHING_FAILED, f"comes again without end: {world().log.reason}")
    if not aside:
        check(world().aws.writes, "neither recorded nor rejected")
        return ACCEPTED
    check(aside[0]["MessageAttributes"]["reason"]["StringValue"], "no reason")
    whole = aside[0]["MessageBody"]
    check(whole == text or not _is_plain(text), "rejected, and not whole")
    return REJECTED


def _is_plain(text: str) -> bool:
    return len(text) < 100_000 and not is_unstorable(text)


def user_change(data: bytes) -> str:
    """A record of the Users stream: announced, or set aside with its keys, and it stops no other."""
    return _stream("announce", "announce.came-online", data)


def event_entry(data: bytes) -> str:
    """A record of the Events stream: posted, or set aside with its keys, and it stops no other."""
    return _stream("broadcast", "broadcast.personal", data)


def _stream(function: str, name: str, data: bytes) -> str:
    good, strange = _sample(name)["Records"][0], _sample(name)["Records"][0]
    image = json_of(data)
    strange["dynamodb"]["NewImage"] = _image(image) if isinstance(image, dict) else {"text": {"S": str(image)}}
    good["dynamodb"]["SequenceNumber"] += "1"
    answer = world().invoke(function, {"Records": [strange, good]})
    aside = [each for each in world().aws.sent if each["QueueUrl"] == "failures"]
    if answer["batchItemFailures"] == [{"itemIdentifier": good["dynamodb"]["SequenceNumber"]}]:
        check(aside, f"passed over: {world().log.reason}")  # the stream goes on from the good one
        answer = world().invoke(function, {"Records": [good]})
    check(answer == _NOTHING_FAILED, f"stops the stream: {world().log.reason}")
    if not aside:
        return ACCEPTED
    check(len(aside) == 1, "a good record was given up")
    check(aside[0]["MessageAttributes"]["reason"]["StringValue"], "no reason")
    return REJECTED


def _image(value: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON object as DynamoDB's stream shows an item with these attributes."""
    return {str(name): _attribute(each) for name, each in value.items()}


def _attribute(value: Any) -> dict[str, Any]:
    match value:
        case {"S": str()} | {"N": str()} | {"BOOL": bool()} | {"SS": [str(), *_]} if len(value) == 1:
            return dict(value)
        case bool():
            return {"BOOL": value}
        case int() | float():
            return {"N": str(value)}
        case None:
            return {"NULL": True}
        case [str(), *_] if all(isinstance(each, str) for each in value):
            return {"SS": value}
        case list():
            return {"L": [_attribute(each) for each in value]}
        case dict():
            return {"M": {str(name): _attribute(each) for name, each in value.items()}}
    return {"S": str(value)}


def check_order(data: bytes) -> str:
    """A message of the delay queue: done, or it ends whole in the dead-letter queue; the next one is done."""
    return _queue("deadlines", "deadlines.offline", data)


def straggler(data: bytes) -> str:
    """A message of the late queue, likewise."""
    return _queue("late", "late.straggler", data)


def farewell(data: bytes) -> str:
    """A message of the farewells queue: sent, or given up with a line in the log; the next one is sent."""
    return _queue("farewell", "farewell.refused", data)


def _queue(function: str, name: str, data: bytes) -> str:
    (good,) = _sample(name)["Records"]
    strange = {**good, "messageId": "strange", "body": text_of(data) or " "}
    answer = world().invoke(function, {"Records": [strange, {**good, "messageId": "good"}]})
    failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
    check("good" not in failed, f"a good message must come again: {world().log.reason}")
    if "strange" in failed or world().log.last == "giving up a message":
        check(world().log.reason, "no reason")
        return REJECTED
    return ACCEPTED


@cache
def _encoded(name: str) -> bytes:
    return msgspec.json.encode(sample(name))


def _sample(name: str) -> dict[str, Any]:
    """Return a fresh copy of a sample."""
    found: dict[str, Any] = msgspec.json.decode(_encoded(name))
    return found


TARGETS: Final[dict[str, Target]] = {
    "frame": frame,
    "query": query,
    "token": token,
    "claims": claims,
    "jwks": jwks,
    "secrets": secrets,
    "bus": bus,
    "user_change": user_change,
    "event_entry": event_entry,
    "check_order": check_order,
    "straggler": straggler,
    "farewell": farewell,
}
