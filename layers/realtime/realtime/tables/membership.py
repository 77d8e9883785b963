"""A user's connections in the Users table: how they come, replace each other and go, and which tokens are refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zlib import crc32

from realtime import trace
from realtime.errors import AuthFailed, RealtimeError
from realtime.tables.dynamodb import Value, attribute, item, plain, update_if
from realtime.tables.transactions import ConditionFailed, Item, Write

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ONLINE_SHARDS = 8  # partitions of OnlineIndex, the sparse index of the users who are online
UPDATING = "updating a user"
_FORGET_SHOWN = " REMOVE shown_to"  # a list of up to 90 ids, which has been announced
CHANGED = "version = if_not_exists(version, :zero) + :one, changed_at = :now, trace_id = :trace"


class NotConnected(ConditionFailed):
    """The user does not have this connection, or does not have it any more."""


class LimitReached(ConditionFailed):
    """A connection does not fit beside these connections of its user, or they are not those that were expected."""

    def __init__(self, connection_ids: frozenset[str]) -> None:
        super().__init__(f"the user has {len(connection_ids)} connections")
        self.connection_ids = connection_ids


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A user's new connection, and what its token says; `issued_at_s` since the epoch."""

    user_id: str
    connection_id: str
    issued_at_s: int
    username: str | None = None
    role: str | None = None


class Membership:
    """The writes by which a user's connections come and go."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def join_write(self, newcomer: Newcomer, now_ms: int, *, limit: int) -> Write:
        """Return the write that gives a user another connection and sets them online.

        It fails with AuthFailed if the token was issued before the user's sessions were revoked, or with LimitReached
        if they have `limit` connections already.
        """
        # A set that became empty is gone, and size() of a missing attribute is no number: hence the first condition.
        room = "attribute_not_exists(connection_ids) OR size(connection_ids) < :limit"
        values: dict[str, Value] = {":connection": frozenset({newcomer.connection_id}), ":limit": limit}
        return self._join(newcomer, now_ms, "", " ADD connection_ids :connection", room, values)

    def replace_write(self, newcomer: Newcomer, now_ms: int, *, among: frozenset[str], victim: str) -> Write:
        """Return the write that gives a user a connection in the place of another; it fails like `join_write`.

        LimitReached means here that their connections are not `among`, of which `victim` is one, any more.
        """
        # No update can both add to a set and delete from it, so the set is replaced as a whole.
        values: dict[str, Value] = {":before": among, ":after": among - {victim} | {newcomer.connection_id}}
        return self._join(newcomer, now_ms, ", connection_ids = :after", "", "connection_ids = :before", values)

    def _join(
        self, newcomer: Newcomer, now_ms: int, also_set: str, then: str, room: str, values: dict[str, Value]
    ) -> Write:
        is_not_revoked = "attribute_not_exists(revoked_before) OR revoked_before <= :issued"
        claims = {"username": newcomer.username, "role": newcomer.role}
        updated = {name: value for name, value in claims.items() if value is not None}  # the others stay as they are

        def fail(found: Item) -> RealtimeError:
            user = plain(found)
            if user.get("revoked_before", 0) > newcomer.issued_at_s:
                return AuthFailed(reason=f"user {newcomer.user_id}: issued before their sessions were revoked")
            return LimitReached(user.get("connection_ids", frozenset()))

        write = self._update(
            newcomer.user_id,
            "SET is_online = :true, online_shard = :shard, last_seen = :now, "
            + CHANGED
            + "".join(f", #{name} = :{name}" for name in updated)
            + also_set
            + then
            + _FORGET_SHOWN,
            condition=f"({is_not_revoked}) AND ({room})",
            names={f"#{name}": name for name in updated},
            values={
                ":true": True,
                ":shard": online_shard(newcomer.user_id),
                ":now": now_ms,
                ":issued": newcomer.issued_at_s,
                **{f":{name}": value for name, value in updated.items()},
                **values,
            },
        )
        return Write("Update", {**write.request, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}, fail)

    def revoke(self, user_id: str, before_s: int) -> None:
        """Refuse from now on the tokens of a user that were issued before a time; an earlier time changes nothing."""
        update = self._update(
            user_id,
            "SET revoked_before = :before",
            condition="attribute_not_exists(revoked_before) OR revoked_before < :before",
            values={":before": before_s},
            counted=False,
        )
        update_if(self._client, UPDATING, update.request)

    def leave(self, user_id: str, connection_id: str, now_ms: int, seen_ms: int | None = None) -> None:
        """Take a connection from a user; `seen_ms` is its last sign of life, if that was not just now.

        An update whose answer was lost may be made again: the second finds that the user does not have the connection.
        """
        write = self.leave_write(user_id, connection_id, now_ms, seen_ms)
        if not update_if(self._client, UPDATING, write.request) and seen_ms is not None:
            write = self.leave_write(user_id, connection_id, now_ms, seen_ms, seen_elsewhere=True)
            update_if(self._client, UPDATING, write.request)

    def leave_write(
        self,
        user_id: str,
        connection_id: str,
        now_ms: int,
        seen_ms: int | None = None,
        *,
        seen_elsewhere: bool = False,
    ) -> Write:
        """Return the write that takes a connection from a user; it fails with NotConnected if they do not have it.

        With `seen_ms` it also fails if they were last seen later. With `seen_elsewhere`, too, it fails if they were
        not.
        """
        has_it = "contains(connection_ids, :id)"  # a late duplicate must not move left_at
        seen_then = "" if seen_ms is None else " AND last_seen " + (">" if seen_elsewhere else "<=") + " :seen"
        return self._update(
            user_id,
            "SET left_at = :now, trace_id = :trace, last_seen = "
            + ("last_seen" if seen_elsewhere else ":seen")
            + " DELETE connection_ids :connection"
            + _FORGET_SHOWN,
            condition=has_it + seen_then,
            failure=NotConnected("the user does not have this connection"),
            values={
                ":now": now_ms,
                ":trace": trace.current(),
                ":seen": now_ms if seen_ms is None else seen_ms,
                ":connection": frozenset({connection_id}),
                ":id": connection_id,
            },
            counted=False,
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
            values = {**values, ":zero": 0, ":one": 1, ":trace": trace.current()}
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
