"""The Users table: each user's connections and the state that others see.

Every write that may change what others see also raises `version` and sets `changed_at`, from which the stream's
reader makes the messages' ids and times. Methods called `*_write` return a write for the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from zlib import crc32

from realtime.aws.clients import aws_errors
from realtime.errors import ConnectionLimit, RealtimeError
from realtime.tables.dynamodb import Value, attribute, item, pages, plain, read_all, update_if
from realtime.tables.transactions import ConditionFailed, Item, Write

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ONLINE_INDEX = "OnlineIndex"
ONLINE_SHARDS = 8  # partitions of OnlineIndex, the sparse index of the users who are online

_UPDATING = "updating a user"
_CHANGED = "version = if_not_exists(version, :zero) + :one, changed_at = :now"


class NotConnected(ConditionFailed):
    """The user does not have this connection, or does not have it any more."""


@dataclass(frozen=True, slots=True)
class User:
    """A user as stored; times since the epoch, 0 if there was none."""

    user_id: str
    username: str | None
    role: str | None
    connection_ids: frozenset[str]
    is_online: bool
    is_busy: bool
    last_seen_ms: int
    left_at_ms: int
    version: int
    changed_at_ms: int
    hidden_from: frozenset[str]  # the users whom this one has blocked


def read_user(image: dict[str, Any]) -> User:
    """Read a user from an item or a stream's image."""
    values = plain(image)
    return User(
        user_id=values["user_id"],
        username=values.get("username"),
        role=values.get("role"),
        connection_ids=values.get("connection_ids", frozenset()),
        is_online=values.get("is_online", False),
        is_busy=bool(values.get("busy_calls")) or values.get("is_busy_manual", False),
        last_seen_ms=values.get("last_seen", 0),
        left_at_ms=values.get("left_at", 0),
        version=values.get("version", 0),
        changed_at_ms=values.get("changed_at", 0),
        hidden_from=values.get("hidden_from", frozenset()),
    )


