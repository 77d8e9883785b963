"""What each connection watches: one item of the Connections table beside its subscriptions, which follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realtime.aws.clients import aws_errors
from realtime.tables.connections import Connection
from realtime.tables.dynamodb import Value, item, plain, update_if
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
        found = self._get(connection_id, WATCHED)
        return (WatchState.from_text(found["state"]), found["version"]) if found else (None, 0)

    def is_subscribed(self, audience: str, connection_id: str) -> bool:
        """Return whether the table has a subscription, as of now; the index may lag behind."""
        return self._get(connection_id, audience) is not None

    def write(self, connection: Connection, state: WatchState, version: int) -> bool:
        """Store a state, if the one of this version is still there (0: none); return whether it was."""
        values: dict[str, Value] = {
            ":state": state.as_text(),
            ":next": version + 1,
            ":expires_at": connection.expires_at_s,
            **({":version": version} if version else {}),
        }
        update = {
            "TableName": self._table,
            "Key": _key(connection.connection_id, WATCHED),
            "UpdateExpression": "SET #state = :state, version = :next, expires_at = :expires_at",
            "ConditionExpression": "version = :version" if version else "attribute_not_exists(version)",
            "ExpressionAttributeNames": {"#state": "state"},  # reserved
            "ExpressionAttributeValues": item(values),
        }
        return update_if(self._client, "changing what is watched", update)

    def _get(self, connection_id: str, sort_key: str) -> dict[str, Any] | None:
        key = _key(connection_id, sort_key)
        with aws_errors("reading what is watched"):
            answer = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        return plain(answer["Item"]) if "Item" in answer else None


def _key(connection_id: str, sort_key: str) -> dict[str, Any]:
    return item({"connection_id": connection_id, "audience": sort_key})
