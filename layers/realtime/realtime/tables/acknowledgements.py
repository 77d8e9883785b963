"""Acknowledgements that have not come yet: an item in the Events table for each user and event."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from realtime.aws.clients import aws_errors
from realtime.tables.dynamodb import attribute
from realtime.tables.events import awaited_key
from realtime.tables.transactions import Write

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Acknowledgements:
    """The acknowledgements that are awaited."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def await_writes(self, user_ids: Iterable[str], event_id: str, expires_at_s: int) -> list[Write]:
        """Return the writes that record which users must acknowledge an event."""
        expiry = {"expires_at": attribute(expires_at_s)}
        items = [{**awaited_key(user_id, event_id), **expiry} for user_id in user_ids]
        return [Write("Put", {"TableName": self._table, "Item": each}) for each in items]

    def is_awaited(self, user_id: str, event_id: str) -> bool:
        """Return whether a user still has to acknowledge an event; the read is consistent."""
        key = awaited_key(user_id, event_id)
        with aws_errors("reading whether a message was acknowledged"):
            answer = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        return "Item" in answer

    def settle(self, user_id: str, event_id: str) -> None:
        """Stop waiting for a user's acknowledgement; if none is awaited, nothing changes."""
        with aws_errors("noting an acknowledgement"):
            self._client.delete_item(TableName=self._table, Key=awaited_key(user_id, event_id))
