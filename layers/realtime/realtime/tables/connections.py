"""The Connections table: what each connection is, and which connections hear an audience."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from realtime.audiences import direct
from realtime.aws import retries
from realtime.aws.clients import aws_errors, error_code
from realtime.errors import Unavailable
from realtime.tables.dynamodb import Value, attribute, item, plain, read_all, write_all

AUDIENCE_INDEX = "AudienceIndex"  # sparse: by `indexed_audience`, which a session's item does not have
# API Gateway ends a connection after 2 h; the rest is for its $disconnect to arrive. A back-stop: code filters by time.
CONNECTION_TTL_SECONDS = 3 * 3600
_HEARD_WITHIN_SECONDS = 5.0  # the index lags behind its table, by milliseconds as a rule


@dataclass(frozen=True, slots=True)
class Connection:
    """One WebSocket connection; `connected_at` in ms, `token_expires_at` in s, both since the epoch."""

    connection_id: str
    endpoint: str
    user_id: str
    connected_at: int
    token_expires_at: int
    types: frozenset[str] = frozenset()  # the message types that it wants; none = all
    batch: bool = False  # a frame may be a JSON array of messages

    @property
    def expires_at(self) -> int:
        """When DynamoDB may drop what is left of it (s)."""
        return self.connected_at // 1000 + CONNECTION_TTL_SECONDS


@dataclass(frozen=True, slots=True)
class Session:
    """A connection, for how long it is believed in, and how long it must be silent; times in s since the epoch."""

    connection: Connection
    lease_until: int
    limited_until: int


@dataclass(frozen=True, slots=True)
class Subscriber:
    """What `broadcast` must know of a connection to post to it; `connected_at` in ms."""

    connection_id: str
    user_id: str
    connected_at: int
    types: frozenset[str] = frozenset()
    batch: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """Which sessions must be looked at: `connected_…` in ms, the others in s since the epoch."""

    lease_before: int
    token_before: int
    connected_from: int
    connected_to: int

    def has_lapsed(self, session: Session) -> bool:
        """Return whether a session's lease ran out."""
        return session.lease_until < self.lease_before

    def has_expired(self, session: Session) -> bool:
        """Return whether a session's token did."""
        return session.connection.token_expires_at < self.token_before

    def is_old(self, session: Session) -> bool:
        """Return whether a session is of the age asked for."""
        return self.connected_from <= session.connection.connected_at <= self.connected_to


_EVERY_TYPE: frozenset[str] = frozenset()

Cursor = dict[str, str] | None  # the key after which a scan goes on; None at either end


