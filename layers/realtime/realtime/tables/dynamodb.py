"""DynamoDB's attribute values to and from Python's, for the five types that our tables use; pages and batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from realtime.aws import retries
from realtime.aws.clients import aws_errors, error_code
from realtime.aws.retries import Passing
from realtime.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

BATCH_WRITE_LIMIT = 25  # requests in one BatchWriteItem
BATCH_GET_LIMIT = 100  # keys in one BatchGetItem

Value = str | int | bool | Set[str]
AttributeValue = Mapping[str, Any]
Cursor = dict[str, Value] | None  # the key after which a read goes on; None at either end


def attribute(value: Value) -> dict[str, Any]:
    """Return DynamoDB's form of a string, a whole number, a boolean or a set of strings (never an empty one)."""
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, int):
        return {"N": str(value)}
    return {"SS": sorted(value)}


def item(values: Mapping[str, Value | None]) -> dict[str, dict[str, Any]]:
    """Return DynamoDB's form of an item, without values that it cannot store: None and empty sets."""
    return {
        name: attribute(value)
        for name, value in values.items()
        if value is not None and not (isinstance(value, Set) and not value)
    }


def plain(image: Mapping[str, AttributeValue]) -> dict[str, Any]:
    """Return an item, or a stream's image, as plain Python values; sets are frozen."""
    values: dict[str, Any] = {}
    for name, value in image.items():
        ((kind, content),) = value.items()
        if kind == "N":
            values[name] = int(content)
        elif kind == "SS":
            values[name] = frozenset(content)
        else:  # S and BOOL need no conversion
            values[name] = content
    return values


def pages(client: DynamoDBClient, doing: str, **query: Any) -> Iterator[list[dict[str, Any]]]:
    """Yield the items that a Query finds, a page at a time, in DynamoDB's form; `doing` is for its errors.

    A page is read only when the caller asks for it.
    """
    while True:
        with aws_errors(doing):
            answer = client.query(**query)
        yield answer["Items"]
        if "LastEvaluatedKey" not in answer:
            return
        query["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def sharded_page(
    client: DynamoDBClient,
    doing: str,
    shard_name: str,
    shards: int,
    after: Cursor,
    *,
    values: Mapping[str, Value],
    **query: Any,
) -> tuple[list[dict[str, Any]], Cursor]:
    """Read one page of an index that is spread over shards, `:shard` in the query; return its items and where to go on.

    `shard_name` is the index's hash key. A cursor that has no other key stands before the first item of its shard.
    """
    shard = str((after or {}).get(shard_name, "0"))
    start: dict[str, Any] = {"ExclusiveStartKey": item(after)} if after and len(after) > 1 else {}
    with aws_errors(doing):
        answer = client.query(ExpressionAttributeValues=item({":shard": shard, **values}), **query, **start)
    if "LastEvaluatedKey" in answer:
        return answer["Items"], plain(answer["LastEvaluatedKey"])
    following = int(shard) + 1
    return answer["Items"], {shard_name: str(following)} if following < shards else None


def update_if(client: DynamoDBClient, doing: str, update: Mapping[str, Any]) -> bool:
    """Update an item; return False if the update's condition does not hold.

    The update is made again if it conflicts with a transaction or its answer is lost; its condition must allow that.
    """
    with aws_errors(doing):
        try:
            client.update_item(**update)
        except ClientError as error:
            if error_code(error) == "ConditionalCheckFailedException":
                return False
            raise
    return True


def write_all(client: DynamoDBClient, table: str, requests: Sequence[dict[str, Any]]) -> None:
    """Make unconditional puts and deletes of whole items in batches of 25; items left unprocessed are tried again.

    A request that is made twice has the same effect as once. Raises Unavailable if some stay unprocessed.
    """
    for start in range(0, len(requests), BATCH_WRITE_LIMIT):
        rest: list[Any] = list(requests[start : start + BATCH_WRITE_LIMIT])
        with retries.rounds() as tries:
            while rest:
                with aws_errors(f"writing to {table}"):
                    answer = client.batch_write_item(RequestItems={table: rest})
                rest, before = answer.get("UnprocessedItems", {}).get(table, []), len(rest)
                if rest and not tries.wait(Passing.THROTTLED, progress=len(rest) < before):
                    raise Unavailable(f"writing to {table}: {len(rest)} items stayed unprocessed")


def read_all(client: DynamoDBClient, table: str, keys: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the items with these keys, in any order, as of now; keys without an item are skipped.

    They are read in batches of 100. What DynamoDB leaves out, for want of capacity or past 16 MB, is read again.
    Raises Unavailable if some stay unread.
    """
    for start in range(0, len(keys), BATCH_GET_LIMIT):
        yield from _read_batch(client, table, list(keys[start : start + BATCH_GET_LIMIT]))


def _read_batch(client: DynamoDBClient, table: str, keys: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    rest: list[Any] = keys
    with retries.rounds() as tries:
        while rest:
            with aws_errors(f"reading {table}"):
                answer = client.batch_get_item(RequestItems={table: {"Keys": rest, "ConsistentRead": True}})
            found += answer["Responses"].get(table, [])
            unread: list[Any] = list(answer.get("UnprocessedKeys", {}).get(table, {"Keys": []})["Keys"])
            if unread and not tries.wait(Passing.THROTTLED, progress=len(unread) < len(rest)):
                raise Unavailable(f"reading {table}: {len(unread)} items stayed unread")
            rest = unread
    return found
