"""The strict DynamoDB: if it were less strict than AWS, tests with it would prove nothing."""

from __future__ import annotations

import random
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from realtime.tables.dynamodb import item, plain
from tests.model.tables import Tables
from tests.support.strict_dynamodb import (
    KB,
    OUT_OF_UNITS,
    Chances,
    Client,
    StrictDynamoDB,
    Throughput,
    item_bytes,
)
from tests.unit.fakes import Clock

Call = tuple[str, dict[str, Any]]
USERS, CONNECTIONS, EVENTS = "UsersTable", "ConnectionsTable", "EventsTable"


@pytest.fixture(scope="module")
def made_tables() -> Tables:
    return Tables()


@pytest.fixture
def tables(made_tables: Tables) -> Tables:
    made_tables.wipe()
    return made_tables


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def strict(tables: Tables, clock: Clock) -> StrictDynamoDB:
    return StrictDynamoDB(tables.call, tables.get, clock=clock)


def update(user_id: str, *connections: str) -> dict[str, Any]:
    return {
        "TableName": USERS,
        "Key": item({"user_id": user_id}),
        "UpdateExpression": "ADD connection_ids :ids",
        "ExpressionAttributeValues": item({":ids": frozenset(connections)}),
    }


def event(audience: str = "calls/1", event_id: str = "1", size: int = 100) -> dict[str, Any]:
    """Return an item of a given size in bytes."""
    made = item({"audience": audience, "event_id": event_id, "message": ""})
    made["message"]["S"] = "x" * (size - item_bytes(made))
    return made


def put(image: dict[str, Any], table: str = EVENTS) -> dict[str, Any]:
    return {"TableName": table, "Item": image}


def transaction(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"TransactItems": list(parts), **more}


def between(audience: str, first: str, last: str) -> dict[str, Any]:
    return {
        "TableName": EVENTS,
        "KeyConditionExpression": "audience = :audience AND event_id BETWEEN :first AND :last",
        "ExpressionAttributeValues": item({":audience": audience, ":first": first, ":last": last}),
    }


def code_of(caught: pytest.ExceptionInfo[ClientError]) -> str:
    return caught.value.response["Error"]["Code"]


def reasons_of(caught: pytest.ExceptionInfo[ClientError]) -> list[str]:
    response: Any = caught.value.response
    return [reason["Code"] for reason in response["CancellationReasons"]]


def overlapping(tables: Tables, first: Call, second: Call) -> Any:
    """Make a call while another is in progress; return its answer, or the error that it raises."""
    answers: list[Any] = []

    def meanwhile(_: float) -> None:
        if answers:
            return  # the second takes its time, too
        answers.append(None)
        try:
            answers[0] = dynamodb.call(*second)
        except ClientError as error:
            answers[0] = error

    dynamodb = StrictDynamoDB(tables.call, tables.get, sleep=meanwhile, held=0.004)
    dynamodb.call(*first)
    return answers[0]


def test_a_single_write_that_meets_a_transaction_on_its_item_fails(tables: Tables) -> None:
    error = overlapping(
        tables,
        ("transact_write_items", transaction({"Update": update("1", "a")}, {"Put": put(event())})),
        ("update_item", update("1", "b")),
    )
    assert error.response["Error"]["Code"] == "TransactionConflictException"
    assert plain(tables.get(USERS, item({"user_id": "1"})) or {})["connection_ids"] == {"a"}


@pytest.mark.parametrize(
    "first",
    [
        ("transact_write_items", transaction({"Update": update("1", "a")})),
        ("update_item", update("1", "a")),
    ],
)
def test_a_transaction_that_meets_another_write_is_cancelled_with_the_reason(tables: Tables, first: Call) -> None:
    second = transaction({"Put": put(event())}, {"Update": update("1", "b")})
    error = overlapping(tables, first, ("transact_write_items", second))
    assert [reason["Code"] for reason in error.response["CancellationReasons"]] == ["None", "TransactionConflict"]
    assert tables.all(EVENTS) == []


