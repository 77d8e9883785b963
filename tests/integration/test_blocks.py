"""Blocks, from the event of a backend to what the blocked are told: few in the user's item, many on a list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from realtime.errors import Unavailable
from realtime.tables import blocks as module
from realtime.tables.blocks import Blocks
from realtime.tables.outbox import Outbox
from realtime.tables.transactions import Transaction
from realtime.tables.users import FEW_BLOCKS
from tests.samples import backend_event
from tests.support.cloud import Cloud, Lagging
from tests.unit.fakes import as_client

BLOCKER = "123"
MOST = 90  # recipients of one event


@pytest.fixture
def blocks(cloud: Cloud) -> Blocks:
    return Blocks(cloud.dynamodb, "BlocksTable")


def event(kind: str, others: Iterable[object], number: int = 0) -> dict[str, Any]:
    """Return an event by which a user blocks or unblocks others."""
    made = backend_event(kind)
    made["detail"]["delivery"] = {"to": list(others)}
    return {**made, "id": f"{kind}-{number}"}


def take(cloud: Cloud, kind: str, others: Iterable[object], number: int = 0) -> None:
    assert cloud.function("ingest")(event(kind, others, number)) == {"batchItemFailures": []}


def hidden_from(cloud: Cloud, blocks: Blocks) -> set[str]:
    """Return whom the user has blocked, by their item and their list, after comparing with what is noted there."""
    found = set(cloud.user(BLOCKER).get("hidden_from", ())) | blocks.listed(BLOCKER)
    noted = {row["list_name"] for row in cloud.rows("Blocks") if row["list_name"].startswith("blockers-of/")}
    assert noted == {f"blockers-of/{each}" for each in found}
    return found


def test_few_blocks_are_in_the_users_item_and_noted_at_the_blocked(cloud: Cloud, blocks: Blocks) -> None:
    take(cloud, "user_blocked", ["5", "6"])
    assert hidden_from(cloud, blocks) == {"5", "6"}
    assert cloud.user(BLOCKER)["hidden_from"] == {"5", "6"}
    assert blocks.blockers("5", ["1", BLOCKER]) == {BLOCKER}
    take(cloud, "user_unblocked", ["5"])
    assert hidden_from(cloud, blocks) == {"6"}
    assert blocks.listed(BLOCKER) == set()


@pytest.mark.parametrize("count", [FEW_BLOCKS + 1, 32, 33, 49, 50, MOST])
def test_blocks_that_have_no_room_in_the_item_are_listed(cloud: Cloud, blocks: Blocks, count: int) -> None:
    others = [str(number) for number in range(count)]
    take(cloud, "user_blocked", others)
    assert hidden_from(cloud, blocks) == set(others)
    assert "hidden_from" not in cloud.user(BLOCKER)
    assert cloud.user(BLOCKER)["listed_blocks"] == count
    assert len([row for row in cloud.rows("Events") if row["audience"].startswith("notifications/")]) == count
    take(cloud, "user_unblocked", others[1:])
    assert hidden_from(cloud, blocks) == {others[0]}
    assert cloud.user(BLOCKER)["shown_to"] == set(others[1:])


def test_the_item_is_filled_before_there_is_a_list(cloud: Cloud, blocks: Blocks) -> None:
    for number in range(FEW_BLOCKS + 2):
        take(cloud, "user_blocked", [number], number)
    assert len(cloud.user(BLOCKER)["hidden_from"]) == FEW_BLOCKS
    assert blocks.listed(BLOCKER) == {str(FEW_BLOCKS), str(FEW_BLOCKS + 1)}
    take(cloud, "user_unblocked", ["1", FEW_BLOCKS])  # one of each
    assert len(hidden_from(cloud, blocks)) == FEW_BLOCKS
    assert blocks.listed(BLOCKER) == {str(FEW_BLOCKS + 1)}
    take(cloud, "user_blocked", ["1"], 100)  # there is room again
    assert "1" in cloud.user(BLOCKER)["hidden_from"]


@pytest.mark.parametrize("count", [1, FEW_BLOCKS + 1, MOST])
def test_an_event_that_comes_again_after_its_opposite_changes_nothing(cloud: Cloud, blocks: Blocks, count: int) -> None:
    others = [str(number) for number in range(count)]
    take(cloud, "user_blocked", others)
    take(cloud, "user_unblocked", others)
    before = cloud.rows("Blocks"), cloud.user(BLOCKER)
    take(cloud, "user_blocked", others)
    take(cloud, "user_unblocked", others)
    assert (cloud.rows("Blocks"), cloud.user(BLOCKER)) == before
    assert hidden_from(cloud, blocks) == set()


def test_an_event_that_failed_between_its_transactions_is_finished_when_it_comes_again(
    cloud: Cloud, blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Unavailable("the function's instance is gone")

    others = [str(number) for number in range(MOST)]
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "put_write", fail)
        assert cloud.function("ingest")(event("user_blocked", others))["batchItemFailures"]
    take(cloud, "user_blocked", others)
    assert hidden_from(cloud, blocks) == set(others)
    assert cloud.user(BLOCKER)["listed_blocks"] == MOST


def test_a_list_holds_the_blocks_of_its_user_alone(cloud: Cloud, blocks: Blocks) -> None:
    take(cloud, "user_blocked", range(FEW_BLOCKS + 1))
    other = event("user_blocked", range(100, 100 + FEW_BLOCKS + 1), 1)
    other["detail"]["user_id"] = 124
    cloud.function("ingest")(other)
    assert blocks.listed("124") == {str(number) for number in range(100, 100 + FEW_BLOCKS + 1)}
    assert blocks.listed_among(BLOCKER, ["1", "100"]) == {"1"}
    assert blocks.listed_among(BLOCKER, []) == set()


@pytest.mark.parametrize("candidates", [0, 1, 3, 200])
def test_who_has_blocked_a_user_is_found_among_few_and_many_candidates(
    cloud: Cloud, blocks: Blocks, candidates: int
) -> None:
    for blocker in ("1", "2", "900"):
        for write in blocks.writes(blocker, ["5", "6"], blocked=True):
            cloud.dynamodb.put_item(**write.request)
    asked = [str(number) for number in range(1, candidates + 1)]
    assert blocks.blockers("5", asked) == {"1", "2"} & set(asked)
    assert blocks.blockers("7", asked) == set()


@pytest.mark.parametrize("read_at_once", [1, 1000])
def test_a_block_of_this_very_moment_holds(
    cloud: Cloud, blocks: Blocks, monkeypatch: pytest.MonkeyPatch, read_at_once: int
) -> None:
    monkeypatch.setattr(module, "_BLOCKERS_READ", read_at_once)
    for blocker in ("1", "2", "3"):
        for writes in blocks.groups_of_writes(blocker, ["5", "6"], blocked=True):
            Transaction(cloud.dynamodb).add(*writes).commit("a test")
    now = Blocks(as_client(Lagging(cloud.dynamodb)), "BlocksTable")
    assert now.blockers("5", ["1"]) == {"1"}
    assert now.blockers("5", ["1", "2", "9"]) == {"1", "2"}
    assert now.listed_among("1", ["5", "9"]) == {"5"}
    assert now.listed("1") == {"5", "6"}


def test_a_user_whom_more_have_blocked_than_are_read_at_once_is_still_hidden_from(
    cloud: Cloud, blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCKERS_READ", 10)
    for blocker in range(30):
        for write in blocks.writes(str(blocker), ["5"], blocked=True):
            cloud.dynamodb.put_item(**write.request)
    assert blocks.blockers("5", [str(number) for number in range(25, 130)]) == {"25", "26", "27", "28", "29"}
