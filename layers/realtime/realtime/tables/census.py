"""Counts of what is in the tables now. They read all of it, so they are for those who ask now and then."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from realtime.aws import retries
from realtime.aws.clients import aws_errors
from realtime.errors import Unavailable
from realtime.tables.dynamodb import attribute
from realtime.tables.membership import ONLINE_SHARDS
from realtime.tables.users import Users

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

    def __init__(self, client: DynamoDBClient, connections_table: str, users: Users) -> None:
        self._client = client
        self._table = connections_table
        self._users = users

    def online(self, feed_role: str) -> Online:
        """Count the users who are online, as the index shows them."""
        latest = retries.latest()
        with ThreadPoolExecutor(ONLINE_SHARDS) as threads:
            counts = list(threads.map(lambda shard: self._of_shard(shard, feed_role, latest), range(ONLINE_SHARDS)))
        return Online(*(sum(column) for column in zip(*counts, strict=True)))

    def connections(self, now_s: int) -> Counter[str]:
        """Count the connections of each stage, without those past their time."""
        latest = retries.latest()
        total: Counter[str] = Counter()
        with ThreadPoolExecutor(_SEGMENTS) as threads:
            for found in threads.map(lambda segment: self._of_segment(segment, now_s, latest), range(_SEGMENTS)):
                total += found
        return total

    def _of_shard(self, shard: int, feed_role: str, latest: float) -> tuple[int, int, int]:
        users = listeners = busy = 0
        for user in self._users.online_in(shard):
            _check_time(latest)
            users += 1
            if user.role == feed_role:
                listeners += 1
                busy += user.is_busy
        return users, listeners, busy

    def _of_segment(self, segment: int, now_s: int, latest: float) -> Counter[str]:
        return Counter(row["endpoint"]["S"] for row in self._sessions(segment, now_s, latest))

    def _sessions(self, segment: int, now_s: int, latest: float) -> Iterator[dict[str, Any]]:
        start: dict[str, Any] = {}
        while True:
            _check_time(latest)
            with aws_errors("counting connections"):
                answer = self._client.scan(
                    TableName=self._table,
                    Segment=segment,
                    TotalSegments=_SEGMENTS,
                    FilterExpression="attribute_exists(lease_until) AND expires_at > :now",  # sessions alone
                    ProjectionExpression="#stage",
                    ExpressionAttributeNames={"#stage": "endpoint"},  # so called from when each stage was one endpoint
                    ExpressionAttributeValues={":now": attribute(now_s)},
                    **start,
                )
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}


def _check_time(latest: float) -> None:
    if time.monotonic() > latest:
        raise Unavailable("there is more to count than the function's time allows")
