"""The promises of docs/api.md: its message types by endpoint, and its example messages."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/api.md"

Shape = dict[str, str]

_SECTION = re.compile(r"^### (?:Feed|Presence|Call) Updates$|^### Notifications$", re.MULTILINE)
_ENDPOINT = re.compile(r"`wss://[^/]+/ws/(\w+)\?")
_TYPE = re.compile(r"^- `(\w+)` - ", re.MULTILINE)
_EXAMPLE = re.compile(r"^```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@cache
def endpoints() -> dict[str, tuple[list[str], dict[str, Any]]]:
    """Each endpoint with its message types and the message that the document shows for it."""
    _, *sections = _SECTION.split(DOCUMENT.read_text(encoding="utf-8").partition("## Connection Management")[0])
    found = {}
    for section in sections:
        (endpoint,), (example,) = _ENDPOINT.findall(section), _EXAMPLE.findall(section)
        found[endpoint] = (_TYPE.findall(section), json.loads(example))
    return found


def types() -> list[str]:
    """All documented types of messages that are no answers."""
    return [kind for kinds, _ in endpoints().values() for kind in kinds]


def example(kind: str) -> dict[str, Any]:
    """The message that the document shows for a type's endpoint."""
    return next(message for kinds, message in endpoints().values() if kind in kinds)


def shape(data: dict[str, Any]) -> Shape:
    """The keys of a message's data, each with the kind of its value."""
    return {key: _kind(value) for key, value in data.items()}


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "time" if is_time(value) else "string"
    return type(value).__name__


def is_time(value: str) -> bool:
    """Whether a string is a time as the document writes it: RFC 3339 in UTC, with `Z`."""
    return re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value) is not None
