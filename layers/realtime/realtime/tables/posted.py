"""What was posted last to the audiences that get many events: the position of each, an item in the Events table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

from realtime.tables.dynamodb import item, plain, read_all, write_all
from realtime.tables.events import POSTED_TTL_SECONDS, posted_audience, posted_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class LastPosted(NamedTuple):
    """The position of an audience after a batch, and the id of the batch's last event for it."""

    position: str
    last_id: str


class PostedPositions:
    """The positions that all instances of `broadcast` share."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def read(self, audiences: Collection[str]) -> dict[str, LastPosted]:
        """Return what was noted for these audiences, as of now."""
        rows = map(plain, read_all(self._client, self._table, [posted_key(audience) for audience in audiences]))
        return {posted_audience(row["audience"]): LastPosted(row["position"], row["last_id"]) for row in rows}

    def write(self, posted: Mapping[str, LastPosted], now_s: int) -> None:
        """Note what was posted to these audiences."""
        rows = [
            {**posted_key(audience), **item({**each._asdict(), "expires_at": now_s + POSTED_TTL_SECONDS})}
            for audience, each in posted.items()
        ]
        write_all(self._client, self._table, [{"PutRequest": {"Item": row}} for row in rows])
