"""Read a client's handshake, decide whether the client may connect, and register its connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from realtime import watching
from realtime.audiences import initial_audiences
from realtime.errors import BadRequest, ClientError, reason_of
from realtime.log import logger
from realtime.messages import TYPES
from realtime.tables.connections import Connection
from realtime.tables.registry import Registry
from realtime.tokens import Tokens

if TYPE_CHECKING:
    from realtime.farewell import Farewells

SUBPROTOCOL = "bearer"
ACCEPTED = 200


@dataclass(frozen=True, slots=True)
class Handshake:
    """A client's request to connect; times since the epoch."""

    connection_id: str
    endpoint: str
    connected_at_ms: int
    token: str | None
    subprotocol: str | None  # the one to answer with: a browser that offered some gives up if the answer names none
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a handshake: its HTTP status, and the subprotocol that the client may use."""

    status: int
    subprotocol: str | None


def read_handshake(event: Mapping[str, Any]) -> Handshake:
    """Read API Gateway's CONNECT event.

    Header names are compared without regard to case, because a custom domain sends them in lower case.
    """
    context = event["requestContext"]
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    parameters = event.get("queryStringParameters") or {}
    offered = [each.strip() for each in headers.get("sec-websocket-protocol", "").split(",") if each.strip()]
    return Handshake(
        connection_id=context["connectionId"],
        endpoint=context["stage"],
        connected_at_ms=context["connectedAt"],
        token=parameters.get("token") or _offered_token(offered) or _authorized_token(headers.get("authorization", "")),
        subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None,
        parameters=parameters,
    )


class Admission:
    """Answer handshakes: authenticate clients, check their rights and register their connections."""

    def __init__(
        self,
        tokens: Tokens,
        registry: Registry,
        farewells: Callable[[], Farewells],
        *,
        rejection_mode: Literal["frame", "handshake"],
        shards: int,
        lease_seconds: int,
        max_connections: int,
    ) -> None:
        """Take what it works with; `farewells` is called for the first refusal, because most clients are accepted."""
        self._tokens = tokens
        self._registry = registry
        self._farewells = farewells
        self._rejection_mode = rejection_mode
        self._shards = shards
        self._lease_seconds = lease_seconds
        self._max_connections = max_connections

    def answer(self, handshake: Handshake, now_ms: int) -> Answer:
        """Answer a handshake, and log the outcome.

        With rejection_mode "handshake" a refused client gets the refusal's own status. Otherwise its handshake
        succeeds, and a farewell then tells the client the reason and closes the connection.

        Raises every error that is not a ClientError.
        """
        try:
            connection = self.admit(handshake, now_ms)
        except ClientError as refusal:
            logger().warning("refused", extra=describe(handshake, code=refusal.code, reason=refusal.reason))
            return Answer(self._refuse(handshake, refusal, now_ms), handshake.subprotocol)
        logger().info("connected", extra=describe(handshake, user_id=connection.user_id))
        return Answer(ACCEPTED, handshake.subprotocol)

    def admit(self, handshake: Handshake, now_ms: int) -> Connection:
        """Register a client's connection.

        Raises AuthFailed, PermissionDenied, BadRequest or ConnectionLimit; nothing has been stored then.
        """
        identity = self._tokens.verify(handshake.token)
        identity.check_endpoint(handshake.endpoint)
        watched = watching.read_watch_parameter(handshake.parameters, handshake.endpoint)
        connection = Connection(
            connection_id=handshake.connection_id,
            endpoint=handshake.endpoint,
            user_id=identity.user_id,
            connected_at_ms=handshake.connected_at_ms,
            token_expires_at_s=identity.expires_at_s,
            types=_types(handshake),
            batch=_batch(handshake),
        )
        self._registry.register(
            connection,
            initial_audiences(connection.endpoint, connection.user_id, connection.connection_id, self._shards, watched),
            username=identity.username,
            role=identity.role,
            now_ms=now_ms,
            lease_until_s=now_ms // 1000 + self._lease_seconds,
            limit=self._max_connections,
        )
        return connection

    def _refuse(self, handshake: Handshake, refusal: ClientError, now_ms: int) -> int:
        """Refuse a client; return the handshake's status."""
        if self._rejection_mode == "handshake":
            return refusal.status
        try:
            self._farewells().refuse(handshake, refusal, now_ms)
        except Exception as problem:  # noqa: BLE001  # no frame can tell the client the reason, so the status must
            logger().error("cannot send the reason in a frame", extra=describe(handshake, reason=reason_of(problem)))
            return refusal.status
        return ACCEPTED


def describe(handshake: Handshake, **more: str) -> dict[str, str]:
    """Return what may be logged of a handshake, which never includes its token."""
    return {"connection_id": handshake.connection_id, "endpoint": handshake.endpoint, **more}


def _offered_token(offered: list[str]) -> str | None:
    """Return the token that a client offers beside `bearer`: browsers cannot set headers, and URLs end up in logs."""
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
