"""Decide whether a client may connect, and register its connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from realtime import messages, metrics, watching
from realtime.audiences import LIVE, initial_audiences
from realtime.errors import BadRequest, ClientError, ConnectionLimit, PermissionDenied, RateLimited, reason_of
from realtime.handshake import Handshake, describe
from realtime.log import logger
from realtime.messages import ENDPOINTS, TYPES
from realtime.refusals import last_message
from realtime.tables.connections import Connection
from realtime.tables.registry import Registry
from realtime.text import describe_value
from realtime.tokens import Identity, Tokens

if TYPE_CHECKING:
    from realtime.farewell import Farewells
    from realtime.strangers import Strangers
    from realtime.tables.outbox import Outbox
    from realtime.tables.transactions import Write

ACCEPTED = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a handshake: its HTTP status, and the subprotocol that the client may use."""

    status: int
    subprotocol: str | None


class Admission:
    """Answer handshakes: authenticate clients, check their rights and register their connections."""

    def __init__(
        self,
        tokens: Tokens,
        registry: Registry,
        farewells: Callable[[], Farewells],
        outbox: Callable[[], Outbox],
        strangers: Callable[[], Strangers],
        *,
        rejection_mode: Literal["frame", "handshake"],
        shards: int,
        lease_seconds: int,
        max_connections: int,
        policy: Literal["evict", "reject"],
        origins: frozenset[str] = frozenset(),
    ) -> None:
        """Take what it works with; some of it is made when it is first used, because most clients are accepted.

        Pages of other `origins` are refused, unless there are none.
        """
        self._outbox = outbox
        self._tokens = tokens
        self._registry = registry
        self._farewells = farewells
        self._strangers = strangers
        self._rejection_mode = rejection_mode
        self._shards = shards
        self._lease_seconds = lease_seconds
        self._max_connections = max_connections
        self._policy = policy
        self._origins = origins

    def answer(self, handshake: Handshake, now_ms: int) -> Answer:
        """Answer a handshake, and log the outcome.

        With rejection_mode "handshake" a refused client gets the refusal's own status. Otherwise its handshake
        succeeds, and a farewell then tells the client the reason and closes the connection; but from an address that
        causes too many refusals, the handshake fails with 429.

        Raises every error that is not a ClientError.
        """
        try:
            connection = self.admit(handshake, now_ms)
        except ClientError as refusal:
            metrics.count(metrics.REFUSED, value=refusal.code)
            logger().warning("refused", extra=describe(handshake, code=refusal.code, reason=refusal.reason))
            return Answer(self._refuse(handshake, refusal, now_ms), handshake.subprotocol)
        metrics.count(metrics.OPENED, value=connection.stage)
        logger().info("connected", extra=describe(handshake, user_id=connection.user_id))
        return Answer(ACCEPTED, handshake.subprotocol)

    def admit(self, handshake: Handshake, now_ms: int) -> Connection:
        """Register a client's connection; at its user's limit it takes the place of another one, if the policy allows.

        Raises AuthFailed, PermissionDenied, BadRequest or ConnectionLimit; nothing has been stored then.
        """
        self._check_origin(handshake.origin)
        identity = self._tokens.verify(handshake.token)
        endpoints = _endpoints(handshake, identity)
        watched = watching.read_watch_parameter(handshake.parameters, endpoints)
        connection = Connection(
            connection_id=handshake.connection_id,
            stage=handshake.stage,
            user_id=identity.user_id,
            connected_at_ms=handshake.connected_at_ms,
            token_expires_at_s=identity.expires_at_s,
            types=_types(handshake, endpoints),
            batch=_batch(handshake),
            chosen=endpoints if handshake.stage == LIVE else frozenset(),
            may_set_status=identity.may_set_status,
        )
        replaced = self._registry.register(
            connection,
            initial_audiences(
                connection.stage, connection.user_id, connection.connection_id, self._shards, watched, endpoints
            ),
            issued_at_s=identity.issued_at_s,
            username=identity.username,
            role=identity.role,
            now_ms=now_ms,
            lease_seconds=self._lease_seconds,
            limit=self._max_connections,
            dismiss=partial(self._dismiss, now_ms=now_ms) if self._policy == "evict" else None,
        )
        if replaced is not None:
            other = replaced.connection
            about = {"connection_id": other.connection_id, "stage": other.stage, "user_id": other.user_id}
            logger().info("replaced", extra=about)
        return connection

    def _check_origin(self, origin: str | None) -> None:
        """Refuse a page of a site that is not listed; a client that is no browser names no origin."""
        if self._origins and origin is not None and origin.lower() not in self._origins:
            raise PermissionDenied("Pages of this origin may not connect", reason=f"origin {describe_value(origin)}")

    def _dismiss(self, connection: Connection, now_ms: int) -> Write:
        """Return the write that tells a connection that another took its place, and closes it.

        It is an entry of the outbox, in the transaction that forgets the connection: a farewell might be lost with this
        function, and the connection would stay open and hear nothing.
        """
        frame = messages.encode_error(ConnectionLimit("Replaced by a newer connection"), now_ms)
        return self._outbox().put_write(last_message(connection, "error", frame, now_ms))

    def _refuse(self, handshake: Handshake, refusal: ClientError, now_ms: int) -> int:
        """Refuse a client; return the handshake's status."""
        if self._rejection_mode == "handshake":
            return refusal.status
        try:
            if self._strangers().are_too_many(handshake.address, now_ms):
                return RateLimited.status
            self._farewells().refuse(handshake, refusal, now_ms)
        except Exception as problem:  # noqa: BLE001  # no frame can tell the client the reason, so the status must
            logger().error("cannot send the reason in a frame", extra=describe(handshake, reason=reason_of(problem)))
            return refusal.status
        return ACCEPTED


