"""The Users table: each user's connections and the state that others see.

Every write that may change what others see also raises `version` and sets `changed_at`, from which the stream's
reader makes the messages' ids and times. Several of these writes are parts of a transaction: those are returned
as data, for the caller to put beside its own parts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from zlib import crc32

from botocore.exceptions import ClientError

from realtime.aws.clients import aws_errors, error_code
from realtime.tables.dynamodb import Value, attribute, item, plain, read_all

ONLINE_INDEX = "OnlineIndex"
ONLINE_SHARDS = 8  # partitions of OnlineIndex, the sparse index of who is online

_CHANGED = "version = if_not_exists(version, :zero) + :one, changed_at = :now"


@dataclass(frozen=True, slots=True)
class User:
    """A user as stored; times in ms since the epoch, 0 where never."""

    user_id: str
    username: str | None
    role: str | None
    connection_ids: frozenset[str]
    is_online: bool
    is_busy: bool
    last_seen: int
    left_at: int
    version: int
    changed_at: int
    hidden_from: frozenset[str]  # the users whom this one has blocked


def from_image(image: dict[str, Any]) -> User:
    """Read a user from an item or a stream's image."""
    values = plain(image)
    return User(
        user_id=values["user_id"],
        username=values.get("username"),
        role=values.get("role"),
        connection_ids=values.get("connection_ids", frozenset()),
        is_online=values.get("is_online", False),
        is_busy=bool(values.get("busy_calls")) or values.get("is_busy_manual", False),
        last_seen=values.get("last_seen", 0),
        left_at=values.get("left_at", 0),
        version=values.get("version", 0),
        changed_at=values.get("changed_at", 0),
        hidden_from=values.get("hidden_from", frozenset()),
    )


