"""The answer of a route's backend.

Sources: docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-integration-requests.html and
…/apigateway-websocket-api-integration-responses.html.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from samsocket import mapping_templates
from samsocket.backends import Answer, call_http, call_service
from samsocket.errors import BrokenIntegrationError, FunctionFailedError, GatewayError, UnsupportedMediaError
from samsocket.request import Request, mapped_parameters, passed_on

if TYPE_CHECKING:
    from samsocket.api import Integration, Route
    from samsocket.emulator import Emulator

_logger = logging.getLogger(__name__)

_STAGE_VARIABLE: Final = re.compile(r"\$\{stageVariables\.([A-Za-z0-9_]+)\}")


@dataclass(frozen=True, kw_only=True)
class ProxyResponse:
    """An answer; header names are in lower case."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


async def ask(emulator: Emulator, route: Route, request: Request, source_arn: str) -> ProxyResponse:
    """Send an event to a route's integration; `source_arn` is the name by which a function lets API Gateway in.

    Raises:
        IntegrationError: there is no usable answer.
    """
    try:
        return await _ask(emulator, route, request, source_arn)
    except GatewayError:
        raise
    except Exception as error:  # the client must be told, whatever it is
        _logger.exception("route %s", route.key)
        raise BrokenIntegrationError(f"route {route.key}: {type(error).__name__}: {error}") from error


async def _ask(emulator: Emulator, route: Route, request: Request, source_arn: str) -> ProxyResponse:
    integration = route.integration
    if integration.problem is not None:
        raise BrokenIntegrationError(f"route {route.key}: {integration.problem}")
    if integration.kind == "AWS_PROXY" and integration.function is not None:
        function = with_stage_variables(integration.function, request.stage_variables)
        await _check_permission(emulator, integration, function, source_arn)
        returned = await emulator.invoke(function, request.event, seconds=integration.timeout)
        return _proxy_response(returned, function)
    answer = await _answer(emulator, integration, request, source_arn)
    if integration.kind == "HTTP_PROXY":
        return ProxyResponse(status=answer.status, body=answer.text, headers=answer.headers)
    return _mapped(integration, answer, request, two_way=route.two_way and request.context["eventType"] == "MESSAGE")


def with_stage_variables(text: str, variables: Mapping[str, str]) -> str:
    """Replace `${stageVariables.name}`, in a function's name or a URI; a variable that there is not counts as empty."""
    return _STAGE_VARIABLE.sub(lambda match: variables.get(match[1], ""), text)


async def _check_permission(emulator: Emulator, integration: Integration, function: str, source_arn: str) -> None:
    if not integration.has_credentials and not await emulator.may_invoke(function, source_arn):
        raise BrokenIntegrationError(
            f"{function} has no AWS::Lambda::Permission that lets apigateway.amazonaws.com invoke it for {source_arn}"
        )


async def _answer(emulator: Emulator, integration: Integration, request: Request, source_arn: str) -> Answer:
    """Ask a backend that is no proxy to Lambda."""
    uri = with_stage_variables(integration.uri, request.stage_variables)
    body = request.body if integration.kind == "HTTP_PROXY" else _request_body(integration, request)
    if integration.kind == "MOCK":
        return Answer(status=_mock_status(body), headers={}, text="")
    headers, query, path = mapped_parameters(integration, request)
    for name, value in path.items():
        uri = uri.replace(f"{{{name}}}", value)
    if integration.function is not None:
        function = with_stage_variables(integration.function, request.stage_variables)
        await _check_permission(emulator, integration, function, source_arn)
        return await _invoke(emulator, function, body, seconds=integration.timeout)
    if integration.kind == "AWS":
        return await call_service(emulator, uri, integration.method, headers, query, body, seconds=integration.timeout)
    if integration.kind == "HTTP_PROXY":
        headers, query = {**passed_on(request), **headers}, {**request.parameters["querystring"], **query}
    return await call_http(emulator, uri, integration.method, headers, query, body, seconds=integration.timeout)


async def _invoke(emulator: Emulator, function: str, body: str, *, seconds: float) -> Answer:
    try:
        payload = json.loads(body) if body.strip() else {}
    except ValueError as error:
        raise BrokenIntegrationError(f"{function}: the request that was made for it is no JSON: {error}") from error
    returned = await emulator.invoke(function, payload, seconds=seconds)
    return Answer(status=200, headers={}, text=json.dumps(returned, separators=(",", ":"), ensure_ascii=False))


def _request_body(integration: Integration, request: Request) -> str:
    template = mapping_templates.choose(integration.templates, integration.selection, request.body, request.scope)
    if template is not None:
        return mapping_templates.render(
            template,
            body=request.body,
            context=request.context,
            stage_variables=request.stage_variables,
            parameters=request.parameters,
        )
    if integration.passthrough == "NEVER" or (integration.passthrough == "WHEN_NO_TEMPLATES" and integration.templates):
        raise UnsupportedMediaError(f"no template matches, and PassthroughBehavior is {integration.passthrough}")
    return request.body


def _mock_status(body: str) -> int:
    """Return the status that a mock's template asks for, 200 if it asks for none."""
    found = re.search(r'"?statusCode"?\s*:\s*"?(\d{3})\b', body)
    return int(found[1]) if found else 200


def _mapped(integration: Integration, answer: Answer, request: Request, *, two_way: bool) -> ProxyResponse:
    """Turn a backend's answer into the client's, by the integration response that its status selects.

    Raises:
        BrokenIntegrationError: none is selected, which only matters where the client gets the answer.
    """
    status = str(answer.status)
    keys = [key for key in integration.responses if re.fullmatch(r"/(.*)/", key)]
    chosen = next((key for key in keys if re.fullmatch(key[1:-1], status)), mapping_templates.CATCH_ALL)
    response = integration.responses.get(chosen)
    if response is None:
        if two_way:
            raise BrokenIntegrationError(f"no integration response matches status {status}, and none is $default")
        return ProxyResponse(status=answer.status, body=answer.text)
    template = mapping_templates.choose(response.templates, response.selection, request.body, request.scope)
    if template is None:
        return ProxyResponse(status=answer.status, body=answer.text)
    body = mapping_templates.render(
        template,
        body=answer.text,
        context=request.context,
        stage_variables=request.stage_variables,
        parameters=request.parameters,
    )
    return ProxyResponse(status=answer.status, body=body)


def _proxy_response(returned: Any, function: str) -> ProxyResponse:
    """Read what a function returned.

    Raises:
        FunctionFailedError: it is not `{"statusCode": …, "headers": …, "body": …}`. Source: the output format in
            docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html.
    """
    if not isinstance(returned, Mapping):
        raise FunctionFailedError(f"{function}: returned no proxy response, but {type(returned).__name__}")
    status, body, headers = returned.get("statusCode"), returned.get("body"), returned.get("headers")
    if isinstance(status, str) and status.isdecimal():
        status = int(status)
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        raise FunctionFailedError(f"{function}: returned a proxy response without a statusCode")
    if not isinstance(body, str | None):
        raise FunctionFailedError(f"{function}: returned a body that is not a string")
    if not isinstance(headers, Mapping | None):
        raise FunctionFailedError(f"{function}: returned headers that are not an object")
    return ProxyResponse(
        status=status,
        body=body or "",
        headers={str(name).lower(): str(value) for name, value in (headers or {}).items()},
    )