def _endpoints(handshake: Handshake, identity: Identity) -> frozenset[str]:
    """Return the endpoints that a connection hears: its stage's, or on `live` those that it chooses, or may hear."""
    if handshake.stage != LIVE:
        identity.check_endpoint(handshake.stage)
        return frozenset({handshake.stage})
    chosen = _listed(handshake, "endpoints")
    if unknown := chosen - set(ENDPOINTS):
        raise BadRequest(f"endpoints: there is no {', '.join(sorted(unknown))}; there are {', '.join(ENDPOINTS)}")
    for endpoint in chosen:
        identity.check_endpoint(endpoint)
    allowed = identity.endpoints & frozenset(ENDPOINTS)
    if not allowed:
        raise PermissionDenied(reason=f"user {identity.user_id} has no scope of an endpoint")
    return chosen or allowed


def _types(handshake: Handshake, endpoints: frozenset[str]) -> frozenset[str]:
    """Return the message types that a connection wants; none = all that its subscriptions bring.

    Those of `live` bring the types of all endpoints.
    """
    wanted = _listed(handshake, "types")
    known = frozenset[str]().union(*(TYPES[each] for each in endpoints))
    if unknown := wanted - known:
        it, has = ("it", "has") if len(endpoints) == 1 else ("they", "have")
        raise BadRequest(
            f"types: {' and '.join(sorted(endpoints))} {has} no {', '.join(sorted(unknown))}; "
            f"{it} {has} {', '.join(sorted(known))}"
        )
    is_narrower = handshake.stage == LIVE and len(endpoints) < len(ENDPOINTS)
    return known if is_narrower and not wanted else wanted


def _listed(handshake: Handshake, name: str) -> frozenset[str]:
    """Return the words of a query parameter that is a list; none if it is absent."""
    return frozenset(each.strip(" ") for each in handshake.parameters.get(name, "").split(",")) - {""}


def _batch(handshake: Handshake) -> bool:
    text = handshake.parameters.get("batch", "false")
    if text not in {"true", "false"}:
        raise BadRequest("batch: must be true or false")
    return text == "true"
