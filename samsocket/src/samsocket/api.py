"""One deployed WebSocket API, as the data plane sees it: stages, routes, and what each route invokes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from samsocket.errors import AmbiguousApiError, NoWebSocketApiError, UnresolvedError
from samsocket.selection import select

if TYPE_CHECKING:
    from samsocket.template import Resolver, Resource, Stack, Template

CONNECT: Final = "$connect"
DISCONNECT: Final = "$disconnect"
DEFAULT: Final = "$default"
INTEGRATION_TIMEOUT: Final = 29.0
"""Seconds; the most and the default. Source: the quotas for WebSocket APIs."""

_DEFAULT_EXPRESSION: Final = "$request.body.action"
_FUNCTION: Final = re.compile(r"/functions/(?P<function>.+?)/invocations$")
_SAM_API: Final = "AWS::Serverless::WebSocketApi"
_RAW: Final = "AWS::ApiGatewayV2::"


@dataclass(frozen=True, kw_only=True)
class Integration:
    """What a route invokes: a Lambda function's name or ARN, or None for another kind of backend.

    `timeout` is in seconds.
    """

    kind: str = "AWS_PROXY"
    function: str | None = None
    timeout: float = INTEGRATION_TIMEOUT


@dataclass(frozen=True, kw_only=True)
class Authorizer:
    """A Lambda REQUEST authorizer of the `$connect` route."""

    function: str
    identity_sources: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Route:
    """A route. If it is `two_way`, the client gets what the function returns."""

    key: str
    integration: Integration
    two_way: bool = False
    authorization: str = "NONE"
    authorizer: Authorizer | None = None


@dataclass(frozen=True, kw_only=True)
class Throttle:
    """A route's own limit in a stage: `rate` in requests a second, `burst` in requests."""

    rate: float
    burst: float


@dataclass(frozen=True, kw_only=True)
class WebSocketApi:
    """A WebSocket API: `stages` maps each stage's name to its variables, `routes` each route key to its route.

    `throttles` are by stage and route key.
    """

    api_id: str
    region: str
    account: str
    partition: str = "aws"
    selection_expression: str = _DEFAULT_EXPRESSION
    stages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    routes: Mapping[str, Route] = field(default_factory=dict)
    throttles: Mapping[tuple[str, str], Throttle] = field(default_factory=dict)

    def route_for(self, message: str) -> Route | None:
        """The route of a client's message; None if nothing matches and there is no `$default`.

        A message never reaches `$connect` or `$disconnect`.
        """
        key = select(self.selection_expression, message)
        if key is not None and key not in (CONNECT, DISCONNECT) and (route := self.routes.get(key)):
            return route
        return self.routes.get(DEFAULT)

    def arn(self, stage: str, suffix: str) -> str:
        """Return the ARN under which a policy names a stage's route."""
        return f"arn:{self.partition}:execute-api:{self.region}:{self.account}:{self.api_id}/{stage}/{suffix}"


def read_api(
    template: Template, stack: Stack, resolver: Resolver, *, name: str, logical_id: str | None
) -> WebSocketApi:
    """Read the WebSocket API that the template describes and the stack deployed.

    `logical_id` selects one of several APIs; error messages call the template `name`.

    Raises:
        NoWebSocketApiError: there is none.
        AmbiguousApiError: there are several, and no `logical_id` selects one.
        UnresolvedError: a value cannot be worked out.
    """
    candidates = [
        resource
        for resource in template.of_type(_SAM_API, f"{_RAW}Api")
        if (resource.type == _SAM_API or resource.properties.get("ProtocolType") == "WEBSOCKET")
        and (logical_id is None or resource.logical_id == logical_id)
        and resolver.physical_id(resource.logical_id) is not None
    ]
    if not candidates:
        raise NoWebSocketApiError(name, logical_id)
    if len(candidates) > 1:
        raise AmbiguousApiError(resource.logical_id for resource in candidates)
    return _Reader(template, stack, resolver, candidates[0]).read()


