"""Selection expressions: which route a client's message takes, and which template it is turned into.

Sources: docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-develop-routes.html (the test uses its table
of examples) and …/apigateway-websocket-api-selection-expressions.html.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_PLACES: Final = r"(?:request\.(?:body|header|querystring)|context|stageVariables)"
_WRAPPED: Final = re.compile(rf"\$\{{({_PLACES})\.([^}}]+)\}}")
_UNWRAPPED: Final = re.compile(rf"^\$({_PLACES})\.(.+)$")
_STEP: Final = re.compile(r"\.?(?P<name>[^.\[\]]+)|\[(?P<index>-?\d+)\]|\['(?P<quoted>[^']*)'\]")
_BODY: Final = "request.body"

MISSING: Final = object()


def select(expression: str, message: str, scope: Mapping[str, Any] | None = None) -> str | None:
    r"""Return the key that a message selects, or None where the expression cannot be evaluated against it.

    `expression` is `$request.body.{path}`, text with `${request.body.{path}}` in it, or static text (`\$default`). A
    path that does not exist counts as an empty text. A message that is not JSON selects nothing. `scope` holds the
    other places that a variable may name: `request.header`, `request.querystring`, `context` and `stageVariables`.
    """
    unwrapped = _UNWRAPPED.match(expression)
    variables = [unwrapped] if unwrapped is not None else list(_WRAPPED.finditer(expression))
    if not variables:
        return expression.removeprefix("\\")
    places = dict(scope or {})
    if any(variable[1] == _BODY for variable in variables):
        try:
            places[_BODY] = json.loads(message)
        except (ValueError, RecursionError):  # the latter for arrays in arrays in arrays
            return None
    if unwrapped is not None:
        return as_text(walk(places.get(unwrapped[1], MISSING), unwrapped[2]))
    return _WRAPPED.sub(lambda variable: as_text(walk(places.get(variable[1], MISSING), variable[2])), expression)


def walk(value: Any, path: str) -> Any:
    """Follow a JSONPath of names and indexes; `MISSING` if it leads nowhere."""
    for step in _STEP.finditer(path):
        if step["index"] is not None:
            index = int(step["index"])
            if not isinstance(value, list) or not -len(value) <= index < len(value):
                return MISSING
            value = value[index]
        else:
            name = step["name"] if step["quoted"] is None else step["quoted"]
            if not isinstance(value, Mapping) or name not in value:
                return MISSING
            value = value[name]
    return value


def as_text(value: Any) -> str:
    """Write a value as API Gateway does in a route key: an array as `[item1, item2]`, a missing value as nothing."""
    if value is MISSING or value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{', '.join(map(as_text, value))}]"
    return json.dumps(value)
