"""The answer of a route's backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from samsocket.errors import FunctionFailedError, FunctionUnavailableError

if TYPE_CHECKING:
    from samsocket.api import Route
    from samsocket.emulator import Emulator


@dataclass(frozen=True, kw_only=True)
class ProxyResponse:
    """A Lambda proxy integration's answer; header names are in lower case."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


async def ask(emulator: Emulator, route: Route, event: Mapping[str, Any]) -> ProxyResponse:
    """Send an event to a route's integration.

    Raises:
        IntegrationError: there is no usable answer.
    """
    integration = route.integration
    if integration.kind == "MOCK":
        return ProxyResponse(status=200)
    if integration.kind != "AWS_PROXY" or integration.function is None:
        raise FunctionUnavailableError(f"route {route.key}: integrations of type {integration.kind} are not served")
    returned = await emulator.invoke(integration.function, event, seconds=integration.timeout)
    return _proxy_response(returned, integration.function)


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
