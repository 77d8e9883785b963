"""What a route's integration is asked, and what templates, parameters and selection expressions may name of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from samsocket.selection import as_text, select, walk

if TYPE_CHECKING:
    from samsocket.api import Integration
    from samsocket.events import Handshake

_PARAMETER: Final = re.compile(r"integration\.request\.(header|querystring|path)\.(.+)")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a route's integration is asked: the event that a proxy gets, and what templates and parameters may name.

    `parameters` are the handshake's, by place (`header`, `querystring`) and name; on `$connect` alone there are any.
    """

    event: Mapping[str, Any]
    stage_variables: Mapping[str, str]
    parameters: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, event: Mapping[str, Any], handshake: Handshake) -> Request:
        """Take an event and the handshake of its connection."""
        return cls(
            event=event,
            stage_variables=handshake.stage_variables,
            parameters={
                "header": event.get("headers", {}),
                "querystring": event.get("queryStringParameters", {}),
            },
        )

    @property
    def body(self) -> str:
        """Return the client's message; empty for a handshake and an end."""
        body: str = self.event.get("body", "")
        return body

    @property
    def context(self) -> Mapping[str, Any]:
        """Return `$context`."""
        context: Mapping[str, Any] = self.event["requestContext"]
        return context

    @property
    def scope(self) -> dict[str, Any]:
        """Return what a selection expression may name beside the message."""
        return {
            "context": self.context,
            "stageVariables": self.stage_variables,
            "request.header": {name.lower(): value for name, value in self.parameters["header"].items()},
            "request.querystring": self.parameters["querystring"],
        }


def mapped_parameters(
    integration: Integration, request: Request
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Return the headers, the query and the path's parts that RequestParameters add to the request."""
    places: dict[str, dict[str, str]] = {"header": {}, "querystring": {}, "path": {}}
    for name, source in integration.parameters.items():
        if (match := _PARAMETER.fullmatch(name)) is not None:
            places[match[1]][match[2]] = _value(source, request)
    return places["header"], places["querystring"], places["path"]


def _value(source: str, request: Request) -> str:
    """Return the value that a request parameter is mapped from: a text in quotes, or a variable's value."""
    if len(source) > 1 and source[0] == source[-1] == "'":
        return source[1:-1]
    place, _, rest = source.removeprefix("$").removeprefix("route.").partition(".")
    if place == "request" and rest == "body":
        return request.body
    if place == "request" and rest.startswith("body."):
        return select(f"$request.{rest}", request.body) or ""
    if place == "request":
        kind, _, name = rest.partition(".")
        name = name.lower() if kind == "header" else name
        return as_text(request.scope.get(f"request.{kind}", {}).get(name))
    return as_text(walk(request.scope.get(place, {}), rest))


def passed_on(request: Request) -> dict[str, str]:
    """Return the client's headers that a proxy gets: without those of the handshake itself."""
    return {
        name: value
        for name, value in request.parameters["header"].items()
        if not name.lower().startswith("sec-websocket-") and name.lower() not in ("host", "content-length")
    }