class Users:
    """The Users table."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self.table = table

    def get(self, user_id: str) -> User | None:
        """Return a user as of now, or None if nothing is known of them."""
        with aws_errors("reading a user"):
            answer = self._client.get_item(TableName=self.table, Key=item({"user_id": user_id}), ConsistentRead=True)
        return from_image(answer["Item"]) if "Item" in answer else None

    def get_many(self, user_ids: Collection[str]) -> list[User]:
        """Return users as of now, without those of whom nothing is known."""
        keys = [item({"user_id": user_id}) for user_id in user_ids]
        return [from_image(row) for row in read_all(self._client, self.table, keys)]

    def online(self) -> Iterator[User]:
        """Return all users who are online, as the index shows them: it lags behind the table."""
        return self._online()

    def _online(
        self, filter_expression: str = "", values: Mapping[str, Value] = MappingProxyType({})
    ) -> Iterator[User]:
        filtered = {"FilterExpression": filter_expression} if filter_expression else {}
        for shard in range(ONLINE_SHARDS):
            start: dict[str, Any] = {}
            while True:
                with aws_errors("reading who is online"):
                    answer = self._client.query(
                        TableName=self.table,
                        IndexName=ONLINE_INDEX,
                        KeyConditionExpression="online_shard = :shard",
                        ExpressionAttributeValues=item({":shard": str(shard), **values}),
                        **filtered,
                        **start,
                    )
                yield from map(from_image, answer["Items"])
                if "LastEvaluatedKey" not in answer:
                    break
                start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def stranded(self, *, left_before: int, seen_before: int) -> Iterator[User]:
        """Yield users who are online without cause: none of their connections is left, or none can be; times in ms."""
        has_left = "attribute_not_exists(connection_ids) AND left_at < :left"
        is_older_than_any_connection = "attribute_exists(connection_ids) AND last_seen < :seen"
        yield from self._online(
            f"({has_left}) OR ({is_older_than_any_connection})", {":left": left_before, ":seen": seen_before}
        )

    def joining(
        self, user_id: str, connection_id: str, *, username: str | None, role: str | None, now: int, limit: int
    ) -> dict[str, Any]:
        """Return the update that gives a user a connection and sets them online, if they have fewer than `limit`."""
        # A set that became empty is gone, and size() of what is not there is no number: hence the first condition.
        has_no_connection = "attribute_not_exists(connection_ids)"
        is_below_limit = "size(connection_ids) < :limit"
        known = {"username": username, "role": role}
        told = {name: value for name, value in known.items() if value is not None}  # else what was known stays
        return self._update(
            user_id,
            "SET is_online = :true, online_shard = :shard, last_seen = :now, "
            + _CHANGED
            + "".join(f", #{name} = :{name}" for name in told)
            + " ADD connection_ids :connection",
            condition=f"{has_no_connection} OR {is_below_limit}",
            names={f"#{name}": name for name in told},
            values={
                ":true": True,
                ":shard": online_shard(user_id),
                ":connection": frozenset({connection_id}),
                ":limit": limit,
                ":now": now,
                **{f":{name}": value for name, value in told.items()},
            },
        )

    def leave(self, user_id: str, connection_id: str, now: int) -> None:
        """Take a connection from a user.

        Twice is as once, so that an update whose answer was lost may be tried again: the second finds that the set does
        not hold the connection, which is what was wanted.
        """
        self._apply(self.leaving(user_id, connection_id, now))

    def leaving(self, user_id: str, connection_id: str, now: int) -> dict[str, Any]:
        """Return the update that takes a connection from a user who has it."""
        return self._update(
            user_id,
            "SET left_at = :now, last_seen = :now DELETE connection_ids :connection",
            condition="contains(connection_ids, :id)",  # a late duplicate must not move left_at
            values={":now": now, ":connection": frozenset({connection_id}), ":id": connection_id},
            counted=False,
        )

    def set_offline(self, user_id: str, left_at: int, now: int) -> bool:
        """Set a user offline if no connection has come since `left_at` (ms); return whether it was done.

        Where the answer is lost and the update tried again, False may be returned though it was done: a count in a log.
        """
        has_not_returned = "attribute_not_exists(connection_ids) AND left_at = :left_at"
        return self._apply(
            self._update(
                user_id,
                f"SET is_online = :false, {_CHANGED} REMOVE online_shard",
                condition=f"is_online = :true AND {has_not_returned}",
                values={":true": True, ":false": False, ":left_at": left_at, ":now": now},
            )
        )

    def calling(self, user_id: str, call_id: str, now: int, *, ongoing: bool) -> dict[str, Any]:
        """Return the update that begins or ends a call of a user; twice is as once."""
        verb = "ADD" if ongoing else "DELETE"
        return self._update(
            user_id, f"SET {_CHANGED} {verb} busy_calls :calls", values={":calls": frozenset({call_id}), ":now": now}
        )

    def busying(self, user_id: str, now: int, *, busy: bool) -> dict[str, Any]:
        """Return the update that sets a user busy or available by hand."""
        return self._update(user_id, f"SET is_busy_manual = :busy, {_CHANGED}", values={":busy": busy, ":now": now})

    def hiding(self, user_id: str, others: Set[str], now: int, *, hidden: bool) -> dict[str, Any]:
        """Return the update that hides a user's presence from others, or shows it again."""
        verb = "ADD" if hidden else "DELETE"
        return self._update(
            user_id, f"SET {_CHANGED} {verb} hidden_from :others", values={":others": others, ":now": now}
        )

    def _update(
        self,
        user_id: str,
        expression: str,
        *,
        values: dict[str, Value],
        names: dict[str, str] | None = None,
        condition: str | None = None,
        counted: bool = True,
    ) -> dict[str, Any]:
        if counted:
            values = {**values, ":zero": 0, ":one": 1}
        update: dict[str, Any] = {
            "TableName": self.table,
            "Key": item({"user_id": user_id}),
            "UpdateExpression": expression,
            "ExpressionAttributeValues": {name: attribute(value) for name, value in values.items()},
        }
        if names:
            update["ExpressionAttributeNames"] = names
        if condition:
            update["ConditionExpression"] = condition
        return {"Update": update}

    def _apply(self, part: dict[str, Any]) -> bool:
        """Make an update by itself; return False where its condition does not hold.

        It is tried again where it meets a transaction or its answer is lost: each caller's condition must bear that.
        """
        with aws_errors("updating a user"):
            try:
                self._client.update_item(**part["Update"])
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return False
                raise
        return True


def online_shard(user_id: str) -> str:
    """Name the partition of OnlineIndex that a user belongs to."""
    return str(crc32(user_id.encode()) % ONLINE_SHARDS)
