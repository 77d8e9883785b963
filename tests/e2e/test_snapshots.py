"""Snapshots of many users while these users come online and go offline."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any
from zlib import crc32

import pytest

from harness.stack import Client, Message, Stack

MANY = 5_000
COMING_AND_GOING = 600
PAGE_BYTES = 32 * 1024
ONLINE_SHARDS = 8
WRITERS = 4

Item = dict[str, Any]


class Crowd:
    """Users whose items a test writes directly to the table, instead of opening connections."""

    def __init__(self, stack: Stack) -> None:
        self.users: list[int] = []
        self._stack, self._table = stack, stack.outputs["UsersTableName"]

    def come_in_silence(self, count: int) -> list[int]:
        """Set new users online without an announcement."""
        users = [self._stack.new_user() for _ in range(count)]
        self.users += users
        self._write([{"PutRequest": {"Item": self._online(user)}} for user in users])
        return users

    def change(self, user: int, *, online: bool) -> None:
        """Let a user come or go, as `connect` or `deadlines` write it."""
        shard = str(crc32(str(user).encode()) % ONLINE_SHARDS)
        self._stack.dynamodb.update_item(
            TableName=self._table,
            Key={"user_id": {"S": str(user)}},
            UpdateExpression="SET is_online = :online, last_seen = :now, changed_at = :now"
            + (", online_shard = :shard" if online else "")
            + " ADD version :one REMOVE silent"
            + ("" if online else ", online_shard"),
            ExpressionAttributeValues={
                ":online": {"BOOL": online},
                ":now": {"N": str(int(time.time() * 1000))},
                ":one": {"N": "1"},
                **({":shard": {"S": shard}} if online else {}),
            },
        )

    def online(self) -> dict[int, int]:
        """The users who are online by the table itself, with their versions."""
        keys = [{"user_id": {"S": str(user)}} for user in self.users]
        found: list[Item] = []
        for batch in batches(keys, 100):
            request = {self._table: {"Keys": batch, "ConsistentRead": True}}
            answer = self._stack.dynamodb.batch_get_item(RequestItems=request)
            assert not answer["UnprocessedKeys"]
            found += answer["Responses"][self._table]
        return {int(item["user_id"]["S"]): int(item["version"]["N"]) for item in found if item["is_online"]["BOOL"]}

    def leave(self) -> None:
        """Delete them all."""
        self._write([{"DeleteRequest": {"Key": {"user_id": {"S": str(user)}}}} for user in self.users])

    def _write(self, requests: list[Item]) -> None:
        with ThreadPoolExecutor(WRITERS) as threads:
            for answer in threads.map(self._write_batch, batches(requests, 25)):
                assert not answer["UnprocessedItems"]

    def _write_batch(self, requests: list[Item]) -> Item:
        answer: Item = self._stack.dynamodb.batch_write_item(RequestItems={self._table: requests})
        return answer

    @staticmethod
    def _online(user: int) -> Item:
        now = {"N": str(int(time.time() * 1000))}
        return {
            "user_id": {"S": str(user)},
            "username": {"S": f"user_{user}"},
            "is_online": {"BOOL": True},
            "online_shard": {"S": str(crc32(str(user).encode()) % ONLINE_SHARDS)},
            "last_seen": now,
            "changed_at": now,
            "version": {"N": "1"},
            "silent": {"BOOL": True},
        }


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


@contextmanager
def filtered(stack: Stack, pattern: Item) -> Iterator[None]:
    """Let `announce` get only the records that match a pattern."""
    client, function = stack.aws("lambda"), stack.outputs["AnnounceFunctionName"]
    (mapping,) = client.list_event_source_mappings(FunctionName=f"{function}:live")["EventSourceMappings"]
    filters = {"Filters": [{"Pattern": json.dumps(pattern)}]}
    client.update_event_source_mapping(UUID=mapping["UUID"], FilterCriteria=filters)
    try:
        yield
    finally:
        client.update_event_source_mapping(UUID=mapping["UUID"], FilterCriteria=mapping["FilterCriteria"])


@pytest.fixture
def crowd(stack: Stack) -> Iterator[Crowd]:
    """A crowd that is gone after the test."""
    found = Crowd(stack)
    announced = {"eventName": ["INSERT", "MODIFY"], "dynamodb": {"NewImage": {"silent": [{"exists": False}]}}}
    with filtered(stack, announced):
        yield found
        found.leave()


async def test_five_thousand_users_are_shown_in_pages_that_fit_a_frame(stack: Stack, crowd: Crowd) -> None:
    users = await asyncio.to_thread(crowd.come_in_silence, MANY)
    async with stack.connect("presence", stack.new_user()) as client:
        shown = await client.snapshot()
        assert shown.keys() >= set(users)
        for user in users:
            assert (shown[user]["username"], shown[user]["is_online"]) == (f"user_{user}", True)
        pages = [message["data"] for message in client.heard if message["type"] == "snapshot"]
        assert [page["complete"] for page in pages] == [False] * (len(pages) - 1) + [True]
        assert all(len(page["users"]) > 1 for page in pages[:-1])
        assert max(len(json.dumps(page, separators=(",", ":"))) for page in pages) < PAGE_BYTES
        assert sum(len(page["users"]) for page in pages) == len(shown)


async def test_a_client_has_the_state_of_the_table_even_if_users_come_and_go_during_a_sync(
    stack: Stack, crowd: Crowd
) -> None:
    present = await asyncio.to_thread(crowd.come_in_silence, COMING_AND_GOING // 2)
    newcomers = [stack.new_user() for _ in range(COMING_AND_GOING // 2)]
    crowd.users += newcomers
    moves: list[tuple[int, bool]] = []
    for leaver, newcomer in zip(present, newcomers, strict=True):
        moves += [(leaver, False), (newcomer, True)]
    moves += [(user, True) for user in present[::10]] + [(user, False) for user in newcomers[::10]]
    async with stack.connect("presence", stack.new_user()) as client:
        moving = asyncio.create_task(asyncio.to_thread(move, crowd, moves))
        while not moving.done():
            await client.snapshot()
        await moving
        await stack.quiet()
        await client.pings()
        view = {user: version for user, version in seen_by(client).items() if user in set(crowd.users)}
        assert view == await asyncio.to_thread(crowd.online)


def move(crowd: Crowd, moves: list[tuple[int, bool]]) -> None:
    for user, online in moves:
        crowd.change(user, online=online)


def seen_by(client: Client) -> dict[int, int]:
    """The online users by all that a client has received, with versions: the message with the higher version counts."""
    latest: dict[int, Message] = {}
    for message in client.heard:
        if message["type"] == "snapshot":
            told = message["data"]["users"]
        elif message["type"] == "presence_update":
            told = [message["data"] | {"version": message["version"]}]
        else:
            continue
        for user in told:
            known = latest.get(user["user_id"])
            if known is None or known["version"] < user["version"]:
                latest[user["user_id"]] = user
    return {user: state["version"] for user, state in latest.items() if state["is_online"]}
