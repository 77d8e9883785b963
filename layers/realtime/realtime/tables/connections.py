"""The Connections table: what each connection is, and to which audiences it subscribes."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from realtime.audiences import direct
from realtime.aws import retries
from realtime.aws.clients import aws_errors
from realtime.errors import Unavailable
from realtime.tables.dynamodb import Value, attribute, item, pages, plain, read_all, update_if, write_all
from realtime.tables.transactions import Write

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

AUDIENCE_INDEX = "AudienceIndex"  # sparse: by `indexed_audience`, which a session's item does not have
# API Gateway ends a connection after 2 h, and its $disconnect may be late. TTL is only a back-stop: queries filter by
# time.
CONNECTION_TTL_SECONDS = 3 * 3600
_INDEXED_WITHIN_SECONDS = 5.0  # the index lags behind its table, usually by milliseconds


@dataclass(frozen=True, slots=True)
class Connection:
    """One WebSocket connection; times since the epoch."""

    connection_id: str
    endpoint: str
    user_id: str
    connected_at_ms: int
    token_expires_at_s: int
    types: frozenset[str] = frozenset()  # the message types that it wants; none = all
    batch: bool = False  # a frame may be a JSON array of messages

    @property
    def expires_at_s(self) -> int:
        """When DynamoDB may delete its items, if they are still there."""
        return self.connected_at_ms // 1000 + CONNECTION_TTL_SECONDS


@dataclass(frozen=True, slots=True)
class Session:
    """A connection, until when it counts as alive, and until when its frames are refused; times since the epoch."""

    connection: Connection
    lease_until_s: int
    limited_until_s: int


@dataclass(frozen=True, slots=True)
class Subscriber:
    """What `broadcast` must know of a connection to post to it; times since the epoch."""

    connection_id: str
    user_id: str
    connected_at_ms: int
    types: frozenset[str] = frozenset()
    batch: bool = False


class Connections:
    """The Connections table: an item for each audience of a connection. The item of its own audience is its session."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def registration_writes(self, connection: Connection, audiences: Sequence[str], lease_until_s: int) -> list[Write]:
        """Return the writes that store a connection and its subscriptions."""
        session = _item(
            connection,
            direct(connection.connection_id),
            {"lease_until": lease_until_s, "token_expires_at": connection.token_expires_at_s},
        )
        subscriptions = [_item(connection, audience, {"indexed_audience": audience}) for audience in audiences]
        return [Write("Put", {"TableName": self._table, "Item": each}) for each in (session, *subscriptions)]

    def subscribe(self, connection: Connection, audiences: Collection[str]) -> None:
        """Subscribe a connection to more audiences."""
        items = [_item(connection, audience, {"indexed_audience": audience}) for audience in audiences]
        write_all(self._client, self._table, [{"PutRequest": {"Item": each}} for each in items])

    def is_indexed(self, audience: str, connection_id: str) -> bool:
        """Return whether the index shows a subscription yet: it lags behind the table."""
        with aws_errors("reading an audience"):
            answer = self._client.query(
                TableName=self._table,
                IndexName=AUDIENCE_INDEX,
                KeyConditionExpression="indexed_audience = :audience AND connection_id = :id",
                ExpressionAttributeValues={":audience": attribute(audience), ":id": attribute(connection_id)},
                Select="COUNT",
            )
        return bool(answer["Count"])

    def wait_until_indexed(self, audiences: Collection[str], connection_id: str) -> None:
        """Wait until `broadcast` finds a connection by these audiences: until then it would miss their events.

        Raises Unavailable if that takes too long.
        """
        until = min(time.monotonic() + _INDEXED_WITHIN_SECONDS, retries.latest())
        for audience in audiences:
            pause_s = 0.01
            while not self.is_indexed(audience, connection_id):
                if time.monotonic() >= until:
                    raise Unavailable("the index of audiences lags behind")
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, 0.5)

    def session(self, connection_id: str) -> Session | None:
        """Return a connection's session, or None if it is not registered.

        The first read is eventually consistent, which costs half a unit. Only if it finds nothing, a consistent one
        follows, because the connection may have been registered just now.
        """
        key = _session_key(connection_id)
        for is_consistent in (False, True):
            with aws_errors("reading a connection"):
                answer = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=is_consistent)
            if "Item" in answer:
                return read_session(answer["Item"])
        return None

    def sessions(self, connection_ids: Collection[str]) -> list[Session]:
        """Return the sessions of these connections, as of now; those that are not registered are left out."""
        keys = [_session_key(connection_id) for connection_id in connection_ids]
        return [read_session(row) for row in read_all(self._client, self._table, keys)]

    def renew_lease(self, connection_id: str, lease_until_s: int) -> None:
        """Extend a connection's lease, unless it was forgotten meanwhile."""
        self._update_session(connection_id, "lease_until", lease_until_s)

    def extend_token(self, connection_id: str, token_expires_at_s: int) -> None:
        """Keep a connection open until another token expires."""
        self._update_session(connection_id, "token_expires_at", token_expires_at_s)

    def limit_until(self, connection_id: str, limited_until_s: int) -> None:
        """Tell all function instances to refuse a connection's frames until then."""
        self._update_session(connection_id, "limited_until", limited_until_s)

    def _update_session(self, connection_id: str, name: str, value: int) -> None:
        """Set one value of a session if it still exists; doing it twice, after a lost answer, has the same effect."""
        update = {
            "TableName": self._table,
            "Key": _session_key(connection_id),
            "UpdateExpression": f"SET {name} = :value",
            "ConditionExpression": "attribute_exists(connection_id)",  # otherwise the write would create a ghost
            "ExpressionAttributeValues": {":value": attribute(value)},
        }
        update_if(self._client, "updating a connection", update)

    def subscribers(self, audience: str, now_s: int) -> Iterator[list[Subscriber]]:
        """Yield the connections that subscribe to an audience, a page at a time, without those past their time."""
        for page in pages(
            self._client,
            "reading an audience",
            TableName=self._table,
            IndexName=AUDIENCE_INDEX,
            KeyConditionExpression="indexed_audience = :audience",
            FilterExpression="expires_at > :now",
            ProjectionExpression="connection_id, user_id, connected_at, #types, #batch",
            ExpressionAttributeNames={"#types": "types", "#batch": "batch"},  # reserved now, or maybe later
            ExpressionAttributeValues={":audience": attribute(audience), ":now": attribute(now_s)},
        ):
            yield [_subscriber(row) for row in page]

    def subscriptions(self, connection_id: str) -> tuple[str | None, list[str]]:
        """Return a connection's user and all its audiences, as of now; (None, []) if it is not registered."""
        user_id: str | None = None
        audiences: list[str] = []
        found = pages(
            self._client,
            "reading a connection",
            TableName=self._table,
            KeyConditionExpression="connection_id = :id",
            ExpressionAttributeValues={":id": attribute(connection_id)},
            ProjectionExpression="audience, user_id",
            ConsistentRead=True,
        )
        for row in chain.from_iterable(found):
            values = plain(row)
            audiences.append(values["audience"])
            user_id = values.get("user_id", user_id)
        return user_id, audiences

    def delete_writes(self, connection_id: str, audiences: Iterable[str]) -> list[Write]:
        """Return the writes that delete a connection's items for these audiences."""
        keys = [_key(connection_id, audience) for audience in audiences]
        return [Write("Delete", {"TableName": self._table, "Key": key}) for key in keys]

    def delete(self, subscriptions: Iterable[tuple[str, str]]) -> None:
        """Delete items by connection id and audience; each pair must be given once."""
        keys = [_key(connection_id, audience) for connection_id, audience in subscriptions]
        write_all(self._client, self._table, [{"DeleteRequest": {"Key": key}} for key in keys])


