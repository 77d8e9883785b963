"""What the routes of an API invoke."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from samsocket.api import DEFAULT, INTEGRATION_TIMEOUT, Integration, IntegrationResponse
from samsocket.errors import UnresolvedError
from samsocket.reading.values import RAW, number, texts

if TYPE_CHECKING:
    from samsocket.reading.values import Values
    from samsocket.template import Resource

FUNCTION: Final = re.compile(r"/functions/(?P<function>.+?)/invocations$")
"""The end of the URI by which API Gateway invokes a function."""

_KINDS: Final = frozenset({"AWS_PROXY", "AWS", "HTTP", "HTTP_PROXY", "MOCK"})


def raw_integration(values: Values, resource: Resource) -> Integration:
    """Read an integration, and its responses.

    Raises:
        UnresolvedError: a value cannot be worked out.
    """
    kind = str(values.get(resource, "IntegrationType", ""))
    uri = str(values.get(resource, "IntegrationUri", ""))
    match = FUNCTION.search(uri)
    problem = None
    if kind not in _KINDS:
        problem = f"integrations of type {kind or '(none)'} do not exist"
    elif values.get(resource, "ConnectionType") == "VPC_LINK":
        problem = "VPC links are not served"
    elif values.get(resource, "ContentHandlingStrategy") == "CONVERT_TO_BINARY":
        values.note(resource, "CONVERT_TO_BINARY is not served; text stays text")
    elif kind == "AWS_PROXY" and match is None:
        problem = f"{uri or 'no IntegrationUri'} is no Lambda function"
    if kind == "AWS" and match is None and "CredentialsArn" not in resource.properties:
        values.note(resource, "AWS refuses to call a service without CredentialsArn")
    return Integration(
        kind=kind,
        function=match["function"] if match else None,
        uri="" if match or kind == "MOCK" else uri,
        method=str(values.get(resource, "IntegrationMethod", "POST")),
        timeout=_seconds(values.get(resource, "TimeoutInMillis")),
        templates=texts(values.get(resource, "RequestTemplates")),
        selection=values.get(resource, "TemplateSelectionExpression"),
        passthrough=str(values.get(resource, "PassthroughBehavior", "WHEN_NO_MATCH")),
        parameters=texts(values.get(resource, "RequestParameters")),
        responses=_responses(values, resource),
        has_credentials="CredentialsArn" in resource.properties,
        problem=problem,
    )


def _responses(values: Values, integration: Resource) -> dict[str, IntegrationResponse]:
    """Return an integration's responses by key, whatever their conditions: emulators do not deploy them."""
    own = values.resolver.reference(integration.logical_id)
    responses = {}
    for resource in values.template.of_type(f"{RAW}IntegrationResponse"):
        if values.get(resource, "IntegrationId") == own:
            responses[str(values.get(resource, "IntegrationResponseKey", DEFAULT))] = IntegrationResponse(
                templates=texts(values.get(resource, "ResponseTemplates")),
                selection=values.get(resource, "TemplateSelectionExpression"),
            )
    return responses


def sam_integration(values: Values, route: Mapping[str, Any]) -> Integration:
    """Read the integration of a route of `AWS::Serverless::WebSocketApi`."""
    try:
        return Integration(
            function=str(values.resolve(route["FunctionArn"])),
            timeout=_seconds(values.resolve(route.get("IntegrationTimeout"))),
        )
    except UnresolvedError as error:
        return Integration(problem=str(error))


def _seconds(milliseconds: Any) -> float:
    return INTEGRATION_TIMEOUT if milliseconds is None else min(number(milliseconds) / 1000, INTEGRATION_TIMEOUT)