class _Reader:
    """Reads the resources that belong to one API."""

    def __init__(self, template: Template, stack: Stack, resolver: Resolver, api: Resource) -> None:
        self._template, self._stack, self._resolver, self._api = template, stack, resolver, api
        self._api_id = str(resolver.physical_id(api.logical_id))
        self._two_way_routes = self._routes_with_a_response()

    def read(self) -> WebSocketApi:
        properties = self._api.properties
        stages, routes = self._raw_stages(), self._raw_routes()
        if self._api.type == _SAM_API:
            properties = {**self._template.globals.get("WebSocketApi", {}), **properties}
            stages[str(self._resolve(properties.get("StageName", "default")))] = self._variables(properties)
            routes.update(self._sam_routes(properties))
        throttled = [stage.properties for stage in self._deployed("Stage")]
        if self._api.type == _SAM_API:
            throttled.append(properties)
        return WebSocketApi(
            api_id=self._api_id,
            region=self._stack.region,
            account=self._stack.account,
            partition=self._stack.partition,
            selection_expression=self._resolve(properties.get("RouteSelectionExpression", _DEFAULT_EXPRESSION)),
            stages=stages,
            routes=routes,
            throttles={
                (str(self._resolve(stage.get("StageName", "default"))), key): throttle
                for stage in throttled
                for key in routes
                if (throttle := self._throttle(stage, key)) is not None
            },
        )

    def _throttle(self, stage: Mapping[str, Any], route_key: str) -> Throttle | None:
        """Return a stage's limit of one of its routes, if it sets both the rate and the burst."""
        settings = dict(self._resolve(stage.get("DefaultRouteSettings")) or {})
        settings |= (self._resolve(stage.get("RouteSettings")) or {}).get(route_key, {})
        rate, burst = settings.get("ThrottlingRateLimit"), settings.get("ThrottlingBurstLimit")
        return None if rate is None or burst is None else Throttle(rate=float(rate), burst=float(burst))

    def _resolve(self, value: Any) -> Any:
        return self._resolver.resolve(value)

    def _deployed(self, kind: str) -> list[Resource]:
        """Return the resources of a kind that belong to the API and whose condition is true."""
        return [
            resource
            for resource in self._template.of_type(_RAW + kind)
            if self._resolver.holds(resource.condition)
            and self._resolve(resource.properties.get("ApiId")) == self._api_id
        ]

    def _variables(self, properties: Mapping[str, Any]) -> dict[str, str]:
        return {key: str(value) for key, value in self._resolve(properties.get("StageVariables") or {}).items()}

    def _raw_stages(self) -> dict[str, Mapping[str, str]]:
        return {
            str(self._resolve(stage.properties["StageName"])): self._variables(stage.properties)
            for stage in self._deployed("Stage")
        }

    def _routes_with_a_response(self) -> set[str]:
        """Return the logical ids of the routes that have a `$default` route response.

        It ignores their conditions: for an emulator that cannot deploy route responses, a false condition hides them.
        """
        found = set()
        for response in self._template.of_type(f"{_RAW}RouteResponse"):
            route = response.properties.get("RouteId")
            if isinstance(route, Mapping) and response.properties.get("RouteResponseKey") == DEFAULT:
                found.add(str(route.get("Ref")))
        return found

    def _two_way(self, logical_id: str, properties: Mapping[str, Any]) -> bool:
        selected = self._resolve(properties.get("RouteResponseSelectionExpression")) == DEFAULT
        return selected and logical_id in self._two_way_routes

    def _raw_routes(self) -> dict[str, Route]:
        integrations = {
            self._resolver.physical_id(integration.logical_id): self._integration(integration.properties)
            for integration in self._deployed("Integration")
        }
        routes = {}
        for route in self._deployed("Route"):
            properties = route.properties
            key = str(self._resolve(properties["RouteKey"]))
            target = str(self._resolve(properties.get("Target", "")))
            integration = integrations.get(target.rpartition("/")[2])
            if integration is None:
                raise UnresolvedError(f"the integration of route {key} ({target or 'no Target'})")
            routes[key] = Route(
                key=key,
                integration=integration,
                two_way=self._two_way(route.logical_id, properties),
                authorization=str(self._resolve(properties.get("AuthorizationType", "NONE"))),
                authorizer=self._raw_authorizer(properties.get("AuthorizerId")),
            )
        return routes

    def _integration(self, properties: Mapping[str, Any]) -> Integration:
        kind = str(self._resolve(properties.get("IntegrationType", "")))
        match = _FUNCTION.search(str(self._resolve(properties.get("IntegrationUri", ""))))
        return Integration(
            kind=kind,
            function=match["function"] if match else None,
            timeout=_seconds(self._resolve(properties.get("TimeoutInMillis"))),
        )

    def _raw_authorizer(self, authorizer_id: Any) -> Authorizer | None:
        if authorizer_id is None:
            return None
        wanted = self._resolve(authorizer_id)
        for resource in self._deployed("Authorizer"):
            if self._resolver.physical_id(resource.logical_id) == wanted:
                properties = resource.properties
                return self._authorizer(properties.get("AuthorizerUri"), properties.get("IdentitySource"))
        raise UnresolvedError(f"AuthorizerId {wanted}")

    def _authorizer(self, uri: Any, identity_sources: Any) -> Authorizer:
        text = str(self._resolve(uri))
        match = _FUNCTION.search(text)
        sources = self._resolve(identity_sources or [])
        return Authorizer(
            function=match["function"] if match else text,
            identity_sources=tuple(sources if isinstance(sources, list) else str(sources).split(",")),
        )

    def _sam_routes(self, properties: Mapping[str, Any]) -> dict[str, Route]:
        """Routes of AWS::Serverless::WebSocketApi, under the logical ids that SAM gives them."""
        auth = properties.get("Auth") or {}
        routes = {}
        for key, route in properties.get("Routes", {}).items():
            logical_id = f"{self._api.logical_id}{key.removeprefix('$').capitalize()}Route"
            guarded = key == CONNECT and "AuthType" in auth
            routes[key] = Route(
                key=key,
                integration=Integration(
                    function=str(self._resolve(route["FunctionArn"])),
                    timeout=_seconds(self._resolve(route.get("IntegrationTimeout"))),
                ),
                two_way=self._two_way(logical_id, route),
                authorization=str(self._resolve(auth["AuthType"])) if guarded else "NONE",
                authorizer=(
                    self._authorizer(auth["AuthArn"], auth.get("IdentitySource"))
                    if guarded and "AuthArn" in auth
                    else None
                ),
            )
        return routes


def _seconds(milliseconds: Any) -> float:
    return INTEGRATION_TIMEOUT if milliseconds is None else min(float(milliseconds) / 1000, INTEGRATION_TIMEOUT)
