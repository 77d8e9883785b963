"""When each wide audience was last served completely: a sign of life of all who hear it, at no write per post."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from realtime.errors import RealtimeError
from realtime.log import logger
from realtime.tables.dynamodb import attribute, item, pages, plain, update_if
from realtime.tables.events import SERVED, SERVED_TTL_SECONDS, served_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MARKED_EVERY_SECONDS = 30  # by each instance of `broadcast`
BUSY_GAP_SECONDS = 60  # an audience that is served at least this often is busy


@dataclass(frozen=True, slots=True)
class Service:
    """When an audience was last served, and since when it has been busy; s since the epoch."""

    served_at_s: int
    busy_since_s: int


class Served:
    """The marks of the Events table; an instance remembers its own."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table
        self._marked_at_s: dict[str, int] = {}

    def mark(self, audiences: Iterable[str], now_s: int) -> None:
        """Note that everybody in these audiences was served, unless this instance did so a moment ago.

        If that fails, it is only logged: the posts are made, and a later mark will do.
        """
        due = [each for each in audiences if now_s - self._marked_at_s.get(each, 0) >= MARKED_EVERY_SECONDS]
        try:
            self._mark(due, now_s)
        except RealtimeError as problem:
            logger().warning("cannot note what was served", extra={"reason": str(problem)})

    def _mark(self, audiences: Iterable[str], now_s: int) -> None:
        for audience in audiences:
            if not self._update(audience, now_s, "", "served_at BETWEEN :recent AND :now"):
                was_quiet = "attribute_not_exists(served_at) OR served_at < :recent"
                self._update(audience, now_s, ", busy_since = :now", was_quiet)
            self._marked_at_s[audience] = now_s

    def all(self) -> dict[str, Service]:
        """Return the marks, as of now."""
        found = pages(
            self._client,
            "reading which audiences were served",
            TableName=self._table,
            KeyConditionExpression="audience = :served",
            ExpressionAttributeValues={":served": attribute(SERVED)},
            ConsistentRead=True,
        )
        rows = map(plain, chain.from_iterable(found))
        return {each["event_id"]: Service(each["served_at"], each["busy_since"]) for each in rows}

    def _update(self, audience: str, now_s: int, more: str, condition: str) -> bool:
        values = {":now": now_s, ":recent": now_s - BUSY_GAP_SECONDS, ":expires": now_s + SERVED_TTL_SECONDS}
        update: dict[str, Any] = {
            "TableName": self._table,
            "Key": served_key(audience),
            "UpdateExpression": "SET served_at = :now, expires_at = :expires" + more,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": item(values),
        }
        return update_if(self._client, "noting that an audience was served", update)
