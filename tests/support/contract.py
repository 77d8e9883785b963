"""Holds what is said to the contract's schemas: a test fails at the first message that they do not describe."""

from __future__ import annotations

import json
from functools import cache, lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from tests.cloudformation import ROOT
from tools.contract.schemas import closed, name_of

SCHEMAS = ROOT / "contract" / "schemas"


class BreaksTheContractError(AssertionError):
    """Something that the schemas do not describe was said."""


@cache
def schema(file: str) -> dict[str, Any]:
    """Return a schema of the folder `contract`."""
    found: dict[str, Any] = json.loads((SCHEMAS / f"{file}.json").read_text(encoding="utf-8"))
    return found


@cache
def _validators(file: str, union: str, key: str, *, ours: bool) -> dict[str, Draft202012Validator]:
    """Return a validator for each member of a union, by what its `key` is: errors are clearer, and found sooner.

    `ours`: no key is accepted that the schemas do not name, because we say it ourselves.
    """
    whole = schema(file)
    members = (whole["$defs"][union] if union else whole)["oneOf"]
    definitions = closed(whole["$defs"]) if ours else whole["$defs"]
    return {
        whole["$defs"][name]["properties"][key]["const"]: Draft202012Validator(
            {**definitions[name], "$defs": definitions}, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        for name in (str(name_of(each)) for each in members)
    }


@cache
def validator(file: str) -> Draft202012Validator:
    """Return a validator of a whole schema, as others use it."""
    return Draft202012Validator(schema(file))


def _check(validators: dict[str, Draft202012Validator], kind: object, said: Any) -> None:
    found = validators.get(kind) if isinstance(kind, str) else None
    if found is None:
        raise BreaksTheContractError(f"there is no {kind!r} in the contract: {said!r}")
    if (error := best_match(found.iter_errors(said))) is not None:
        raise BreaksTheContractError(f"{kind}: {error.json_path}: {error.message}; in {said!r}")


def check_message(message: dict[str, Any]) -> None:
    """Check a message of the service."""
    kind = message.get("type")
    if kind is None and "message" in message:  # API Gateway's own error
        return validator("server-frame").validate(message)
    return _check(_validators("server-frame", "Message", "type", ours=True), kind, message)


@lru_cache(maxsize=4096)
def check_heard(text: str) -> None:
    """Check a frame that a client received; one that many receive is checked once."""
    heard = json.loads(text)
    for message in heard if isinstance(heard, list) else [heard]:
        check_message(message)
    assert heard != [], "an empty array"


def check_sent(frame: dict[str, Any]) -> None:
    """Check a frame of a client."""
    _check(_validators("client-frame", "ClientFrame", "type", ours=False), frame.get("type"), frame)


def check_published(kind: str, detail: Any) -> None:
    """Check an event of a backend."""
    event = {"source": "tests", "detail-type": kind, "detail": detail}
    _check(_validators("backend-event", "", "detail-type", ours=False), kind, event)


def check_told(event: dict[str, Any]) -> None:
    """Check an event that the service put on the bus."""
    _check(_validators("service-event", "", "detail-type", ours=True), event.get("detail-type"), event)
