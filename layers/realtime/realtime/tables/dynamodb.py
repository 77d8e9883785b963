"""DynamoDB's attribute values to and from Python's, for the five types that our tables use, and batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from realtime.aws import retries
from realtime.aws.clients import aws_errors
from realtime.aws.retries import Passing
from realtime.errors import Unavailable

BATCH_WRITE_LIMIT = 25  # requests in one BatchWriteItem
BATCH_GET_LIMIT = 100  # keys in one BatchGetItem

Value = str | int | bool | Set[str]
AttributeValue = Mapping[str, Any]


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
    """Return DynamoDB's form of an item; what is None or an empty set is left out, for it cannot be stored."""
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
        else:  # S and BOOL stand for themselves
            values[name] = content
    return values


def write_all(client: Any, table: str, requests: Sequence[dict[str, Any]]) -> None:
    """Write every request in batches of 25, again after a while what DynamoDB returns unprocessed.

    Unconditional puts and deletes of whole items: twice is as once. Raises Unavailable when some stay unprocessed.
    """
    for start in range(0, len(requests), BATCH_WRITE_LIMIT):
        rest: list[dict[str, Any]] = list(requests[start : start + BATCH_WRITE_LIMIT])
        with retries.rounds() as tries:
            while rest:
                with aws_errors(f"writing to {table}"):
                    answer = client.batch_write_item(RequestItems={table: rest})
                rest, before = answer.get("UnprocessedItems", {}).get(table, []), len(rest)
                if rest and not tries.wait(Passing.THROTTLED, progress=len(rest) < before):
                    raise Unavailable(f"writing to {table}: {len(rest)} items stayed unprocessed")


def read_all(client: Any, table: str, keys: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the items of these keys, in any order and as of now, without those that are not there.

    Read in batches of 100, again after a while what DynamoDB leaves out: for want of capacity, or past 16 MB.
    Raises Unavailable when some stay unread.
    """
    for start in range(0, len(keys), BATCH_GET_LIMIT):
        yield from _read_batch(client, table, list(keys[start : start + BATCH_GET_LIMIT]))


def _read_batch(client: Any, table: str, keys: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    with retries.rounds() as tries:
        while keys:
            with aws_errors(f"reading {table}"):
                answer = client.batch_get_item(RequestItems={table: {"Keys": keys, "ConsistentRead": True}})
            found += answer["Responses"].get(table, [])
            rest, before = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", []), len(keys)
            if rest and not tries.wait(Passing.THROTTLED, progress=len(rest) < before):
                raise Unavailable(f"reading {table}: {len(rest)} items stayed unread")
            keys = rest
    return found
