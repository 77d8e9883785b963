"""A client's handshake, as API Gateway describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# In any case: the scheme of an Authorization header, and the subprotocol that a token is offered beside.
_BEARER = "bearer"


@dataclass(frozen=True, slots=True)
class Handshake:
    """A client's request to connect; times since the epoch."""

    connection_id: str
    stage: str
    connected_at_ms: int
    address: str  # of the client; with CloudFront before the API, of CloudFront
    origin: str | None  # of the page that connects; only browsers name one
    token: str | None
    subprotocol: str | None  # the one to answer with: a browser that offered some gives up if the answer names none
    parameters: Mapping[str, str]


def read_handshake(event: Mapping[str, Any]) -> Handshake:
    """Read API Gateway's CONNECT event.

    Header names are compared without regard to case, because a custom domain sends them in lower case.
    """
    context = event["requestContext"]
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    parameters = event.get("queryStringParameters") or {}
    offered = _offered_subprotocols(event, headers)
    bearer = next((each for each in offered if each.lower() == _BEARER), None)
    return Handshake(
        connection_id=context["connectionId"],
        stage=context["stage"],
        connected_at_ms=context["connectedAt"],
        address=context["identity"]["sourceIp"],
        origin=headers.get("origin"),
        token=(
            parameters.get("token")
            or (_offered_token(offered) if bearer else None)
            or _authorized_token(headers.get("authorization", ""))
        ),
        subprotocol=bearer,
        parameters=parameters,
    )


def describe(handshake: Handshake, **more: str) -> dict[str, str]:
    """Return what may be logged of a handshake, which never includes its token."""
    return {"connection_id": handshake.connection_id, "stage": handshake.stage, **more}


def _offered_subprotocols(event: Mapping[str, Any], headers: Mapping[str, str]) -> list[str]:
    """Return the subprotocols that a client offers; they may stand in several headers, of which `headers` has one."""
    all_values = {name.lower(): values for name, values in (event.get("multiValueHeaders") or {}).items()}
    name = "sec-websocket-protocol"
    lines = all_values.get(name) or [headers.get(name, "")]
    return [each.strip() for line in lines for each in line.split(",") if each.strip()]


def _offered_token(offered: list[str]) -> str | None:
    """Return the token that a client offers beside `bearer`: browsers cannot set headers, and URLs end up in logs.

    A client may offer other protocols too, in any order. A signed token is longer than all their names.
    """
    return max((each for each in offered if each.lower() != _BEARER), key=len, default=None)


def _authorized_token(header: str) -> str | None:
    scheme, _, token = header.partition(" ")
    return token.strip() or None if scheme.lower() == _BEARER else None