def test_single_writes_of_one_item_and_writes_of_others_do_not_conflict(tables: Tables) -> None:
    overlapping(tables, ("update_item", update("1", "a")), ("update_item", update("1", "b")))
    first = ("transact_write_items", transaction({"Update": update("2", "a")}))
    overlapping(tables, first, ("update_item", update("3", "b")))
    assert {plain(user)["user_id"]: plain(user)["connection_ids"] for user in tables.all(USERS)} == {
        "1": {"a", "b"},
        "2": {"a"},
        "3": {"b"},
    }


def test_items_of_a_batch_that_meet_a_transaction_stay_unprocessed(tables: Tables) -> None:
    requests = [{"PutRequest": {"Item": event(event_id=each)}} for each in "12"]
    answer = overlapping(
        tables,
        ("transact_write_items", transaction({"Put": put(event(event_id="1"))})),
        ("batch_write_item", {"RequestItems": {EVENTS: requests}}),
    )
    assert answer["UnprocessedItems"] == {EVENTS: requests[:1]}


def test_a_partition_takes_a_thousand_write_units_a_second(strict: StrictDynamoDB, clock: Clock) -> None:
    for n in range(1000 // 100):
        strict.call("put_item", put(event("hot", str(n), 100 * KB)))
    with pytest.raises(ClientError) as caught:
        strict.call("put_item", put(event("hot", "another")))
    assert code_of(caught) == "ProvisionedThroughputExceededException"
    assert strict.met[OUT_OF_UNITS] == 1
    strict.call("put_item", put(event("cold")))
    clock.now += 0.1
    strict.call("put_item", put(event("hot", "another")))


def test_a_transaction_takes_twice_the_units_and_is_cancelled_if_they_are_missing(
    strict: StrictDynamoDB, clock: Clock
) -> None:
    strict.call("transact_write_items", transaction({"Put": put(event("hot", "1", 300 * KB))}))
    strict.call("transact_write_items", transaction({"Put": put(event("hot", "2", 200 * KB))}))
    with pytest.raises(ClientError) as caught:
        strict.call("transact_write_items", transaction({"Put": put(event("cold"))}, {"Put": put(event("hot", "3"))}))
    assert reasons_of(caught) == ["None", "ThrottlingError"]


def test_a_new_table_takes_four_thousand_units_with_any_number_of_partitions(strict: StrictDynamoDB) -> None:
    for n in range(20):
        strict.call("put_item", put(event(f"partition {n}", "1", 200 * KB)))
    with pytest.raises(ClientError):
        strict.call("put_item", put(event("another")))


def test_an_index_that_is_written_too_fast_holds_up_its_table(tables: Tables, clock: Clock) -> None:
    strict = StrictDynamoDB(tables.call, tables.get, clock=clock, throughput=Throughput(writes=10))

    def subscription(n: int, **indexed: str) -> dict[str, Any]:
        row = item({"connection_id": f"c{n}", "audience": "feed/*/0", **indexed})
        return put(row, CONNECTIONS)

    for n in range(10):
        strict.call("put_item", subscription(n, indexed_audience="feed/*/0"))
    with pytest.raises(ClientError):
        strict.call("put_item", subscription(10, indexed_audience="feed/*/0"))
    strict.call("put_item", subscription(11))  # not in the index


def test_a_partition_gives_three_thousand_read_units_a_second(strict: StrictDynamoDB, clock: Clock) -> None:
    strict.call("put_item", put(event("hot", "1", 200 * KB)))
    get = {"TableName": EVENTS, "Key": item({"audience": "hot", "event_id": "1"}), "ConsistentRead": True}
    for _ in range(60):
        strict.call("get_item", get)
    with pytest.raises(ClientError) as caught:
        strict.call("get_item", get)
    assert code_of(caught) == "ProvisionedThroughputExceededException"
    clock.now += 0.1
    strict.call("get_item", {**get, "ConsistentRead": False})


def test_items_of_a_batch_in_a_partition_without_units_are_left_out(tables: Tables, clock: Clock) -> None:
    strict = StrictDynamoDB(tables.call, tables.get, clock=clock, throughput=Throughput(writes=1, reads=1))
    requests = [{"PutRequest": {"Item": event(each)}} for each in ("hot", "cold")]
    strict.call("put_item", put(event("hot", "0")))
    answer = strict.call("batch_write_item", {"RequestItems": {EVENTS: requests}})
    assert answer["UnprocessedItems"] == {EVENTS: requests[:1]}
    with pytest.raises(ClientError) as caught:
        strict.call("batch_write_item", {"RequestItems": {EVENTS: requests}})
    assert code_of(caught) == "ProvisionedThroughputExceededException"
    keys = [item({"audience": each, "event_id": "1"}) for each in ("hot", "cold")]
    wanted = {"RequestItems": {EVENTS: {"Keys": keys[:1], "ConsistentRead": True}}}
    strict.call("batch_get_item", wanted)
    wanted["RequestItems"][EVENTS]["Keys"] = keys
    answer = strict.call("batch_get_item", wanted)
    assert answer["UnprocessedKeys"] == {EVENTS: {"Keys": keys[:1], "ConsistentRead": True}}
    assert len(answer["Responses"][EVENTS]) == 1


def test_a_batch_read_ends_at_16_mb(tables: Tables, clock: Clock) -> None:
    plenty = Throughput(writes=1e9, reads=1e9, table_writes=1e9, table_reads=1e9)
    strict = StrictDynamoDB(tables.call, tables.get, clock=clock, throughput=plenty)
    for n in range(83):
        strict.call("put_item", put(event("calls/1", str(n), 200 * KB)))
    keys = [item({"audience": "calls/1", "event_id": str(n)}) for n in range(83)]
    answer = strict.call("batch_get_item", {"RequestItems": {EVENTS: {"Keys": keys}}})
    assert len(answer["Responses"][EVENTS]) == 81
    assert answer["UnprocessedKeys"] == {EVENTS: {"Keys": keys[81:]}}


def test_an_item_over_400_kb_is_refused(strict: StrictDynamoDB, clock: Clock) -> None:
    strict.call("put_item", put(event(size=390 * KB)))  # beyond, moto refuses it too
    for operation, request in (
        ("put_item", put(event(size=400 * KB + 1))),
        ("transact_write_items", transaction({"Put": put(event(size=400 * KB + 1))})),
        ("batch_write_item", {"RequestItems": {EVENTS: [{"PutRequest": {"Item": event(size=400 * KB + 1)}}]}}),
    ):
        clock.now += 10
        with pytest.raises(ClientError) as caught:
            strict.call(operation, request)
        assert code_of(caught) == "ValidationException"


def test_an_update_that_would_make_an_item_larger_is_refused(strict: StrictDynamoDB) -> None:
    strict.call("update_item", update("1", "x" * 399 * KB))
    with pytest.raises(ClientError) as caught:
        strict.call("update_item", update("1", "y" * 2 * KB))
    assert code_of(caught) == "ValidationException"


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("transact_write_items", transaction(*({"Put": put(event(event_id=str(n)))} for n in range(101)))),
        ("transact_write_items", transaction(*({"Put": put(event(str(n), "1", 400 * KB))} for n in range(11)))),
        ("transact_write_items", transaction({"Put": put(event())}, {"Put": put(event())})),
        ("transact_write_items", transaction()),
        ("batch_write_item", {"RequestItems": {EVENTS: [{"PutRequest": {"Item": event()}}] * 2}}),
        (
            "batch_write_item",
            {"RequestItems": {EVENTS: [{"PutRequest": {"Item": event(event_id=str(n))}} for n in range(26)]}},
        ),
        ("batch_get_item", {"RequestItems": {USERS: {"Keys": [item({"user_id": "1"})] * 2}}}),
        ("batch_get_item", {"RequestItems": {USERS: {"Keys": [item({"user_id": str(n)}) for n in range(101)]}}}),
        ("update_item", {**update("1", "a"), "ConditionExpression": "x" * 4097}),
        ("get_item", {"TableName": USERS, "Key": item({"user_id": "x" * 2049})}),
        ("query", between("x" * 2049, "1", "2")),
        ("query", between("calls/1", "2", "1")),
    ],
)
def test_a_request_over_a_limit_of_aws_is_refused(
    strict: StrictDynamoDB, tables: Tables, operation: str, request_: dict[str, Any]
) -> None:
    with pytest.raises(ClientError) as caught:
        strict.call(operation, request_)
    assert code_of(caught) == "ValidationException"
    assert tables.all(EVENTS) == tables.all(USERS) == []


