"""What each connection watches: one item of the Connections table beside its subscriptions, which follow it.

It also leads from a connection to its subscriptions to watched users, which lie in these users' partitions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from realtime.aws.clients import aws_errors
from realtime.tables.dynamodb import Value, item, plain, update_if
from realtime.tables.sessions import Connection
from realtime.watch_state import WatchState

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

WATCHED = "watched"  # its sort key, which is no audience


class Watched:
    """The states of watching, each with a version that rises with every change."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def read(self, connection_id: str) -> tuple[WatchState | None, int]:
        """Return a connection's state, as of now, and its version; None if it never changed what it watches."""
        with aws_errors("reading what is watched"):
            answer = self._client.get_item(TableName=self._table, Key=_key(connection_id), ConsistentRead=True)
        found = plain(answer.get("Item", {}))
        return (WatchState.from_text(found["state"]), found["version"]) if found else (None, 0)

    def write(self, connection: Connection, state: WatchState, version: int) -> bool:
        """Store a state, if the one of this version is still there (0: none); return whether it was."""
        values: dict[str, Value] = {
            ":state": state.as_text(),
            ":next": version + 1,
            **{f":{name}": value for name, value in _about(connection).items()},
            **({":version": version} if version else {}),
        }
        update = {
            "TableName": self._table,
            "Key": _key(connection.connection_id),
            "UpdateExpression": "SET #state = :state, version = :next, "
            + ", ".join(f"{name} = :{name}" for name in _about(connection)),
            "ConditionExpression": "version = :version" if version else "attribute_not_exists(version)",
            "ExpressionAttributeNames": {"#state": "state"},  # reserved
            "ExpressionAttributeValues": item(values),
        }
        return update_if(self._client, "changing what is watched", update)


def first_item(connection: Connection, user_ids: Iterable[str]) -> dict[str, Any]:
    """Return the item of a connection that watches these users as it begins."""
    state = WatchState(settled=frozenset(user_ids)).as_text()
    return {**_key(connection.connection_id), **item({"state": state, "version": 1, **_about(connection)})}


def _about(connection: Connection) -> dict[str, Value]:
    """Return what leads from the item to the connection's user and subscriptions when all else is deleted."""
    return {"user_id": connection.user_id, "endpoint": connection.stage, "expires_at": connection.expires_at_s}


def _key(connection_id: str) -> dict[str, Any]:
    return item({"connection_id": connection_id, "audience": WATCHED})
