"""Counts of what is in the tables now. They read all of it, so they are for those who ask now and then."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from realtime.aws import retries
from realtime.aws.clients import aws_errors
from realtime.errors import Unavailable
from realtime.tables.dynamodb import item
from realtime.tables.membership import ONLINE_SHARDS
from realtime.tables.users import ONLINE_INDEX
from realtime.threads import submit

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_SEGMENTS = 8  # of the scan, read at the same time


@dataclass(frozen=True, slots=True)
class Online:
    """How many users are online; how many of them are listeners, and how many of these are busy."""

    users: int
    listeners: int
    busy: int


class Census:
    """Counts connections and users, a read unit for each 8 KB; both raise Unavailable if the time does not suffice."""

    def __init__(self, client: DynamoDBClient, connections_table: str, users_table: str) -> None:
        self._client = client
        self._connections_table = connections_table
        self._users_table = users_table

    def online(self, feed_role: str) -> Online:
        """Count the users who are online, as the index shows them; of users who are no listeners nothing is sent."""
        pages = [page for shard in self._each(ONLINE_SHARDS, lambda n: self._online(n, feed_role)) for page in shard]
        listeners = [row for page in pages for row in page["Items"]]
        busy = sum("busy_calls" in row or row.get("is_busy_manual") == {"BOOL": True} for row in listeners)
        return Online(sum(page["ScannedCount"] for page in pages), len(listeners), busy)

    def connections(self, now_s: int) -> Counter[str]:
        """Count the connections of each stage, without those past their time."""
        pages = [page for each in self._each(_SEGMENTS, lambda n: self._sessions(n, now_s)) for page in each]
        return Counter(row["endpoint"]["S"] for page in pages for row in page["Items"])

    def _online(self, shard: int, feed_role: str) -> dict[str, Any]:
        return {
            "call": self._client.query,
            "TableName": self._users_table,
            "IndexName": ONLINE_INDEX,
            "KeyConditionExpression": "online_shard = :shard",
            "FilterExpression": "#role = :role",
            "ProjectionExpression": "busy_calls, is_busy_manual",
            "ExpressionAttributeNames": {"#role": "role"},  # reserved
            "ExpressionAttributeValues": item({":shard": str(shard), ":role": feed_role}),
        }

    def _sessions(self, segment: int, now_s: int) -> dict[str, Any]:
        return {
            "call": self._client.scan,
            "TableName": self._connections_table,
            "Segment": segment,
            "TotalSegments": _SEGMENTS,
            "FilterExpression": "attribute_exists(lease_until) AND expires_at > :now",  # sessions alone
            "ProjectionExpression": "#stage",
            "ExpressionAttributeNames": {"#stage": "endpoint"},  # so called from when each stage was one endpoint
            "ExpressionAttributeValues": item({":now": now_s}),
        }

    def _each(self, count: int, read: Callable[[int], dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
        """Make a number of reads at the same time; yield the pages of each."""
        with ThreadPoolExecutor(count) as threads:
            readings = [submit(threads, lambda each: list(_pages(**each)), read(number)) for number in range(count)]
            for reading in readings:
                yield reading.result()


def _pages(call: Callable[..., Any], **request: Any) -> Iterator[dict[str, Any]]:
    while True:
        if time.monotonic() > retries.latest():
            raise Unavailable("there is more to count than the function's time allows")
        with aws_errors("counting"):
            page = call(**request)
        yield page
        if "LastEvaluatedKey" not in page:
            return
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
