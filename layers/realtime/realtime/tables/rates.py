"""Token buckets that all function instances share: of connections, users and addresses.

Each is one number, the time at which the bucket is full again (rate_limit.Rate): a connection's is in its session, so
that the read which every frame makes shows it; those of users and addresses are items of the Events table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from realtime.audiences import direct
from realtime.aws.clients import aws_errors, error_code
from realtime.errors import Unavailable
from realtime.tables.dynamodb import attribute, item, plain
from realtime.tables.events import RATE_TTL_SECONDS, address_rate_key, status_rate_key, user_rate_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

FULL_AT = "full_at"  # ms
REFUSED_UNTIL = "refused_until"  # ms; likewise, of a bucket of refusals

_ATTEMPTS = 5  # another writer may change the bucket between two of them
_UNLIMITED_MS = 10**12


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket before and after tokens were asked for: when it is full, in ms since the epoch."""

    before_ms: int
    full_at_ms: int
    is_granted: bool


class Rates:
    """The shared buckets."""

    def __init__(self, client: DynamoDBClient, connections_table: str | None, events_table: str) -> None:
        self._client = client
        self._connections_table = connections_table
        self._events_table = events_table

    def take_of_connection(
        self, connection_id: str, cost_ms: int, room_ms: int, now_ms: int, *, seen_ms: int
    ) -> Bucket | None:
        """Take tokens for a frame of a connection; None if the connection was forgotten meanwhile.

        `seen_ms` is what its session showed; if that is still true, the first write succeeds.
        """
        return self._of_session(connection_id, FULL_AT, cost_ms, room_ms, now_ms, seen_ms)

    def charge_connection(self, connection_id: str, cost_ms: int, now_ms: int) -> Bucket | None:
        """Take tokens of a connection, even into debt; None if it was forgotten meanwhile."""
        return self._of_session(connection_id, FULL_AT, cost_ms, _UNLIMITED_MS, now_ms)

    def count_refusals(self, connection_id: str, cost_ms: int, now_ms: int) -> Bucket | None:
        """Count refused frames of a connection, in a bucket of their own: a wait that it was told stays true."""
        return self._of_session(connection_id, REFUSED_UNTIL, cost_ms, _UNLIMITED_MS, now_ms)

    def take_of_user(self, user_id: str, cost_ms: int, room_ms: int, now_ms: int) -> Bucket:
        """Take tokens of the bucket of all connections of a user."""
        return self._of_events(user_rate_key(user_id), cost_ms, room_ms, now_ms)

    def take_of_status(self, user_id: str, cost_ms: int, room_ms: int, now_ms: int) -> Bucket:
        """Take tokens of the bucket of a user's changes of status."""
        return self._of_events(status_rate_key(user_id), cost_ms, room_ms, now_ms)

    def take_of_address(self, address: str, cost_ms: int, room_ms: int, now_ms: int) -> Bucket:
        """Take tokens of the bucket of an address."""
        return self._of_events(address_rate_key(address), cost_ms, room_ms, now_ms)

    def _of_session(
        self, connection_id: str, name: str, cost_ms: int, room_ms: int, now_ms: int, seen_ms: int = 0
    ) -> Bucket | None:
        key = item({"connection_id": connection_id, "audience": direct(connection_id)})
        exists = "attribute_exists(connection_id)"  # otherwise the write would create a ghost
        update = {"TableName": self._connections_table, "Key": key}
        return self._advance(update, name, cost_ms, room_ms, now_ms, seen_ms, exists=exists)

    def _of_events(self, key: Mapping[str, Any], cost_ms: int, room_ms: int, now_ms: int) -> Bucket:
        update = {"TableName": self._events_table, "Key": key}
        expires_at_s = now_ms // 1000 + RATE_TTL_SECONDS
        found = self._advance(update, FULL_AT, cost_ms, room_ms, now_ms, 0, expires_at_s=expires_at_s)
        return found or Bucket(now_ms, now_ms, is_granted=True)  # deleted by its TTL just now

    def _advance(
        self,
        update: Mapping[str, Any],
        name: str,
        cost_ms: int,
        room_ms: int,
        now_ms: int,
        before_ms: int,
        *,
        exists: str | None = None,
        expires_at_s: int | None = None,
    ) -> Bucket | None:
        """Take tokens of a bucket in one write, whose condition says whether one is left; None if the item is gone.

        Taking them twice, after a lost answer, does no harm.
        """
        for _ in range(_ATTEMPTS):
            if before_ms <= now_ms:
                condition = f"(attribute_not_exists({name}) OR {name} <= :now)"
                change, values = f"SET {name} = :cost", {":now": now_ms, ":cost": now_ms + cost_ms}
            else:
                condition = f"{name} > :now AND {name} <= :latest"
                change = f"SET {name} = {name} + :cost"
                values = {":now": now_ms, ":latest": now_ms + room_ms, ":cost": cost_ms}
            if expires_at_s is not None:
                change, values = f"{change}, expires_at = :expires_at", {**values, ":expires_at": expires_at_s}
            found, is_made = self._update(
                {
                    **update,
                    "UpdateExpression": change,
                    "ConditionExpression": f"{exists} AND {condition}" if exists else condition,
                    "ExpressionAttributeValues": {key: attribute(value) for key, value in values.items()},
                }
            )
            if found is None and not is_made:
                return None
            before_ms = int((found or {}).get(name, 0))
            if is_made:
                return Bucket(before_ms, max(before_ms, now_ms) + cost_ms, is_granted=True)
            if before_ms > now_ms + room_ms:
                return Bucket(before_ms, before_ms, is_granted=False)
        raise Unavailable("counting: others change the bucket all the time")

    def _update(self, update: Mapping[str, Any]) -> tuple[dict[str, Any] | None, bool]:
        """Return what was there before (None: no item), and whether the update was made."""
        with aws_errors("counting"):
            try:
                answer = self._client.update_item(
                    **update, ReturnValues="ALL_OLD", ReturnValuesOnConditionCheckFailure="ALL_OLD"
                )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise
                found: Any = error.response.get("Item")
                return plain(found) if found else None, False
        return plain(answer.get("Attributes", {})), True
