"""Reads WebSocket APIs from a template and the stack that was deployed from it.

A value that cannot be worked out harms only what needs it: an integration then answers as a broken one does on AWS, a
stage or a route without a name is left out, and a note says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from samsocket.api import (
    API_KEY_HEADER,
    CONNECT,
    DEFAULT,
    DEFAULT_EXPRESSION,
    INTEGRATION_TIMEOUT,
    ApiKey,
    Authorizer,
    Integration,
    IntegrationResponse,
    Route,
    Throttle,
    WebSocketApi,
)
from samsocket.errors import AmbiguousApiError, NoWebSocketApiError, UnresolvedError

if TYPE_CHECKING:
    from samsocket.template import Resolver, Resource, Stack, Template

_T = TypeVar("_T")

_FUNCTION: Final = re.compile(r"/functions/(?P<function>.+?)/invocations$")
_SAM_API: Final = "AWS::Serverless::WebSocketApi"
_RAW: Final = "AWS::ApiGatewayV2::"
_KINDS: Final = frozenset({"AWS_PROXY", "AWS", "HTTP", "HTTP_PROXY", "MOCK"})
_UNNAMED_STAGE: Final = "default"


def read_apis(template: Template, stack: Stack, resolver: Resolver, *, name: str) -> list[WebSocketApi]:
    """Read all WebSocket APIs that the template describes and the stack deployed; errors call the template `name`.

    Raises:
        NoWebSocketApiError: there is none.
    """
    found = _deployed_apis(template, resolver)
    if not found:
        raise NoWebSocketApiError(name)
    return [_Reader(template, stack, resolver, api).read() for api in found]


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
    return _Reader(template, stack, resolver, found[0]).read()


def _deployed_apis(template: Template, resolver: Resolver) -> list[Resource]:
    return [
        resource
        for resource in template.of_type(_SAM_API, f"{_RAW}Api")
        if (resource.type == _SAM_API or resource.properties.get("ProtocolType") == "WEBSOCKET")
        and resolver.physical_id(resource.logical_id) is not None
    ]


class _Reader:
    """Reads the resources that belong to one API."""

    def __init__(self, template: Template, stack: Stack, resolver: Resolver, api: Resource) -> None:
        self._template, self._stack, self._resolver, self._api = template, stack, resolver, api
        self._api_id = str(resolver.physical_id(api.logical_id))
        self._two_way_routes = self._routes_with_a_response()
        self._notes: list[str] = []

    def read(self) -> WebSocketApi:
        api, properties = self._api, self._api.properties
        stages, throttled = self._raw_stages()
        routes = self._raw_routes()
        if api.type == _SAM_API:
            properties = _merged(self._template.globals.get("WebSocketApi", {}), properties)
            stage = self._attempt(api, lambda: str(self._resolve(properties.get("StageName", "default"))), "default")
            stages[stage] = self._variables(api, properties)
            throttled.append((stage, properties))
            routes.update(self._sam_routes(properties))
        for route in routes.values():
            if route.integration.problem:
                self._notes.append(f"route {route.key}: {route.integration.problem}; it answers with an error")
        return WebSocketApi(
            api_id=self._api_id,
            name=api.logical_id,
            region=self._stack.region,
            account=self._stack.account,
            partition=self._stack.partition,
            selection_expression=self._text(api, properties, "RouteSelectionExpression", DEFAULT_EXPRESSION),
            api_key_selection=self._text(api, properties, "ApiKeySelectionExpression", API_KEY_HEADER),
            stages=stages,
            routes=routes,
            throttles={
                (stage, key): throttle
                for stage, settings in throttled
                for key in routes
                if (throttle := self._throttle(settings, key)) is not None
            },
            api_keys=self._api_keys() if any(route.api_key_required for route in routes.values()) else {},
            notes=tuple(dict.fromkeys(self._notes)),
        )

    # ---- values ------------------------------------------------------------------------------------------------------

    def _resolve(self, value: Any) -> Any:
        return self._resolver.resolve(value)

    def _note(self, resource: Resource, text: str) -> None:
        self._notes.append(f"{resource.logical_id} ({resource.type}): {text}")

    def _attempt(self, resource: Resource, read: Callable[[], _T], otherwise: _T) -> _T:
        """Read a value; `otherwise`, and a note, if it cannot be worked out."""
        try:
            return read()
        except UnresolvedError as error:
            self._note(resource, str(error))
            return otherwise

    def _known(self, resource: Resource, key: str, default: Any = None) -> Any:
        """Return a property's value; `default`, and a note, if it cannot be worked out."""
        return self._attempt(resource, lambda: self._get(resource, key, default), default)

    def _text(self, resource: Resource, properties: Mapping[str, Any], key: str, default: str) -> str:
        return self._attempt(resource, lambda: str(self._resolve(properties.get(key)) or default), default)

    def _get(self, resource: Resource, key: str, default: Any = None) -> Any:
        """Return a property's value; where it cannot be worked out, the value that the emulator shows.

        Raises:
            UnresolvedError: the emulator shows none either.
        """
        try:
            value = self._resolve(resource.properties.get(key))
        except UnresolvedError:
            shown = self._stack.shown.get(self._resolver.physical_id(resource.logical_id) or "", {})
            if key not in shown:
                raise
            value = shown[key]
        return default if value is None else value

    def _deployed(self, kind: str) -> list[Resource]:
        """Return the resources of a kind that belong to the API and whose condition is true."""
        return [
            resource
            for resource in self._template.of_type(_RAW + kind)
            if self._attempt(resource, partial(self._belongs, resource), otherwise=False)
        ]

    def _belongs(self, resource: Resource) -> bool:
        return (
            self._resolver.holds(resource.condition) and self._resolve(resource.properties.get("ApiId")) == self._api_id
        )

    # ---- stages ------------------------------------------------------------------------------------------------------

    def _raw_stages(self) -> tuple[dict[str, Mapping[str, str]], list[tuple[str, Mapping[str, Any]]]]:
        """Return the deployed stages with their variables, and the properties of each."""
        stages: dict[str, Mapping[str, str]] = {}
        throttled = []
        for stage in self._deployed("Stage"):
            name = str(self._known(stage, "StageName", ""))
            if not name:
                continue
            if not self._is_deployed(stage):
                self._note(stage, "neither DeploymentId nor AutoDeploy; nothing is deployed to it, so it answers 403")
                continue
            stages[name] = self._variables(stage, stage.properties)
            throttled.append((name, stage.properties))
        return stages, throttled

    def _is_deployed(self, stage: Resource) -> bool:
        properties = stage.properties
        try:
            if self._resolve(properties.get("DeploymentId")) is not None:
                return True
        except UnresolvedError:  # it names one, which the emulator may not know
            return True
        return _is_true(self._known(stage, "AutoDeploy"))

    def _variables(self, resource: Resource, properties: Mapping[str, Any]) -> dict[str, str]:
        variables = {}
        for name, value in (properties.get("StageVariables") or {}).items():
            found = self._attempt(resource, partial(self._resolve, value), None)
            if found is not None:
                variables[str(name)] = str(found)
        return variables

    def _throttle(self, stage: Mapping[str, Any], route_key: str) -> Throttle | None:
        """Return a stage's limit of one of its routes, if it sets both the rate and the burst."""

        def read() -> Throttle | None:
            settings = dict(self._resolve(stage.get("DefaultRouteSettings")) or {})
            settings |= (self._resolve(stage.get("RouteSettings")) or {}).get(route_key, {})
            return _throttle(settings.get("ThrottlingRateLimit"), settings.get("ThrottlingBurstLimit"))

        return self._attempt(self._api, read, None)

    # ---- routes ------------------------------------------------------------------------------------------------------

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

    def _two_way(self, logical_id: str, expression: Any) -> bool:
        return expression == DEFAULT and logical_id in self._two_way_routes

    def _raw_routes(self) -> dict[str, Route]:
        integrations = {
            self._resolver.reference(resource.logical_id): resource
            for resource in self._template.of_type(f"{_RAW}Integration")
        }
        routes = {}
        for resource in self._deployed("Route"):
            key = str(self._known(resource, "RouteKey", ""))
            if not key:
                continue
            if resource.properties.get("RequestModels"):
                self._note(resource, "RequestModels are not checked")
            routes[key] = self._raw_route(resource, key, integrations)
        return routes

    def _raw_route(self, resource: Resource, key: str, integrations: Mapping[str, Resource]) -> Route:
        try:
            target = str(self._get(resource, "Target", ""))
            found = integrations.get(target.rpartition("/")[2])
            integration = (
                Integration(kind="", problem=f"it has no integration ({target or 'no Target'})")
                if found is None
                else self._integration(found)
            )
        except UnresolvedError as error:
            integration = Integration(kind="", problem=str(error))
        authorization = self._text(resource, resource.properties, "AuthorizationType", "NONE")
        return Route(
            key=key,
            integration=integration,
            two_way=self._two_way(resource.logical_id, self._known(resource, "RouteResponseSelectionExpression")),
            authorization=authorization,
            authorizer=self._raw_authorizer(resource) if authorization == "CUSTOM" else None,
            api_key_required=_is_true(self._known(resource, "ApiKeyRequired")),
        )

    def _integration(self, resource: Resource) -> Integration:
        """Read an integration, and its responses."""
        kind = str(self._get(resource, "IntegrationType", ""))
        uri = str(self._get(resource, "IntegrationUri", ""))
        match = _FUNCTION.search(uri)
        problem = None
        if kind not in _KINDS:
            problem = f"integrations of type {kind or '(none)'} do not exist"
        elif self._get(resource, "ConnectionType") == "VPC_LINK":
            problem = "VPC links are not served"
        elif self._get(resource, "ContentHandlingStrategy") == "CONVERT_TO_BINARY":
            self._note(resource, "CONVERT_TO_BINARY is not served; text stays text")
        elif kind == "AWS_PROXY" and match is None:
            problem = f"{uri or 'no IntegrationUri'} is no Lambda function"
        if kind == "AWS" and match is None and "CredentialsArn" not in resource.properties:
            self._note(resource, "AWS refuses to call a service without CredentialsArn")
        return Integration(
            kind=kind,
            function=match["function"] if match else None,
            uri="" if match or kind == "MOCK" else uri,
            method=str(self._get(resource, "IntegrationMethod", "POST")),
            timeout=_seconds(self._get(resource, "TimeoutInMillis")),
            templates=_texts(self._get(resource, "RequestTemplates")),
            selection=self._get(resource, "TemplateSelectionExpression"),
            passthrough=str(self._get(resource, "PassthroughBehavior", "WHEN_NO_MATCH")),
            parameters=_texts(self._get(resource, "RequestParameters")),
            responses=self._responses(resource),
            has_credentials="CredentialsArn" in resource.properties,
            problem=problem,
        )

    def _responses(self, integration: Resource) -> dict[str, IntegrationResponse]:
        """Return an integration's responses by key, whatever their conditions: emulators do not deploy them."""
        own = self._resolver.reference(integration.logical_id)
        responses = {}
        for resource in self._template.of_type(f"{_RAW}IntegrationResponse"):
            if self._get(resource, "IntegrationId") == own:
                responses[str(self._get(resource, "IntegrationResponseKey", DEFAULT))] = IntegrationResponse(
                    templates=_texts(self._get(resource, "ResponseTemplates")),
                    selection=self._get(resource, "TemplateSelectionExpression"),
                )
        return responses

    def _raw_authorizer(self, route: Resource) -> Authorizer:
        try:
            wanted = self._get(route, "AuthorizerId")
            for resource in self._template.of_type(f"{_RAW}Authorizer"):
                if self._resolver.reference(resource.logical_id) == wanted:
                    return self._authorizer(
                        self._get(resource, "AuthorizerUri", ""),
                        self._get(resource, "IdentitySource"),
                        authorizer_id=self._resolver.physical_id(resource.logical_id) or "",
                        has_credentials="AuthorizerCredentialsArn" in resource.properties,
                    )
            self._note(route, f"there is no authorizer {wanted}; it lets nobody in")
        except UnresolvedError as error:
            self._note(route, f"{error}; its authorizer lets nobody in")
        return Authorizer(function="")

    @staticmethod
    def _authorizer(
        uri: Any, identity_sources: Any, *, authorizer_id: str = "", has_credentials: bool = False
    ) -> Authorizer:
        text = str(uri)
        match = _FUNCTION.search(text)
        sources = identity_sources or []
        return Authorizer(
            function=match["function"] if match else text,
            identity_sources=tuple(sources if isinstance(sources, list) else str(sources).split(",")),
            authorizer_id=authorizer_id,
            has_credentials=has_credentials,
        )

    def _sam_routes(self, properties: Mapping[str, Any]) -> dict[str, Route]:
        """Routes of AWS::Serverless::WebSocketApi, under the logical ids that SAM gives them."""
        auth = properties.get("Auth") or {}
        routes = {}
        for key, route in (properties.get("Routes") or {}).items():
            logical_id = f"{self._api.logical_id}{key.removeprefix('$').capitalize()}Route"
            guarded = key == CONNECT and "AuthType" in auth
            authorizer = None
            if guarded and "AuthArn" in auth:
                authorizer = self._attempt(
                    self._api,
                    lambda: self._authorizer(self._resolve(auth["AuthArn"]), self._resolve(auth.get("IdentitySource"))),
                    Authorizer(function=""),
                )
            routes[key] = Route(
                key=key,
                integration=self._sam_integration(route),
                two_way=self._two_way(logical_id, route.get("RouteResponseSelectionExpression")),
                authorization=self._text(self._api, auth, "AuthType", "NONE") if guarded else "NONE",
                authorizer=authorizer,
                api_key_required=_is_true(route.get("ApiKeyRequired")),
            )
        return routes

    def _sam_integration(self, route: Mapping[str, Any]) -> Integration:
        try:
            return Integration(
                function=str(self._resolve(route["FunctionArn"])),
                timeout=_seconds(self._resolve(route.get("IntegrationTimeout"))),
            )
        except UnresolvedError as error:
            return Integration(problem=str(error))

    # ---- API keys ----------------------------------------------------------------------------------------------------

    def _api_keys(self) -> dict[str, ApiKey]:
        """Return the API keys that the template's usage plans let into stages of this API, by value."""
        plans: dict[str, tuple[frozenset[str], Throttle | None]] = {}
        for plan in self._template.of_type("AWS::ApiGateway::UsagePlan"):
            stages = self._attempt(plan, partial(self._stages_of, plan), frozenset[str]())
            limit = self._known(plan, "Throttle", {})
            plans[self._resolver.reference(plan.logical_id)] = (
                stages,
                _throttle(limit.get("RateLimit"), limit.get("BurstLimit")),
            )
            if "Quota" in plan.properties:
                self._note(plan, "its Quota is not counted")
        keys = {}
        for link in self._template.of_type("AWS::ApiGateway::UsagePlanKey"):
            key_id = str(self._known(link, "KeyId", ""))
            plan_id = str(self._known(link, "UsagePlanId", ""))
            value = self._key_value(key_id)
            if value is not None and plan_id in plans:
                stages, throttle = plans[plan_id]
                keys[value] = ApiKey(key_id=key_id, stages=stages, throttle=throttle)
        return keys

    def _stages_of(self, plan: Resource) -> frozenset[str]:
        return frozenset(
            str(stage.get("Stage")) for stage in self._get(plan, "ApiStages", []) if stage.get("ApiId") == self._api_id
        )

    def _key_value(self, key_id: str) -> str | None:
        """Return the value of an enabled key: the template's, or else the one that the emulator made."""
        for resource in self._template.of_type("AWS::ApiGateway::ApiKey"):
            if self._resolver.reference(resource.logical_id) == key_id:
                if not _is_true(self._known(resource, "Enabled", default=True)):
                    return None
                value = self._known(resource, "Value")
                return str(value) if value else self._stack.key_values.get(key_id)
        return None


def _merged(globals_: Any, own: Any) -> Any:
    """Merge a section of Globals into a resource's properties, as SAM does: maps and lists are joined."""
    if isinstance(globals_, Mapping) and isinstance(own, Mapping):
        return {**globals_, **{key: _merged(globals_[key], own[key]) if key in globals_ else own[key] for key in own}}
    if isinstance(globals_, list) and isinstance(own, list):
        return [*globals_, *own]
    return own


def _texts(value: Any) -> dict[str, str]:
    return {str(key): str(text) for key, text in (value or {}).items()}


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"


def _throttle(rate: Any, burst: Any) -> Throttle | None:
    return None if rate is None or burst is None else Throttle(rate=float(rate), burst=float(burst))


def _seconds(milliseconds: Any) -> float:
    return INTEGRATION_TIMEOUT if milliseconds is None else min(float(milliseconds) / 1000, INTEGRATION_TIMEOUT)