class Users:
    """The Users table."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def get(self, user_id: str) -> User | None:
        """Return a user as of now, or None if nothing is known of them."""
        key = item({"user_id": user_id})
        with aws_errors("reading a user"):
            answer = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        return read_user(answer["Item"]) if "Item" in answer else None

    def get_many(self, user_ids: Collection[str]) -> list[User]:
        """Return users as of now; users of whom nothing is known are left out."""
        keys = [item({"user_id": user_id}) for user_id in user_ids]
        return [read_user(row) for row in read_all(self._client, self._table, keys)]

    def online(self) -> Iterator[User]:
        """Yield all users who are online, as the index shows them: it lags behind the table."""
        return self._online()

    def stranded(self, *, left_before_ms: int, seen_before_ms: int) -> Iterator[User]:
        """Yield users who are online wrongly: they have no connection, or only connections older than any can be."""
        has_left = "attribute_not_exists(connection_ids) AND left_at < :left"
        is_older_than_any_connection = "attribute_exists(connection_ids) AND last_seen < :seen"
        return self._online(
            f"({has_left}) OR ({is_older_than_any_connection})", {":left": left_before_ms, ":seen": seen_before_ms}
        )

    def _online(
        self, filter_expression: str = "", values: Mapping[str, Value] = MappingProxyType({})
    ) -> Iterator[User]:
        filtered = {"FilterExpression": filter_expression} if filter_expression else {}
        for shard in range(ONLINE_SHARDS):
            found = pages(
                self._client,
                "reading the users who are online",
                TableName=self._table,
                IndexName=ONLINE_INDEX,
                KeyConditionExpression="online_shard = :shard",
                ExpressionAttributeValues=item({":shard": str(shard), **values}),
                **filtered,
            )
            yield from map(read_user, chain.from_iterable(found))

    def join_write(
        self, user_id: str, connection_id: str, *, username: str | None, role: str | None, now_ms: int, limit: int
    ) -> Write:
        """Return the write that gives a user a connection and sets them online.

        It fails with ConnectionLimit if they have `limit` connections already.
        """
        # A set that became empty is gone, and size() of a missing attribute is no number: hence the first condition.
        has_no_connection = "attribute_not_exists(connection_ids)"
        is_below_limit = "size(connection_ids) < :limit"
        claims = {"username": username, "role": role}
        updated = {name: value for name, value in claims.items() if value is not None}  # the others stay as they are
        return self._update(
            user_id,
            "SET is_online = :true, online_shard = :shard, last_seen = :now, "
            + _CHANGED
            + "".join(f", #{name} = :{name}" for name in updated)
            + " ADD connection_ids :connection",
            condition=f"{has_no_connection} OR {is_below_limit}",
            failure=ConnectionLimit(reason=f"user {user_id} has {limit} connections"),
            names={f"#{name}": name for name in updated},
            values={
                ":true": True,
                ":shard": online_shard(user_id),
                ":connection": frozenset({connection_id}),
                ":limit": limit,
                ":now": now_ms,
                **{f":{name}": value for name, value in updated.items()},
            },
        )

    def leave(self, user_id: str, connection_id: str, now_ms: int) -> None:
        """Take a connection from a user.

        An update whose answer was lost may be made again: the second finds that the user does not have the connection.
        """
        write = self.leave_write(user_id, connection_id, now_ms)
        update_if(self._client, _UPDATING, write.request)

    def leave_write(self, user_id: str, connection_id: str, now_ms: int) -> Write:
        """Return the write that takes a connection from a user; it fails with NotConnected if they do not have it."""
        return self._update(
            user_id,
            "SET left_at = :now, last_seen = :now DELETE connection_ids :connection",
            condition="contains(connection_ids, :id)",  # a late duplicate must not move left_at
            failure=NotConnected("the user does not have this connection"),
            values={":now": now_ms, ":connection": frozenset({connection_id}), ":id": connection_id},
            counted=False,
        )

    def set_offline(self, user_id: str, left_at_ms: int, now_ms: int) -> bool:
        """Set a user offline if no connection has come since `left_at_ms`; return whether it was done.

        If the answer is lost and the update made again, it may return False although it was done: a count in a log.
        """
        has_not_returned = "attribute_not_exists(connection_ids) AND left_at = :left_at"
        update = self._update(
            user_id,
            f"SET is_online = :false, {_CHANGED} REMOVE online_shard",
            condition=f"is_online = :true AND {has_not_returned}",
            values={":true": True, ":false": False, ":left_at": left_at_ms, ":now": now_ms},
        )
        return update_if(self._client, _UPDATING, update.request)

    def call_write(self, user_id: str, call_id: str, now_ms: int, *, ongoing: bool) -> Write:
        """Return the write that starts or ends a call of a user; made twice, it has the same effect."""
        verb = "ADD" if ongoing else "DELETE"
        return self._update(
            user_id,
            f"SET {_CHANGED} {verb} busy_calls :calls",
            values={":calls": frozenset({call_id}), ":now": now_ms},
        )

    def busy_write(self, user_id: str, now_ms: int, *, busy: bool) -> Write:
        """Return the write that sets a user busy or available by hand."""
        return self._update(user_id, f"SET is_busy_manual = :busy, {_CHANGED}", values={":busy": busy, ":now": now_ms})

    def block_write(self, user_id: str, others: Set[str], now_ms: int, *, blocked: bool) -> Write:
        """Return the write that hides a user's presence from others, or shows it to them again."""
        verb = "ADD" if blocked else "DELETE"
        return self._update(
            user_id, f"SET {_CHANGED} {verb} hidden_from :others", values={":others": others, ":now": now_ms}
        )

    def _update(
        self,
        user_id: str,
        expression: str,
        *,
        values: dict[str, Value],
        names: dict[str, str] | None = None,
        condition: str | None = None,
        failure: RealtimeError | None = None,
        counted: bool = True,
    ) -> Write:
        if counted:
            values = {**values, ":zero": 0, ":one": 1}
        update: dict[str, Any] = {
            "TableName": self._table,
            "Key": item({"user_id": user_id}),
            "UpdateExpression": expression,
            "ExpressionAttributeValues": {name: attribute(value) for name, value in values.items()},
        }
        if names:
            update["ExpressionAttributeNames"] = names
        if condition:
            update["ConditionExpression"] = condition

        def fail(_found: Item) -> RealtimeError:
            return failure or ConditionFailed("the user's state is another")

        return Write("Update", update, fail)


def online_shard(user_id: str) -> str:
    """Return the partition of OnlineIndex that a user belongs to."""
    return str(crc32(user_id.encode()) % ONLINE_SHARDS)