class Connections:
    """The Connections table: an item for each audience of a connection, the one of its own id being its session."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self.table = table

    def puts(self, connection: Connection, audiences: Sequence[str], lease_until: int) -> list[dict[str, Any]]:
        """Return the parts of a transaction that store a connection."""
        session = _item(
            connection,
            direct(connection.connection_id),
            lease_until=lease_until,
            token_expires_at=connection.token_expires_at,
        )
        hears = [_heard_item(connection, audience) for audience in audiences]
        return [{"Put": {"TableName": self.table, "Item": each}} for each in (session, *hears)]

    def hear(self, connection: Connection, audiences: Collection[str]) -> None:
        """Let a connection hear these audiences too."""
        write_all(
            self._client,
            self.table,
            [{"PutRequest": {"Item": _heard_item(connection, audience)}} for audience in audiences],
        )

    def is_heard(self, audience: str, connection_id: str) -> bool:
        """Return whether the index shows yet that a connection hears an audience: it lags behind the table."""
        with aws_errors("reading an audience"):
            answer = self._client.query(
                TableName=self.table,
                IndexName=AUDIENCE_INDEX,
                KeyConditionExpression="indexed_audience = :audience AND connection_id = :id",
                ExpressionAttributeValues={":audience": attribute(audience), ":id": attribute(connection_id)},
                Select="COUNT",
            )
        return bool(answer["Count"])

    def await_heard(self, audiences: Collection[str], connection_id: str) -> None:
        """Wait until `broadcast` finds a connection by these audiences: what it was not found for would be missed.

        Raises Unavailable where that takes too long.
        """
        deadline = min(time.monotonic() + _HEARD_WITHIN_SECONDS, retries.latest())
        for audience in audiences:
            pause = 0.01
            while not self.is_heard(audience, connection_id):
                if time.monotonic() >= deadline:
                    raise Unavailable("the index of audiences lags behind")
                time.sleep(pause)
                pause = min(pause * 2, 0.5)

    def session(self, connection_id: str) -> Session | None:
        """Return a connection's session, or None where it is not registered.

        One eventually consistent read, half a unit; read again consistently only when it finds nothing, which a
        connection of this very moment may cause.
        """
        for consistent in (False, True):
            with aws_errors("reading a connection"):
                answer = self._client.get_item(
                    TableName=self.table, Key=_session_key(connection_id), ConsistentRead=consistent
                )
            if "Item" in answer:
                return _session(answer["Item"])
        return None

    def sessions(self, connection_ids: Collection[str]) -> list[Session]:
        """Return the sessions of these connections, without those that are not registered."""
        keys = [_session_key(connection_id) for connection_id in connection_ids]
        return [_session(row) for row in read_all(self._client, self.table, keys)]

    def renew_lease(self, connection_id: str, lease_until: int) -> None:
        """Extend a connection's lease, unless it was forgotten meanwhile."""
        self._update_session(connection_id, "lease_until", lease_until)

    def extend_token(self, connection_id: str, token_expires_at: int) -> None:
        """Let a connection live until another token expires (s)."""
        self._update_session(connection_id, "token_expires_at", token_expires_at)

    def limit_until(self, connection_id: str, limited_until: int) -> None:
        """Let every function instance know that a connection has sent too much."""
        self._update_session(connection_id, "limited_until", limited_until)

    def _update_session(self, connection_id: str, name: str, value: int) -> None:
        """Set one value of a session that is still there: twice is as once, should an answer be lost."""
        with aws_errors("updating a connection"):
            try:
                self._client.update_item(
                    TableName=self.table,
                    Key=_session_key(connection_id),
                    UpdateExpression=f"SET {name} = :value",
                    ConditionExpression="attribute_exists(connection_id)",  # else it would come back as a ghost
                    ExpressionAttributeValues={":value": attribute(value)},
                )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise

    def hearing(self, audience: str, now: int) -> Iterator[list[Subscriber]]:
        """Yield the connections that hear an audience, a page at a time, without those whose time has run out."""
        start: dict[str, Any] | None = None
        while True:
            with aws_errors("reading an audience"):
                answer = self._client.query(
                    TableName=self.table,
                    IndexName=AUDIENCE_INDEX,
                    KeyConditionExpression="indexed_audience = :audience",
                    FilterExpression="expires_at > :now",
                    ProjectionExpression="connection_id, user_id, connected_at, #types, #batch",
                    ExpressionAttributeNames={"#types": "types", "#batch": "batch"},  # reserved, or may come to be
                    ExpressionAttributeValues={":audience": attribute(audience), ":now": attribute(now)},
                    **({"ExclusiveStartKey": start} if start else {}),
                )
            yield [_subscriber(row) for row in answer["Items"]]
            start = answer.get("LastEvaluatedKey")
            if not start:
                return

    def due(self, segment: int, segments: int, when: Due, after: Cursor) -> tuple[list[Session], Cursor]:
        """Read a page of one segment of the table: the sessions that must be looked at, and where to go on.

        A scan, not an index by lease: renewing leases in an index would cost eighteen times as much
        (docs/decisions/0006).
        """
        is_old = "attribute_exists(lease_until) AND connected_at BETWEEN :from AND :to"
        with aws_errors("looking for ghosts"):
            answer = self._client.scan(
                TableName=self.table,
                Segment=segment,
                TotalSegments=segments,
                # Only sessions have a lease and their token's end.
                FilterExpression=f"lease_until < :lease OR token_expires_at < :token OR ({is_old})",
                ExpressionAttributeValues={
                    ":lease": attribute(when.lease_before),
                    ":token": attribute(when.token_before),
                    ":from": attribute(when.connected_from),
                    ":to": attribute(when.connected_to),
                },
                **({"ExclusiveStartKey": item(after)} if after else {}),
            )
        last = answer.get("LastEvaluatedKey")
        return [_session(row) for row in answer["Items"]], plain(last) if last else None

    def find(self, connection_id: str) -> tuple[str | None, list[str]]:
        """Return whose a connection is and all audiences it hears; (None, []) where it is not registered."""
        user_id: str | None = None
        audiences: list[str] = []
        start: dict[str, Any] | None = None
        while True:
            with aws_errors("reading a connection"):
                answer = self._client.query(
                    TableName=self.table,
                    KeyConditionExpression="connection_id = :id",
                    ExpressionAttributeValues={":id": attribute(connection_id)},
                    ProjectionExpression="audience, user_id",
                    ConsistentRead=True,
                    **({"ExclusiveStartKey": start} if start else {}),
                )
            for row in answer["Items"]:
                values = plain(row)
                audiences.append(values["audience"])
                user_id = values.get("user_id", user_id)
            start = answer.get("LastEvaluatedKey")
            if not start:
                return user_id, audiences

    def deletes(self, connection_id: str, audiences: Iterable[str]) -> list[dict[str, Any]]:
        """Return the parts of a transaction that delete items of a connection."""
        keys = [item({"connection_id": connection_id, "audience": audience}) for audience in audiences]
        return [{"Delete": {"TableName": self.table, "Key": key}} for key in keys]

    def delete(self, heard: Iterable[tuple[str, str]]) -> None:
        """Delete items: pairs of a connection's id and an audience that it hears no more, each pair once."""
        write_all(
            self._client,
            self.table,
            [
                {"DeleteRequest": {"Key": item({"connection_id": connection_id, "audience": audience})}}
                for connection_id, audience in heard
            ],
        )


