"""Route selection expressions: which route a client's message takes.

Source: docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-develop-routes.html. The test uses its table
of examples.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

_WRAPPED: Final = re.compile(r"\$\{request\.body\.([^}]+)\}")
_UNWRAPPED: Final = re.compile(r"^\$request\.body\.(.+)$")
_STEP: Final = re.compile(r"\.?(?P<name>[^.\[\]]+)|\[(?P<index>-?\d+)\]|\['(?P<quoted>[^']*)'\]")

_MISSING: Final = object()


def select(expression: str, message: str) -> str | None:
    r"""Return the route key that a message selects, or None where the expression cannot be evaluated against it.

    `expression` is `$request.body.{path}`, text with `${request.body.{path}}` in it, or static text (`\$default`). A
    path that does not exist counts as an empty text. A message that is not JSON selects nothing.
    """
    unwrapped = _UNWRAPPED.match(expression)
    if unwrapped is None and _WRAPPED.search(expression) is None:
        return expression.removeprefix("\\")
    try:
        body = json.loads(message)
    except (ValueError, RecursionError):  # the latter for arrays in arrays in arrays
        return None
    if unwrapped is not None:
        return _text(_walk(body, unwrapped[1]))
    return _WRAPPED.sub(lambda variable: _text(_walk(body, variable[1])), expression)


def _walk(value: Any, path: str) -> Any:
    """Follow a JSONPath of names and indexes."""
    for step in _STEP.finditer(path):
        if step["index"] is not None:
            index = int(step["index"])
            if not isinstance(value, list) or not -len(value) <= index < len(value):
                return _MISSING
            value = value[index]
        else:
            name = step["name"] if step["quoted"] is None else step["quoted"]
            if not isinstance(value, dict) or name not in value:
                return _MISSING
            value = value[name]
    return value


def _text(value: Any) -> str:
    """Write a value as API Gateway does in a route key: an array as `[item1, item2]`, a missing value as nothing."""
    if value is _MISSING or value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return json.dumps(value)
