"""One deployed WebSocket API, as the data plane sees it: stages, routes, and what each route invokes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from samsocket.selection import select

CONNECT: Final = "$connect"
DISCONNECT: Final = "$disconnect"
DEFAULT: Final = "$default"
INTEGRATION_TIMEOUT: Final = 29.0
"""Seconds; the most and the default. Source: the quotas for WebSocket APIs."""

DEFAULT_EXPRESSION: Final = "$request.body.action"
API_KEY_HEADER: Final = "$request.header.x-api-key"
API_KEY_OF_THE_AUTHORIZER: Final = "$context.authorizer.usageIdentifierKey"


@dataclass(frozen=True, kw_only=True)
class IntegrationResponse:
    """What becomes of the answer of a backend that is no proxy: `templates` are by the keys that `selection` yields."""

    templates: Mapping[str, str] = field(default_factory=dict)
    selection: str | None = None


@dataclass(frozen=True, kw_only=True)
class Integration:
    """What a route invokes.

    A Lambda function has `function`, a name or an ARN; any other backend has `uri`. Both may have stage variables in
    them. `templates` are by the keys that `selection` yields, `responses` by their own keys. `timeout` is in seconds.
    `has_credentials` says that a role invokes the function, so that the function needs no permission for API Gateway.
    `problem` says why the integration cannot work; it then answers as a broken one does on AWS.
    """

    kind: str = "AWS_PROXY"
    function: str | None = None
    uri: str = ""
    method: str = "POST"
    timeout: float = INTEGRATION_TIMEOUT
    templates: Mapping[str, str] = field(default_factory=dict)
    selection: str | None = None
    passthrough: str = "WHEN_NO_MATCH"
    parameters: Mapping[str, str] = field(default_factory=dict)
    responses: Mapping[str, IntegrationResponse] = field(default_factory=dict)
    has_credentials: bool = False
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Authorizer:
    """A Lambda REQUEST authorizer of the `$connect` route."""

    function: str
    identity_sources: tuple[str, ...] = ()
    authorizer_id: str = ""
    has_credentials: bool = False


@dataclass(frozen=True, kw_only=True)
class Route:
    """A route. If it is `two_way`, the client gets what the function returns."""

    key: str
    integration: Integration
    two_way: bool = False
    authorization: str = "NONE"
    authorizer: Authorizer | None = None
    api_key_required: bool = False


@dataclass(frozen=True, kw_only=True)
class Throttle:
    """A route's own limit in a stage, or an API key's: `rate` in requests a second, `burst` in requests."""

    rate: float
    burst: float


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """An API key that a usage plan lets into some stages of the API."""

    key_id: str
    stages: frozenset[str]
    throttle: Throttle | None = None


@dataclass(frozen=True, kw_only=True)
class WebSocketApi:
    """A WebSocket API: `stages` maps each stage's name to its variables, `routes` each route key to its route.

    `name` is its logical id in the template. `throttles` are by stage and route key, `api_keys` by the key's value.
    `notes` say what AWS or the gateway does not serve of it, one line for each resource.
    """

    api_id: str
    region: str
    account: str
    name: str = ""
    partition: str = "aws"
    selection_expression: str = DEFAULT_EXPRESSION
    api_key_selection: str = API_KEY_HEADER
    stages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    routes: Mapping[str, Route] = field(default_factory=dict)
    throttles: Mapping[tuple[str, str], Throttle] = field(default_factory=dict)
    api_keys: Mapping[str, ApiKey] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def route_for(self, message: str, scope: Mapping[str, Any] | None = None) -> Route | None:
        """The route of a client's message; None if nothing matches and there is no `$default`.

        `scope` has what the expression may name beside the message (see `select`). A message never reaches `$connect`
        or `$disconnect`.
        """
        key = select(self.selection_expression, message, scope)
        if key is not None and key not in (CONNECT, DISCONNECT) and (route := self.routes.get(key)):
            return route
        return self.routes.get(DEFAULT)

    def arn(self, stage: str, suffix: str) -> str:
        """Return the ARN under which a policy names a stage's route."""
        return f"{self._arn}/{stage}/{suffix}"

    def authorizer_arn(self, authorizer_id: str) -> str:
        """Return the ARN under which a function's policy names an authorizer."""
        return f"{self._arn}/authorizers/{authorizer_id}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the host names that stand for this API alone: its own on AWS, and names of this machine."""
        suffix = "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"
        names = (self.api_id, self.name) if self.name else (self.api_id,)
        on_aws = f"{self.api_id}.execute-api.{self.region}.{suffix}"
        return (on_aws.lower(), *(f"{name}.localhost".lower() for name in names))

    @property
    def _arn(self) -> str:
        return f"arn:{self.partition}:execute-api:{self.region}:{self.account}:{self.api_id}"
