"""Mapping templates: what a request or an answer becomes on its way, written in the Velocity Template Language.

Sources: docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-mapping-template-reference.html
for the variables, and …/websocket-api-data-transformations.html.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote_plus, unquote_plus

import airspeed
import jsonpath_ng.ext.parser
from jsonpath_ng.exceptions import JSONPathError

from samsocket.errors import TemplateFailedError
from samsocket.selection import select

CATCH_ALL: Final = "$default"
_WITHOUT_AN_EXPRESSION: Final = "application/json"
_PLACES: Final = ("path", "querystring", "header")


def choose(templates: Mapping[str, str], expression: str | None, message: str, scope: Mapping[str, Any]) -> str | None:
    """Return the template whose key a selection expression yields, or else that of `$default`; None without one.

    Without an expression, the template of `application/json` counts, as in samples of AWS.
    """
    key = _WITHOUT_AN_EXPRESSION if expression is None else select(expression, message, scope)
    if key is not None and key in templates:
        return templates[key]
    return templates.get(CATCH_ALL)


def render(
    template: str,
    *,
    body: str,
    context: Mapping[str, Any],
    stage_variables: Mapping[str, str],
    parameters: Mapping[str, Mapping[str, str]],
) -> str:
    """Write out a template.

    `body` is `$input.body`, and `parameters` are what `$input.params()` yields: `header` and `querystring`, by name.

    Raises:
        TemplateFailedError: the template is wrong, or what it does fails.
    """
    namespace = {
        "input": _Input(body, parameters),
        "context": _as_in_java(dict(context)),
        "stageVariables": dict(stage_variables),
        "util": _Util(),
    }
    try:
        rendered: str = _parsed(template).merge(namespace)
    except Exception as error:  # whatever a template of the user's does wrong is its fault
        raise TemplateFailedError(f"{type(error).__name__}: {error}") from error
    return rendered


@lru_cache(maxsize=256)
def _parsed(template: str) -> Any:
    return airspeed.Template(template)


class _Input:
    """`$input`."""

    def __init__(self, body: str, parameters: Mapping[str, Mapping[str, str]]) -> None:
        self.body = body
        self._parameters = parameters

    def path(self, expression: str) -> Any:
        """Return the value at a JSONPath; an empty text where there is none."""
        found = self._at(expression)
        return "" if found is None else _as_in_java(found)

    def json(self, expression: str) -> str:
        """Return the value at a JSONPath as JSON; an empty text in quotes where there is none."""
        found = self._at(expression)
        return json.dumps("" if found is None else found, ensure_ascii=False, separators=(",", ":"))

    def params(self, name: str | None = None) -> Any:
        """Return all parameters by their place, or the value of one of them."""
        if name is None:
            return _as_in_java({place: dict(self._parameters.get(place, {})) for place in _PLACES})
        for place in _PLACES:
            for key, value in self._parameters.get(place, {}).items():
                if key == name or (place == "header" and key.lower() == name.lower()):
                    return value
        return ""

    def _at(self, expression: str) -> Any:
        try:
            document = json.loads(self.body)
        except ValueError:
            return self.body if expression == "$" and self.body else None
        found = [match.value for match in _path(expression).find(document)]
        return found[0] if len(found) == 1 else found or None


class _Map(dict[str, Any]):
    """A map, which Java writes out as `{a=1, b=true}`; API Gateway evaluates templates in Java."""

    def __str__(self) -> str:
        """Return what a template shows of it."""
        return "{" + ", ".join(f"{name}={_shown(value)}" for name, value in self.items()) + "}"

    # airspeed knows Java's methods of dict and list alone, not of classes made from them.

    def size(self) -> int:
        """Count the entries."""
        return len(self)

    def isEmpty(self) -> bool:  # noqa: N802
        """Return whether there are none."""
        return not self

    def containsKey(self, name: Any) -> bool:  # noqa: N802
        """Return whether there is an entry of a name."""
        return name in self

    def keySet(self) -> _List:  # noqa: N802
        """Return the names."""
        return _List(self)

    def put(self, name: Any, value: Any) -> Any:
        """Set an entry, and return what it was."""
        before = self.get(name)
        self[name] = value
        return before

    def putAll(self, others: Mapping[str, Any]) -> None:  # noqa: N802
        """Set several entries."""
        self.update(others)

    def toString(self) -> str:  # noqa: N802
        """Return what a template shows of it."""
        return str(self)


class _List(list[Any]):
    """A list, which the library of AWS for JSON writes out as JSON."""

    def __str__(self) -> str:
        """Return what a template shows of it."""
        return json.dumps(self, ensure_ascii=False, separators=(",", ":"))

    def size(self) -> int:
        """Count the items."""
        return len(self)

    def isEmpty(self) -> bool:  # noqa: N802
        """Return whether there are none."""
        return not self

    def get(self, index: int) -> Any:
        """Return an item."""
        return self[index]

    def contains(self, value: Any) -> bool:
        """Return whether an item is in it."""
        return value in self

    def add(self, value: Any) -> bool:
        """Add an item at its end."""
        self.append(value)
        return True

    def set(self, index: int, value: Any) -> Any:
        """Replace an item, and return what it was."""
        before = self[index]
        self[index] = value
        return before


def _as_in_java(value: Any) -> Any:
    """Return a value of JSON whose maps and lists are shown as on AWS."""
    if isinstance(value, Mapping):
        return _Map({str(name): _as_in_java(item) for name, item in value.items()})
    return _List(map(_as_in_java, value)) if isinstance(value, list) else value


def _shown(value: Any) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


@lru_cache(maxsize=256)
def _path(expression: str) -> Any:
    try:
        return jsonpath_ng.ext.parser.parse(expression)
    except (JSONPathError, ValueError) as error:
        raise ValueError(f"{expression} is no JSONPath") from error


class _Util:
    """`$util`, with the names that AWS gives its functions."""

    @staticmethod
    def escapeJavaScript(value: Any) -> str:  # noqa: N802
        """Escape a text as in a JavaScript literal, where `\'` stands for a single quote, which no JSON allows."""
        return json.dumps(str(value))[1:-1].replace("'", "\\'").replace("/", "\\/")

    @staticmethod
    def parseJson(text: str) -> Any:  # noqa: N802
        """Return the value that a JSON text stands for."""
        return _as_in_java(json.loads(text))

    @staticmethod
    def urlEncode(value: Any) -> str:  # noqa: N802
        """Encode a text for a form."""
        return quote_plus(str(value))

    @staticmethod
    def urlDecode(value: Any) -> str:  # noqa: N802
        """Decode a text of a form."""
        return unquote_plus(str(value))

    @staticmethod
    def base64Encode(value: Any) -> str:  # noqa: N802
        """Encode a text as base64."""
        return base64.b64encode(str(value).encode()).decode()

    @staticmethod
    def base64Decode(value: Any) -> str:  # noqa: N802
        """Decode a text of base64."""
        return base64.b64decode(str(value)).decode(errors="replace")