def test_equal_bounds_and_the_longest_partition_key_are_answered(strict: StrictDynamoDB) -> None:
    strict.call("put_item", put(event("x" * 2048, "1", 3 * KB)))
    assert len(strict.call("query", between("x" * 2048, "1", "1"))["Items"]) == 1


def test_a_transaction_that_was_made_is_not_made_again_within_ten_minutes(
    strict: StrictDynamoDB, tables: Tables, clock: Clock
) -> None:
    guarded = {**put(event()), "ConditionExpression": "attribute_not_exists(audience)"}
    request = transaction({"Put": guarded}, ClientRequestToken="one")
    for _ in range(2):
        strict.call("transact_write_items", request)
    clock.now += 601
    with pytest.raises(ClientError) as caught:
        strict.call("transact_write_items", request)
    assert reasons_of(caught) == ["ConditionalCheckFailed"]


@pytest.mark.parametrize(
    ("chances", "met"),
    [
        (Chances(conflict=0.5), "TransactionConflictException"),
        (Chances(throttle=0.5), "ProvisionedThroughputExceededException"),
        (Chances(failure=0.5), "InternalServerError"),
        (Chances(lost=0.5), "lost"),
    ],
)
def test_chance_decides_which_calls_fail_and_never_four_times_in_a_row(
    tables: Tables, chances: Chances, met: str
) -> None:
    strict = StrictDynamoDB(tables.call, tables.get, chance=random.Random(1), chances=chances)
    rows: list[int] = [0]
    for n in range(200):
        try:
            strict.call("update_item", update("1", str(n)))
            rows.append(0)
        except (ClientError, ReadTimeoutError):
            rows[-1] += 1
    assert max(rows) == 3
    assert strict.met[met] == sum(rows) > 50


