from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.aws.retries import ATTEMPTS
from realtime.errors import ConfigurationError, Unavailable
from realtime.tables.dynamodb import (
    BATCH_GET_LIMIT,
    BATCH_WRITE_LIMIT,
    Cursor,
    attribute,
    item,
    pages,
    plain,
    read_all,
    sharded_page,
    update_if,
    write_all,
)
from tests.unit.fakes import Sleeps, as_client, aws_error


class Table:
    """BatchWriteItem and BatchGetItem: process a part of each batch, and return the rest as unprocessed."""

    def __init__(self, capacity: int = BATCH_WRITE_LIMIT) -> None:
        self.capacity = capacity
        self.written: list[Any] = []
        self.batches: list[int] = []
        self.absent: list[Any] = []

    def __len__(self) -> int:
        return len(self.written)

    def __contains__(self, request: object) -> bool:
        return request in self.written

    def batch_write_item(self, *, RequestItems: dict[str, list[Any]]) -> dict[str, Any]:  # noqa: N803  # AWS's name
        ((table, requests),) = RequestItems.items()
        assert 0 < len(requests) <= BATCH_WRITE_LIMIT, "AWS refuses such a batch"
        self.batches.append(len(requests))
        self.written += requests[: self.capacity]
        rest = requests[self.capacity :]
        return {"UnprocessedItems": {table: rest}} if rest else {"UnprocessedItems": {}}

    def batch_get_item(self, *, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803  # AWS's name
        ((table, wanted),) = RequestItems.items()
        keys = wanted["Keys"]
        assert 0 < len(keys) <= BATCH_GET_LIMIT, "AWS refuses such a batch"
        assert wanted["ConsistentRead"] is True
        self.batches.append(len(keys))
        rest = keys[self.capacity :]
        found = [key for key in keys[: self.capacity] if key not in self.absent]
        unprocessed = {table: {**wanted, "Keys": rest}} if rest else {}
        return {"Responses": {table: found}, "UnprocessedKeys": unprocessed}


def keys(count: int) -> list[dict[str, Any]]:
    return [{"user_id": {"S": str(n)}} for n in range(count)]


def requests(count: int) -> list[dict[str, Any]]:
    return [{"PutRequest": {"Item": {"user_id": {"S": str(n)}}}} for n in range(count)]


def test_values_are_stored_by_their_types() -> None:
    assert attribute("a") == {"S": "a"}
    assert attribute(7) == {"N": "7"}
    assert attribute(True) == {"BOOL": True}
    assert attribute(False) == {"BOOL": False}
    assert attribute({"b", "a"}) == {"SS": ["a", "b"]}


def test_none_and_empty_sets_are_not_stored() -> None:
    assert item({"a": None, "b": frozenset(), "c": "", "d": 0, "e": False}) == {
        "c": {"S": ""},
        "d": {"N": "0"},
        "e": {"BOOL": False},
    }


VALUES = st.text() | st.integers() | st.booleans() | st.frozensets(st.text(min_size=1), min_size=1)


@given(st.dictionaries(st.text(min_size=1), VALUES))
def test_a_stored_value_is_read_back_unchanged(values: dict[str, Any]) -> None:
    read = plain(item(values))
    assert read == values
    assert {name: type(value) for name, value in read.items()} == {name: type(value) for name, value in values.items()}


def test_an_empty_list_of_requests_makes_no_call() -> None:
    table = Table()
    write_all(as_client(table), "Events", [])
    assert not table.batches


def test_writes_go_in_batches_as_large_as_dynamodb_takes() -> None:
    table = Table()
    write_all(as_client(table), "Events", requests(60))
    assert table.batches == [25, 25, 10]
    assert table.written == requests(60)


def test_unprocessed_items_are_written_again_after_a_pause(sleeps: Sleeps) -> None:
    table = Table(capacity=10)
    write_all(as_client(table), "Events", requests(25))
    assert table.batches == [25, 15, 5]
    assert table.written == requests(25)
    assert len(sleeps) == 2
    assert all(0 <= seconds <= 1 for seconds in sleeps.seconds)


def test_items_that_stay_unprocessed_are_reported(sleeps: Sleeps) -> None:
    table = Table(capacity=0)
    with pytest.raises(Unavailable, match="writing to Events: 3 items stayed unprocessed"):
        write_all(as_client(table), "Events", requests(3))
    assert len(table.batches) == ATTEMPTS


def test_items_are_read_in_batches_as_large_as_dynamodb_answers() -> None:
    table = Table(capacity=BATCH_GET_LIMIT)
    assert list(read_all(as_client(table), "Users", keys(230))) == keys(230)
    assert table.batches == [100, 100, 30]


def test_keys_without_an_item_are_skipped() -> None:
    table = Table(capacity=BATCH_GET_LIMIT)
    table.absent = keys(1)
    assert list(read_all(as_client(table), "Users", keys(3))) == keys(3)[1:]
    assert table.batches == [3]
    assert list(read_all(as_client(table), "Users", [])) == []


def test_unread_items_are_read_again_after_a_pause(sleeps: Sleeps) -> None:
    table = Table(capacity=40)
    assert list(read_all(as_client(table), "Users", keys(100))) == keys(100)
    assert table.batches == [100, 60, 20]
    assert len(sleeps) == 2


def test_items_that_stay_unread_are_reported() -> None:
    table = Table(capacity=0)
    with pytest.raises(Unavailable, match="reading Users: 3 items stayed unread"):
        list(read_all(as_client(table), "Users", keys(3)))
    assert len(table.batches) == ATTEMPTS


@pytest.mark.parametrize(
    ("code", "error"), [("AccessDeniedException", ConfigurationError), ("InternalServerError", Unavailable)]
)
def test_an_error_of_aws_names_the_operation(code: str, error: type[Exception]) -> None:
    class Broken:
        def batch_write_item(self, **_: Any) -> None:
            raise aws_error(code)

    with pytest.raises(error, match=f"writing to Events: {code}"):
        write_all(as_client(Broken()), "Events", requests(1))


@pytest.mark.usefixtures("sleeps")
def test_a_batch_is_tried_again_for_as_long_as_each_attempt_does_a_part_of_it() -> None:
    table, count = Table(capacity=1), ATTEMPTS + 3
    write_all(as_client(table), "Events", requests(count))
    assert table.written == requests(count)
    assert list(read_all(as_client(table), "Users", keys(count))) == keys(count)


def test_an_answer_that_leaves_nothing_out_is_the_last_one() -> None:
    class Terse:
        def __init__(self) -> None:
            self.calls = 0

        def batch_write_item(self, **_: Any) -> dict[str, Any]:
            self.calls += 1
            return {}

        def batch_get_item(self, **_: Any) -> dict[str, Any]:
            self.calls += 1
            return {"Responses": {}}

    client = Terse()
    write_all(as_client(client), "Events", requests(1))
    assert list(read_all(as_client(client), "Users", keys(1))) == []
    assert client.calls == 2


class Index:
    """Query on an index over three shards: each has its pages, and the last of them may be empty."""

    def __init__(self) -> None:
        self.shards: dict[str, list[list[str]]] = {"0": [["a"], ["b", "c"], []], "1": [[]], "2": [["d"]]}
        self.asked: list[dict[str, Any]] = []

    def query(self, **query: Any) -> dict[str, Any]:
        self.asked.append(query)
        shard = query["ExpressionAttributeValues"][":shard"]["S"]
        number = int(query["ExclusiveStartKey"]["page"]["N"]) if "ExclusiveStartKey" in query else 0
        answer: dict[str, Any] = {"Items": [{"id": {"S": each}} for each in self.shards[shard][number]]}
        if number + 1 < len(self.shards[shard]):
            answer["LastEvaluatedKey"] = {"shard": {"S": shard}, "page": {"N": str(number + 1)}}
        return answer


def test_an_index_over_shards_is_read_a_page_at_a_time_to_the_end_of_the_last_shard() -> None:
    index = Index()
    found: list[list[str]] = []
    cursor: Cursor = None
    for _ in range(5):
        rows, cursor = sharded_page(
            as_client(index), "reading", "shard", 3, cursor, values={":before": 7}, TableName="Users"
        )
        found.append([row["id"]["S"] for row in rows])
    assert cursor is None
    assert found == [["a"], ["b", "c"], [], [], ["d"]]
    assert all(each["TableName"] == "Users" for each in index.asked)
    assert all(each["ExpressionAttributeValues"][":before"] == {"N": "7"} for each in index.asked)


def test_a_query_is_read_a_page_at_a_time_and_only_as_far_as_the_caller_goes() -> None:
    index = Index()
    query = {"TableName": "Users", "ExpressionAttributeValues": {":shard": {"S": "0"}}}
    found = pages(as_client(index), "reading", **query)
    assert next(found) == [{"id": {"S": "a"}}]
    assert len(index.asked) == 1
    assert [len(page) for page in found] == [2, 0]


def test_errors_of_a_query_name_what_was_being_done() -> None:
    class Broken:
        def query(self, **_: Any) -> None:
            raise aws_error("AccessDeniedException")

    with pytest.raises(ConfigurationError, match="reading an index: AccessDeniedException"):
        sharded_page(as_client(Broken()), "reading an index", "shard", 3, None, values={})
    with pytest.raises(ConfigurationError, match="reading an audience: AccessDeniedException"):
        next(pages(as_client(Broken()), "reading an audience"))


def test_an_update_is_made_or_its_condition_fails_or_its_error_names_what_was_being_done() -> None:
    class Updates:
        def update_item(self, **update: Any) -> None:
            updated.append(update)
            if problem is not None:
                raise aws_error(problem)

    updated: list[dict[str, Any]] = []
    problem: str | None = None
    assert update_if(as_client(Updates()), "updating a user", {"TableName": "Users"}) is True
    assert updated == [{"TableName": "Users"}]
    problem = "ConditionalCheckFailedException"
    assert update_if(as_client(Updates()), "updating a user", {}) is False
    problem = "AccessDeniedException"
    with pytest.raises(ConfigurationError, match="updating a user: AccessDeniedException"):
        update_if(as_client(Updates()), "updating a user", {})