def _heard_item(connection: Connection, audience: str) -> dict[str, Any]:
    """Return what makes a connection hear an audience: an item that the index shows."""
    return _item(connection, audience, indexed_audience=audience)


def _item(connection: Connection, audience: str, **more: Value) -> dict[str, Any]:
    """Return what is stored of a connection for one of its audiences."""
    return item(
        {
            "connection_id": connection.connection_id,
            "audience": audience,
            "user_id": connection.user_id,
            "endpoint": connection.endpoint,
            "connected_at": connection.connected_at,
            "types": connection.types,
            "batch": connection.batch or None,
            "expires_at": connection.expires_at,
            **more,
        }
    )


def _subscriber(row: dict[str, Any]) -> Subscriber:
    """Read a row of the index: by hand, for `plain` would take four times as long, and there are a hundred thousand."""
    types, batch = row.get("types"), row.get("batch")
    return Subscriber(
        connection_id=row["connection_id"]["S"],
        user_id=row["user_id"]["S"],
        connected_at=int(row["connected_at"]["N"]),
        types=frozenset(types["SS"]) if types else _EVERY_TYPE,
        batch=batch["BOOL"] if batch else False,
    )


def _session(row: dict[str, Any]) -> Session:
    values = plain(row)
    connection = Connection(
        connection_id=values["connection_id"],
        endpoint=values["endpoint"],
        user_id=values["user_id"],
        connected_at=values["connected_at"],
        token_expires_at=values["token_expires_at"],
        types=values.get("types", frozenset()),
        batch=values.get("batch", False),
    )
    return Session(connection, values["lease_until"], values.get("limited_until", 0))


def _session_key(connection_id: str) -> dict[str, Any]:
    return item({"connection_id": connection_id, "audience": direct(connection_id)})
