"""The events that API Gateway sends to a route's function, shaped as AWS shapes them.

Sources: the inputs printed in docs.aws.amazon.com/apigateway/latest/developerguide/
apigateway-websocket-api-integration-requests.html (CONNECT, DISCONNECT) and in
…/apigateway-websocket-api-lambda-auth.html; …/apigateway-websocket-api-mapping-template-reference.html for what each
variable means.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
import os
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from samsocket.api import CONNECT, DISCONNECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NO_STATUS: Final = 1005
_REASONS: Final = {NO_STATUS: "Client-side close frame status not set", 1001: "Going away"}
_HOP_BY_HOP: Final = frozenset({"connection", "upgrade"})
_OF_THE_UPGRADE: Final = {"Connection": ["upgrade"], "content-length": ["0"], "Upgrade": ["websocket"]}
"""As the example of an authorizer's input prints them."""


_messages = itertools.count(time.time_ns())


def new_message_id() -> str:
    """Return an id of a message: as the others, but ids sort by the order in which the messages came.

    Those of AWS look as if they did, which is documented nowhere.
    """
    return base64.urlsafe_b64encode(next(_messages).to_bytes(8, "big") + os.urandom(3)).decode()


def new_id() -> str:
    """Return an id of 16 characters that ends in `=`, as API Gateway makes them. In a URL it must be encoded.

    It begins with no `-`: on a command line it would be an option.
    """
    while (made := base64.urlsafe_b64encode(os.urandom(11)).decode()).startswith("-"):
        pass
    return made


def new_request_id() -> str:
    """Return an id of the same form for an answer: others may guess it, so it takes no system call."""
    return base64.urlsafe_b64encode(random.randbytes(11)).decode()


@dataclass(frozen=True, kw_only=True)
class Handshake:
    """The contents of a client's upgrade request, kept while its connection lives.

    `connected_at` is in milliseconds since the epoch. `authorizer` is what the `$connect` authorizer returned, and
    `caller` what an API key or a signature says of the client.
    """

    connection_id: str = field(default_factory=new_id)
    api_id: str
    stage: str
    stage_variables: Mapping[str, str]
    domain_name: str
    source_ip: str
    user_agent: str | None
    headers: Mapping[str, list[str]]
    query: Mapping[str, list[str]]
    connected_at: int = field(default_factory=lambda: int(time.time() * 1000))
    authorizer: dict[str, Any] = field(default_factory=dict)
    caller: dict[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, str]:
        """Return the client's address, its `userAgent` if it sent one, and its API key or access key if it has one."""
        user_agent = {"userAgent": self.user_agent} if self.user_agent else {}
        return {**user_agent, "sourceIp": self.source_ip, **self.caller}


def multi_values(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return all the values of each name, in order."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


def query_values(query_string: str) -> dict[str, list[str]]:
    """Return a query string's parameters, decoded; empty ones are kept."""
    return multi_values(parse_qsl(query_string, keep_blank_values=True))


def handshake_headers(
    pairs: Iterable[tuple[str, str]], *, source_ip: str, port: int, scheme: str, lower_case: bool
) -> dict[str, list[str]]:
    """Return the headers that `$connect` sees: the client's without hop-by-hop ones, and those that API Gateway adds.

    `lower_case` turns their names into lower case, as a custom domain's multi-level mapping key does.
    """
    headers = multi_values((name, value) for name, value in pairs if name.lower() not in _HOP_BY_HOP)
    added = {
        "X-Amzn-Trace-Id": f"Root=1-{int(time.time()):08x}-{os.urandom(12).hex()}",
        "X-Forwarded-For": source_ip,
        "X-Forwarded-Port": str(port),
        "X-Forwarded-Proto": scheme,
    }
    headers.update({name: [value] for name, value in added.items()})
    if lower_case:
        return multi_values((name.lower(), value) for name, values in headers.items() for value in values)
    return headers


def connect_event(handshake: Handshake) -> dict[str, Any]:
    """Return the event of a handshake."""
    return {
        **_parameters(handshake),
        **_stage_variables(handshake),
        "requestContext": _context(handshake, CONNECT, "CONNECT"),
        "isBase64Encoded": False,
    }


def authorizer_event(handshake: Handshake, method_arn: str) -> dict[str, Any]:
    """The event for a REQUEST authorizer of the `$connect` route.

    Unlike the function of the route, it sees the headers of the upgrade.
    """
    seen = dataclasses.replace(handshake, headers={**handshake.headers, **_OF_THE_UPGRADE})
    return {
        "type": "REQUEST",
        "methodArn": method_arn,
        **_parameters(seen),
        "stageVariables": dict(handshake.stage_variables),
        "requestContext": _context(handshake, CONNECT, "CONNECT"),
    }


def message_event(handshake: Handshake, route_key: str, body: str) -> dict[str, Any]:
    """Return the event of a client's message."""
    context = _context(handshake, route_key, "MESSAGE")
    context["messageId"] = new_message_id()
    return {**_stage_variables(handshake), "requestContext": context, "body": body, "isBase64Encoded": False}


def disconnect_event(handshake: Handshake, status_code: int, reason: str) -> dict[str, Any]:
    """Return the event of a connection that was closed with a WebSocket close code, 1005 if there was none."""
    context = _context(handshake, DISCONNECT, "DISCONNECT")
    context["disconnectStatusCode"] = status_code
    context["disconnectReason"] = reason or _REASONS.get(status_code, "")
    headers = {"Host": handshake.domain_name, "x-api-key": "", "X-Forwarded-For": "", "x-restapi": ""}
    return {
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        **_stage_variables(handshake),
        "requestContext": context,
        "isBase64Encoded": False,
    }


def _context(handshake: Handshake, route_key: str, event_type: str) -> dict[str, Any]:
    now = time.time()
    request_id = new_id()
    context: dict[str, Any] = {
        "routeKey": route_key,
        "eventType": event_type,
        "extendedRequestId": request_id,
        "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
        "messageDirection": "IN",
        "stage": handshake.stage,
        "connectedAt": handshake.connected_at,
        "requestTimeEpoch": int(now * 1000),
        "identity": handshake.identity,
        "requestId": request_id,
        "domainName": handshake.domain_name,
        "connectionId": handshake.connection_id,
        "apiId": handshake.api_id,
    }
    if handshake.authorizer:
        context["authorizer"] = handshake.authorizer
    return context


def _parameters(handshake: Handshake) -> dict[str, Any]:
    """Headers and query string, single-valued (the last one counts) and multi-valued.

    Without a query string there are no such keys.
    """
    parameters: dict[str, Any] = {
        "headers": {name: values[-1] for name, values in handshake.headers.items()},
        "multiValueHeaders": dict(handshake.headers),
    }
    if handshake.query:
        parameters["queryStringParameters"] = {name: values[-1] for name, values in handshake.query.items()}
        parameters["multiValueQueryStringParameters"] = dict(handshake.query)
    return parameters


def _stage_variables(handshake: Handshake) -> dict[str, Any]:
    return {"stageVariables": dict(handshake.stage_variables)} if handshake.stage_variables else {}