def _item(connection: Connection, audience: str, more: dict[str, Value]) -> dict[str, Any]:
    """Return a connection's item for one of its audiences."""
    return item(
        {
            "connection_id": connection.connection_id,
            "audience": audience,
            "user_id": connection.user_id,
            "endpoint": connection.endpoint,
            "connected_at": connection.connected_at_ms,
            "types": connection.types,
            "batch": connection.batch or None,
            "expires_at": connection.expires_at_s,
            **more,
        }
    )


def _subscriber(row: dict[str, Any]) -> Subscriber:
    """Read a row of the index: by hand, because `plain` takes four times as long, and there may be 100,000 rows."""
    types, batch = row.get("types"), row.get("batch")
    return Subscriber(
        connection_id=row["connection_id"]["S"],
        user_id=row["user_id"]["S"],
        connected_at_ms=int(row["connected_at"]["N"]),
        types=frozenset(types["SS"]) if types else frozenset(),
        batch=batch["BOOL"] if batch else False,
    )


def read_session(row: Mapping[str, Any]) -> Session:
    """Read a session's item."""
    values = plain(row)
    connection = Connection(
        connection_id=values["connection_id"],
        endpoint=values["endpoint"],
        user_id=values["user_id"],
        connected_at_ms=values["connected_at"],
        token_expires_at_s=values["token_expires_at"],
        types=values.get("types", frozenset()),
        batch=values.get("batch", False),
    )
    return Session(connection, values["lease_until"], values.get("limited_until", 0))


def _session_key(connection_id: str) -> dict[str, Any]:
    return _key(connection_id, direct(connection_id))


def _key(connection_id: str, audience: str) -> dict[str, Any]:
    return item({"connection_id": connection_id, "audience": audience})
