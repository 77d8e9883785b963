"""What blocks cost: read and write units of a user with many blocks, and of a user whom many have blocked.

`python -m tests.support.blocks` prints the table of docs/decisions/0044-blocks-without-bound.md.
tests/integration/test_many_blocks.py sees that 10,000 cost no more than that page says.

The blocks are put into the tables as `ingest` would; those that are measured go through `ingest`. Each step runs the
function in a new instance, which remembers nothing of the list.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from operate.cost import Cost
from realtime.aws import clients
from realtime.ids import make_event_id
from realtime.tables.blocks import Blocks
from realtime.tables.dynamodb import item
from realtime.tables.served import Served
from realtime.tables.users import FEW_BLOCKS
from tests.samples import backend_event
from tests.support.cloud import STORY_BEGINS, Cloud
from tests.support.costs import MeteredService, frame, handshake
from tests.support.strict_dynamodb import StrictDynamoDB, attach
from tests.unit.fakes import Clock

BLOCKER, BLOCKED, OTHER = "123", "500000", "700001"
HEARERS = 20  # on presence; every second one is blocked
COUNTS = (0, 20, 100, 1000, 10_000, 100_000)
STEPS = {
    "connect": "the user connects, and is announced",
    "busy": "another change of the user's presence",
    "call": "a call with them",
    "sync": "`sync` of somebody else",
    "sync_blocked": "`sync` of somebody whom they blocked",
    "watch": "`watch` of the user by somebody else",
    "resume": "`resume` of somebody else, on presence",
    "block": "they block one more",
    "unblock": "they unblock somebody",
}
STEPS_OF_BLOCKED = {
    "connect": "the user connects",
    "busy": "a change of presence of somebody else",
    "sync": "`sync` of the user",
    "resume": "`resume` of the user, on presence",
    "watch": "`watch` of somebody else by the user",
}


def hearers() -> Sequence[tuple[str, bool]]:
    """Return who hears presence, and whether the user has blocked them."""
    return [
        (str(500_000 + number) if number % 2 == 0 else str(700_000 + number), number % 2 == 0)
        for number in range(HEARERS)
    ]


def _groups(requests: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(requests), 25):
        yield requests[start : start + 25]


class World:
    """A service with hearers of presence."""

    def __init__(self, cloud: Cloud, clock: Any, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Served, "mark", lambda *_: None)
        self.cloud, self.clock, self.service = cloud, clock, MeteredService(cloud, clock)
        self.blocked: set[str] = set()
        self._numbers = itertools.count()
        for user, _ in hearers():
            self.service.takes("connect", handshake(self.connection(user), user, "presence", role="user"))
        self.service.takes("default", frame(self.connection(OTHER), "presence", "sync"))  # notes how many are online

    @staticmethod
    def connection(user: str) -> str:
        """Return the id of a user's connection."""
        return f"c{user:0>14}="

    def put_blocks(self, count: int) -> None:
        """Let the user have blocked so many: hearers and others, of whom the last are in the item."""
        wanted = [user for user, is_blocked in hearers() if is_blocked]
        others = [*wanted, *map(str, range(1_000_000, 1_000_000 + count))][:count]
        listed, in_item = others[:-FEW_BLOCKS], others[-FEW_BLOCKS:]
        self.blocked = set(others)
        blocks = Blocks(self.cloud.dynamodb, "BlocksTable")
        for write in blocks.list_writes(BLOCKER, listed, blocked=True):
            self.cloud.dynamodb.update_item(**write.request)
        for write in blocks.writes(BLOCKER, wanted[:count], blocked=True):  # nobody reads those of the others here
            self.cloud.dynamodb.put_item(**write.request)
        counted = {"listed_blocks": len(listed)} if listed else {}
        user = item({"user_id": BLOCKER, "version": 1, "hidden_from": set(in_item), **counted})
        self.cloud.dynamodb.put_item(TableName="UsersTable", Item=user)
        self.cloud.stream("Users")

    def put_blockers(self, count: int) -> None:
        """Let so many have blocked a user: each has few blocks, in their own item."""
        blocks = Blocks(self.cloud.dynamodb, "BlocksTable")
        writes = (write for blocker in range(count) for write in blocks.writes(f"{blocker}", [BLOCKED], blocked=True))
        for some in _groups([{"PutRequest": {"Item": write.request["Item"]}} for write in writes]):
            self.cloud.dynamodb.batch_write_item(RequestItems={"BlocksTable": some})

    def heard(self) -> set[str]:
        """Return who heard of the last step."""
        ids = {delivery.connection_id for delivery in self.cloud.poster.deliveries}
        return {user for user, _ in hearers() if self.connection(user) in ids}

    def frame(self, user: str, kind: str, **data: Any) -> Cost:
        """Let a hearer send a frame."""
        return self.service.takes("default", frame(self.connection(user), "presence", kind, **data))

    def event(self, kind: str, **detail: Any) -> Cost:
        """Let a backend put an event on the bus."""
        event = backend_event(kind)
        self.clock.now += 1
        return self.service.takes(
            "ingest", {**event, "id": f"event-{next(self._numbers)}", "detail": event["detail"] | detail}
        )


