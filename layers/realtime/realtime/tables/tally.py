"""The last count of who is online: one item in the Events table, which whoever counts claims first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime.aws.clients import aws_errors
from realtime.tables.dynamodb import item, plain, update_if
from realtime.tables.events import TALLY_TTL_SECONDS, tally_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class Tally:
    """How many users are online, how many of them are listeners, and how many of these busy; counted since then."""

    users: int
    listeners: int
    busy: int
    counted_at_ms: int


class Tallies:
    """The item that all instances share."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def read(self) -> Tally | None:
        """Return the last count, or None if there is none; it may be some milliseconds old."""
        with aws_errors("reading how many are online"):
            answer = self._client.get_item(TableName=self._table, Key=tally_key())
        found = plain(answer.get("Item", {}))
        if "counted_at" not in found:
            return None
        return Tally(found["users"], found["listeners"], found["busy"], found["counted_at"])

    def claim(self, now_ms: int, until_ms: int) -> bool:
        """Claim to count until a time; return False if somebody else has claimed it."""
        return self._update(
            "claimed_until = :until, expires_at = :ttl",
            "attribute_not_exists(claimed_until) OR claimed_until < :now",
            {":now": now_ms, ":until": until_ms, ":ttl": now_ms // 1000 + TALLY_TTL_SECONDS},
        )

    def publish(self, tally: Tally) -> None:
        """Show a count, unless there is a later one; it ends the claim."""
        self._update(
            "#users = :users, listeners = :listeners, busy = :busy, counted_at = :at, claimed_until = :none, "
            "expires_at = :ttl",
            "attribute_not_exists(counted_at) OR counted_at < :at",
            {
                ":users": tally.users,
                ":listeners": tally.listeners,
                ":busy": tally.busy,
                ":at": tally.counted_at_ms,
                ":none": 0,
                ":ttl": tally.counted_at_ms // 1000 + TALLY_TTL_SECONDS,
            },
            {"#users": "users"},  # reserved
        )

    def _update(
        self, setting: str, condition: str, values: dict[str, int], names: dict[str, str] | None = None
    ) -> bool:
        update = {
            "TableName": self._table,
            "Key": tally_key(),
            "UpdateExpression": f"SET {setting}",
            "ConditionExpression": condition,
            "ExpressionAttributeValues": item(values),
            **({"ExpressionAttributeNames": names} if names else {}),
        }
        return update_if(self._client, "counting who is online", update)
