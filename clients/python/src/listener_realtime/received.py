"""What is in a frame that came, whatever its shape: nothing that a server sends may end the client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeGuard


def read(text: str) -> list[Any] | None:
    """Return what may be the messages of a frame: it is one, or an array of them. None if it is not JSON.

    Of what the client itself uses, `id` and `position` are of their types afterwards, or absent.
    """
    try:
        heard = json.loads(text)
    except (ValueError, RecursionError):
        return None
    messages = heard if isinstance(heard, list) else [heard]
    for message in filter(is_message, messages):
        if message.get("data") is None:
            message["data"] = {}
        for name, shape in (("id", str), ("position", dict)):
            if not isinstance(message.get(name), shape):
                message.pop(name, None)
    return messages


def is_message(heard: object) -> TypeGuard[dict[str, Any]]:
    """Return whether it is a message: it has a type. API Gateway's own refusals have none."""
    return isinstance(heard, dict) and isinstance(heard.get("type"), str)


def is_live(message: Mapping[str, Any]) -> bool:
    """Return whether it is an event as it is posted first: replayed ones bring no position."""
    return "id" in message and "position" in message


def data_of(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message's data, as far as it has names."""
    data = message["data"]
    return data if isinstance(data, Mapping) else {}


def seconds(value: object) -> float | None:
    """Return a duration, or None if it is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
