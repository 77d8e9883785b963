"""What a client asks for when it connects, and whether it may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from realtime import watching
from realtime.audiences import heard_by
from realtime.errors import BadRequest
from realtime.messages import TYPES
from realtime.tables.connections import Connection
from realtime.tables.registry import Registry
from realtime.tokens import Tokens

SUBPROTOCOL = "bearer"


@dataclass(frozen=True, slots=True)
class Handshake:
    """A client's request to connect; `connected_at` in ms since the epoch."""

    connection_id: str
    endpoint: str
    connected_at: int
    token: str | None
    subprotocol: str | None  # the one to answer with; a browser gives up if it offered some and is answered none
    parameters: Mapping[str, str]


def read(event: Mapping[str, Any]) -> Handshake:
    """Read API Gateway's CONNECT event; header names come in any case, for a custom domain lowers them."""
    context = event["requestContext"]
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    parameters = event.get("queryStringParameters") or {}
    offered = [each.strip() for each in headers.get("sec-websocket-protocol", "").split(",") if each.strip()]
    return Handshake(
        connection_id=context["connectionId"],
        endpoint=context["stage"],
        connected_at=context["connectedAt"],
        token=parameters.get("token") or _offered_token(offered) or _authorized_token(headers.get("authorization", "")),
        subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None,
        parameters=parameters,
    )


class Admission:
    """Lets clients in: authenticates them, checks what they may, registers their connections."""

    def __init__(
        self, tokens: Tokens, registry: Registry, *, shards: int, lease_seconds: int, max_connections: int
    ) -> None:
        self._tokens = tokens
        self._registry = registry
        self._shards = shards
        self._lease_seconds = lease_seconds
        self._max_connections = max_connections

    def admit(self, handshake: Handshake, now: int) -> Connection:
        """Register a client's connection; `now` in ms since the epoch.

        Raises AuthFailed, PermissionDenied, BadRequest or ConnectionLimit, having stored nothing.
        """
        identity = self._tokens.verify(handshake.token)
        identity.check(handshake.endpoint)
        watched = watching.requested(handshake.parameters, handshake.endpoint)
        connection = Connection(
            connection_id=handshake.connection_id,
            endpoint=handshake.endpoint,
            user_id=identity.user_id,
            connected_at=handshake.connected_at,
            token_expires_at=identity.expires_at,
            types=_types(handshake),
            batch=_batch(handshake),
        )
        self._registry.register(
            connection,
            heard_by(connection.endpoint, connection.user_id, connection.connection_id, self._shards, watched),
            username=identity.username,
            role=identity.role,
            now=now,
            lease_until=now // 1000 + self._lease_seconds,
            limit=self._max_connections,
        )
        return connection


def _offered_token(offered: list[str]) -> str | None:
    """Return the subprotocol that follows `bearer`: browsers can set no header, and a URL ends up in logs."""
    if SUBPROTOCOL not in offered:
        return None
    return next((each for each in offered if each != SUBPROTOCOL), None)


def _authorized_token(header: str) -> str | None:
    scheme, _, token = header.partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _types(handshake: Handshake) -> frozenset[str]:
    wanted = frozenset(each.strip(" ") for each in handshake.parameters.get("types", "").split(",")) - {""}
    unknown = wanted - TYPES[handshake.endpoint]
    if unknown:
        raise BadRequest(
            f"types: {handshake.endpoint} has no {', '.join(sorted(unknown))}; "
            f"it has {', '.join(sorted(TYPES[handshake.endpoint]))}"
        )
    return wanted


def _batch(handshake: Handshake) -> bool:
    text = handshake.parameters.get("batch", "false")
    if text not in {"true", "false"}:
        raise BadRequest("batch: must be true or false")
    return text == "true"
