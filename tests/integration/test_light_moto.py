"""What tests/support/light_moto.py changes in moto has no other effect."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import Table

from tests.support.cloud import ACCOUNT, REGION, Cloud

pytestmark = pytest.mark.unpromised

TABLE, HASH = "EventsTable", "audience"


def key(name: str, partition: str = "one") -> dict[str, Any]:
    return {HASH: {"S": partition}, "event_id": {"S": name}}


def shown(table: Table) -> int:
    """Return how many changes the table's stream has shown."""
    assert table.stream_shard is not None
    return len(table.stream_shard.items)


def test_a_cancelled_transaction_leaves_items_and_stream_as_they_were(cloud: Cloud) -> None:
    client = cloud.dynamodb
    for name in ("updated", "deleted", "replaced", "other"):
        client.put_item(TableName=TABLE, Item={**key(name), "seen": {"L": [{"N": "1"}]}})
    tables = dynamodb_backends[ACCOUNT][REGION].tables
    before, changes = client.scan(TableName=TABLE)["Items"], shown(tables[TABLE])
    update = {"UpdateExpression": "SET seen[0] = :two", "ExpressionAttributeValues": {":two": {"N": "2"}}}
    writes: list[Any] = [
        {"Update": {"TableName": TABLE, "Key": key("updated"), **update}},
        {"Delete": {"TableName": TABLE, "Key": key("deleted")}},
        {"Put": {"TableName": TABLE, "Item": key("replaced")}},
        {"Put": {"TableName": TABLE, "Item": key("new")}},
        {"Put": {"TableName": TABLE, "Item": key("new", "another")}},
    ]
    never = {"TableName": TABLE, "Key": key("other"), "ConditionExpression": f"attribute_not_exists({HASH})"}
    with pytest.raises(client.exceptions.TransactionCanceledException):
        client.transact_write_items(TransactItems=[*writes, {"ConditionCheck": never}])
    assert client.scan(TableName=TABLE)["Items"] == before
    assert shown(tables[TABLE]) == changes
    client.transact_write_items(TransactItems=writes)
    assert len(client.scan(TableName=TABLE)["Items"]) == len(before) + 1
    assert shown(tables[TABLE]) == changes + len(writes)


def test_outside_a_transaction_a_copy_of_a_table_shares_nothing_with_it(cloud: Cloud) -> None:
    cloud.dynamodb.put_item(TableName=TABLE, Item=key("one"))
    table = dynamodb_backends[ACCOUNT][REGION].tables[TABLE]
    copied = copy.deepcopy(table)
    cloud.dynamodb.delete_item(TableName=TABLE, Key=key("one"))
    assert (len(list(copied.all_items())), len(list(table.all_items()))) == (1, 0)


def test_an_expression_that_moto_has_parsed_before_means_what_each_call_says(cloud: Cloud) -> None:
    client = cloud.dynamodb
    for name, value in (("first", "1"), ("second", "2"), ("first", "3")):
        client.update_item(
            TableName=TABLE,
            Key=key(name),
            UpdateExpression="SET #a = if_not_exists(#a, :none) + :n",
            ConditionExpression="attribute_not_exists(#a) OR #a < :n",
            ExpressionAttributeNames={"#a": "seen"},
            ExpressionAttributeValues={":n": {"N": value}, ":none": {"N": "0"}},
        )
    assert {row["event_id"]: row["seen"] for row in cloud.rows("Events")} == {"first": 4, "second": 2}
    with pytest.raises(client.exceptions.ConditionalCheckFailedException):
        client.update_item(
            TableName=TABLE,
            Key=key("first"),
            UpdateExpression="SET #a = if_not_exists(#a, :none) + :n",
            ConditionExpression="attribute_not_exists(#a) OR #a < :n",
            ExpressionAttributeNames={"#a": "seen"},
            ExpressionAttributeValues={":n": {"N": "4"}, ":none": {"N": "0"}},
        )


@pytest.mark.parametrize(
    ("stored", "compared", "are_equal"),
    [
        ({"S": "1"}, {"S": "1"}, True),
        ({"S": "1"}, {"S": "1.0"}, False),
        ({"N": "1"}, {"N": "1.0"}, True),
        ({"S": "1"}, {"N": "1"}, False),
        ({"SS": ["a", "b"]}, {"SS": ["b", "a"]}, True),
        ({"L": [{"S": "a"}]}, {"L": [{"S": "b"}]}, False),
    ],
)
def test_values_are_compared_by_their_kind(
    cloud: Cloud, stored: dict[str, Any], compared: dict[str, Any], are_equal: bool
) -> None:
    cloud.dynamodb.put_item(TableName=TABLE, Item={**key("one"), "seen": stored})
    found = cloud.dynamodb.scan(
        TableName=TABLE, FilterExpression="seen = :other", ExpressionAttributeValues={":other": compared}
    )
    assert found["Count"] == are_equal