def test_a_batch_is_done_in_parts_by_chance(tables: Tables) -> None:
    strict = StrictDynamoDB(tables.call, tables.get, chances=Chances(partial=1.0, in_a_row=1))
    requests = [{"PutRequest": {"Item": event(event_id=str(n))}} for n in range(20)]
    rest = strict.call("batch_write_item", {"RequestItems": {EVENTS: requests}})["UnprocessedItems"][EVENTS]
    assert 0 < len(rest) < 20
    assert len(tables.all(EVENTS)) == 20 - len(rest)


def test_the_strict_client_tries_again_as_botocore_would(tables: Tables) -> None:
    strict = StrictDynamoDB(tables.call, tables.get, chance=random.Random(1), chances=Chances(conflict=0.5, lost=0.3))
    pauses: list[float] = []
    client = Client(strict.call, pauses.append)
    for n in range(100):
        client.update_item(**update("1", str(n)))
        guarded = {**put(event(event_id=str(n))), "ConditionExpression": "attribute_not_exists(audience)"}
        client.transact_write_items(TransactItems=[{"Put": guarded}])
    assert len(tables.all(EVENTS)) == 100
    assert len(pauses) > 50
    with pytest.raises(ClientError) as caught:
        client.transact_write_items(TransactItems=[{"Put": guarded}])
    assert reasons_of(caught) == ["ConditionalCheckFailed"]


def test_sizes_are_those_that_aws_counts() -> None:
    # docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    assert item_bytes(item({"id": "é", "n": 1234, "yes": True, "set": frozenset({"ab", "c"})})) == 4 + 4 + 4 + 6
