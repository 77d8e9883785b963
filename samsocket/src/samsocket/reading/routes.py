"""The routes of an API: of `AWS::ApiGatewayV2::Route`, and of `AWS::Serverless::WebSocketApi`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from samsocket.api import CONNECT, DEFAULT, Authorizer, Integration, Route
from samsocket.errors import UnresolvedError
from samsocket.reading.integrations import FUNCTION, raw_integration, sam_integration
from samsocket.reading.values import RAW, is_true

if TYPE_CHECKING:
    from samsocket.reading.values import Values
    from samsocket.template import Resource


class Routes:
    """Reads the routes of one API."""

    def __init__(self, values: Values) -> None:
        """Take the values of the API's resources."""
        self._values = values
        self._with_a_response = self._routes_with_a_response()

    def _routes_with_a_response(self) -> set[str]:
        """Return the logical ids of the routes that have a `$default` route response.

        It ignores their conditions: for an emulator that cannot deploy route responses, a false condition hides them.
        """
        found = set()
        for response in self._values.template.of_type(f"{RAW}RouteResponse"):
            route = response.properties.get("RouteId")
            if isinstance(route, Mapping) and response.properties.get("RouteResponseKey") == DEFAULT:
                found.add(str(route.get("Ref")))
        return found

    def _two_way(self, logical_id: str, expression: Any) -> bool:
        return expression == DEFAULT and logical_id in self._with_a_response

    # ---- AWS::ApiGatewayV2::Route ------------------------------------------------------------------------------------

    def raw(self) -> dict[str, Route]:
        """Return the routes that are resources of their own, by key."""
        values = self._values
        integrations = {
            values.resolver.reference(resource.logical_id): resource
            for resource in values.template.of_type(f"{RAW}Integration")
        }
        routes = {}
        for resource in values.deployed("Route"):
            key = str(values.known(resource, "RouteKey", ""))
            if not key:
                continue
            if resource.properties.get("RequestModels"):
                values.note(resource, "RequestModels are not checked")
            routes[key] = self._raw_route(resource, key, integrations)
        return routes

    def _raw_route(self, resource: Resource, key: str, integrations: Mapping[str, Resource]) -> Route:
        values = self._values
        try:
            target = str(values.get(resource, "Target", ""))
            found = integrations.get(target.rpartition("/")[2])
            integration = (
                Integration(kind="", problem=f"it has no integration ({target or 'no Target'})")
                if found is None
                else raw_integration(values, found)
            )
        except UnresolvedError as error:
            integration = Integration(kind="", problem=str(error))
        authorization = values.text(resource, resource.properties, "AuthorizationType", "NONE")
        return Route(
            key=key,
            integration=integration,
            two_way=self._two_way(resource.logical_id, values.known(resource, "RouteResponseSelectionExpression")),
            authorization=authorization,
            authorizer=self._raw_authorizer(resource) if authorization == "CUSTOM" else None,
            api_key_required=is_true(values.known(resource, "ApiKeyRequired")),
        )

    def _raw_authorizer(self, route: Resource) -> Authorizer:
        values = self._values
        try:
            wanted = values.get(route, "AuthorizerId")
            for resource in values.template.of_type(f"{RAW}Authorizer"):
                if values.resolver.reference(resource.logical_id) == wanted:
                    return _authorizer(
                        values.get(resource, "AuthorizerUri", ""),
                        values.get(resource, "IdentitySource"),
                        authorizer_id=values.resolver.physical_id(resource.logical_id) or "",
                        has_credentials="AuthorizerCredentialsArn" in resource.properties,
                    )
            values.note(route, f"there is no authorizer {wanted}; it lets nobody in")
        except UnresolvedError as error:
            values.note(route, f"{error}; its authorizer lets nobody in")
        return Authorizer(function="")

    # ---- AWS::Serverless::WebSocketApi -------------------------------------------------------------------------------

    def of_sam(self, properties: Mapping[str, Any]) -> dict[str, Route]:
        """Return the routes in a SAM API's properties, by key, under the logical ids that SAM gives them."""
        values = self._values
        auth = properties.get("Auth") or {}
        routes = {}
        for key, route in (properties.get("Routes") or {}).items():
            logical_id = f"{values.api.logical_id}{key.removeprefix('$').capitalize()}Route"
            guarded = key == CONNECT and "AuthType" in auth
            authorizer = None
            if guarded and "AuthArn" in auth:
                authorizer = values.attempt(
                    values.api,
                    lambda: _authorizer(values.resolve(auth["AuthArn"]), values.resolve(auth.get("IdentitySource"))),
                    Authorizer(function=""),
                )
            routes[key] = Route(
                key=key,
                integration=sam_integration(values, route),
                two_way=self._two_way(logical_id, route.get("RouteResponseSelectionExpression")),
                authorization=values.text(values.api, auth, "AuthType", "NONE") if guarded else "NONE",
                authorizer=authorizer,
                api_key_required=is_true(route.get("ApiKeyRequired")),
            )
        return routes


def _authorizer(
    uri: Any, identity_sources: Any, *, authorizer_id: str = "", has_credentials: bool = False
) -> Authorizer:
    text = str(uri)
    match = FUNCTION.search(text)
    sources = identity_sources or []
    return Authorizer(
        function=match["function"] if match else text,
        identity_sources=tuple(sources if isinstance(sources, list) else str(sources).split(",")),
        authorizer_id=authorizer_id,
        has_credentials=has_credentials,
    )