def measure(world: World) -> dict[str, Cost]:
    """Take each step of a user with many blocks; see who hears of them, and return the costs."""
    found: dict[str, Cost] = {}
    not_blocked = {user for user, _ in hearers()} - world.blocked
    away = make_event_id(int(world.clock.now * 1000) - 1000)
    found["connect"] = world.service.takes("connect", handshake("RfGx1dQAIAMCIhA=", BLOCKER, "calls"))
    assert world.heard() == not_blocked
    found["busy"] = world.event("status_change", user_id=int(BLOCKER), is_busy=True)
    assert world.heard() == not_blocked
    found["call"] = world.event("call_started", user_id=int(BLOCKER), listener_id=777)
    assert len(world.cloud.poster) > len(not_blocked)
    found["sync"] = world.frame(OTHER, "sync")
    found["sync_blocked"] = world.frame(BLOCKED, "sync")
    found["resume"] = world.frame(OTHER, "resume", last_id=away)
    found["watch"] = world.frame(OTHER, "watch", user_ids=[int(BLOCKER)])
    for name, kind in (("block", "user_blocked"), ("unblock", "user_unblocked")):
        found[name] = world.event(kind, user_id=int(BLOCKER), delivery={"to": [999]})
    return found


def measure_blocked(world: World) -> dict[str, Cost]:
    """Take the steps of a user whom many have blocked, and of somebody else beside them."""
    away = make_event_id(int(world.clock.now * 1000) - 1000)
    found = {
        "connect": world.service.takes("connect", handshake("RfGx1dQAIAMCIhA=", BLOCKED, "calls")),
        "busy": world.event("status_change", user_id=int(OTHER), is_busy=True),
        "sync": world.frame(BLOCKED, "sync"),
    }
    found["resume"] = world.frame(BLOCKED, "resume", last_id=away)
    found["watch"] = world.frame(BLOCKED, "watch", user_ids=[int(OTHER)])
    return found


def table(steps: dict[str, str], costs: dict[int, dict[str, Cost]]) -> str:
    """Return the write and read units of each step, for each number of blocks."""
    lines = [f"| write, read units | {' | '.join(f'{count:,}' for count in costs)} |"]
    lines.append(f"| --- |{' ---: |' * len(costs)}")
    for name, text in steps.items():
        cells = (f"{found[name].writes:.4g}, {found[name].reads:.4g}" for found in costs.values())
        lines.append(f"| {text} | {' | '.join(cells)} |")
    return "\n".join(lines)


def run(count: int, *, as_blocked: bool) -> dict[str, Cost]:
    """Measure over tables in memory: a user with so many blocks, or one whom so many have blocked."""
    os.environ |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    clients.session.cache_clear()
    clients.client.cache_clear()
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        clock = Clock(STORY_BEGINS + 0.4)
        patch.setattr(time, "time", clock)
        patch.setattr(random, "random", lambda: 0.99)
        cloud = Cloud(patch)
        attach(clients.client("dynamodb"), StrictDynamoDB(cloud.perform, cloud.image))
        world = World(cloud, clock, patch)
        if as_blocked:
            world.put_blockers(count)
            return measure_blocked(world)
        world.put_blocks(count)
        return measure(world)


def main() -> None:
    """Measure and print."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # the functions' logs
        of_blockers = {count: run(count, as_blocked=False) for count in COUNTS}
        of_blocked = {count: run(count, as_blocked=True) for count in COUNTS}
    sys.stdout.write(
        f"A user with so many blocks; {HEARERS} hear presence, and every second one of them is blocked:\n\n"
        f"{table(STEPS, of_blockers)}\n\nA user whom so many have blocked:\n\n{table(STEPS_OF_BLOCKED, of_blocked)}\n"
    )


if __name__ == "__main__":
    main()
