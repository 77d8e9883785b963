"""Reads WebSocket APIs from a template and the stack that was deployed from it.

A value that cannot be worked out harms only what needs it: an integration then answers as a broken one does on AWS, a
stage or a route without a name is left out, and a note says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from samsocket.api import API_KEY_HEADER, DEFAULT_EXPRESSION, WebSocketApi
from samsocket.errors import AmbiguousApiError, NoWebSocketApiError
from samsocket.reading.api_keys import api_keys
from samsocket.reading.routes import Routes
from samsocket.reading.stages import raw_stages, throttle_of, variables
from samsocket.reading.values import RAW, Values

if TYPE_CHECKING:
    from samsocket.resolver import Resolver
    from samsocket.template import Resource, Stack, Template

_SAM_API: Final = "AWS::Serverless::WebSocketApi"
_UNNAMED_STAGE: Final = "default"


def read_apis(template: Template, stack: Stack, resolver: Resolver, *, name: str) -> list[WebSocketApi]:
    """Read all WebSocket APIs that the template describes and the stack deployed; errors call the template `name`.

    Raises:
        NoWebSocketApiError: there is none.
    """
    found = _deployed_apis(template, resolver)
    if not found:
        raise NoWebSocketApiError(name)
    return [_read(Values(template, stack, resolver, api)) for api in found]


def read_api(
    template: Template, stack: Stack, resolver: Resolver, *, name: str, logical_id: str | None
) -> WebSocketApi:
    """Read one WebSocket API. `logical_id` selects one of several.

    Raises:
        NoWebSocketApiError: there is none.
        AmbiguousApiError: there are several, and no `logical_id` selects one.
    """
    found = [api for api in _deployed_apis(template, resolver) if logical_id in (None, api.logical_id)]
    if not found:
        raise NoWebSocketApiError(name, logical_id)
    if len(found) > 1:
        raise AmbiguousApiError(api.logical_id for api in found)
    return _read(Values(template, stack, resolver, found[0]))


def _deployed_apis(template: Template, resolver: Resolver) -> list[Resource]:
    return [
        resource
        for resource in template.of_type(_SAM_API, f"{RAW}Api")
        if (resource.type == _SAM_API or resource.properties.get("ProtocolType") == "WEBSOCKET")
        and resolver.physical_id(resource.logical_id) is not None
    ]


def _read(values: Values) -> WebSocketApi:
    """Read one API and the resources that belong to it."""
    api, properties = values.api, values.api.properties
    reader = Routes(values)
    stages, throttled = raw_stages(values)
    routes = reader.raw()
    if api.type == _SAM_API:
        properties = _merged(values.template.globals.get("WebSocketApi", {}), properties)
        stage = values.text(api, properties, "StageName", _UNNAMED_STAGE)
        stages[stage] = variables(values, api, properties)
        throttled.append((stage, properties))
        routes.update(reader.of_sam(properties))
    for route in routes.values():
        if route.integration.problem:
            values.notes.append(f"route {route.key}: {route.integration.problem}; it answers with an error")
    return WebSocketApi(
        api_id=values.api_id,
        name=api.logical_id,
        region=values.stack.region,
        account=values.stack.account,
        partition=values.stack.partition,
        selection_expression=values.text(api, properties, "RouteSelectionExpression", DEFAULT_EXPRESSION),
        api_key_selection=values.text(api, properties, "ApiKeySelectionExpression", API_KEY_HEADER),
        stages=stages,
        routes=routes,
        throttles={
            (stage, key): throttle
            for stage, settings in throttled
            for key in routes
            if (throttle := throttle_of(values, settings, key)) is not None
        },
        api_keys=api_keys(values) if any(route.api_key_required for route in routes.values()) else {},
        notes=tuple(dict.fromkeys(values.notes)),
    )


def _merged(globals_: Any, own: Any) -> Any:
    """Merge a section of Globals into a resource's properties, as SAM does: maps and lists are joined."""
    if isinstance(globals_, Mapping) and isinstance(own, Mapping):
        return {**globals_, **{key: _merged(globals_[key], own[key]) if key in globals_ else own[key] for key in own}}
    if isinstance(globals_, list) and isinstance(own, list):
        return [*globals_, *own]
    return own
