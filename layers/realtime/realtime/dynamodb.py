"""DynamoDB's attribute values to and from Python's, for the five types that our tables use, and batched writes."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence, Set
from typing import Any

from realtime.aws import aws_errors
from realtime.errors import Unavailable

BATCH_WRITE_LIMIT = 25  # requests in one BatchWriteItem
_BATCH_ATTEMPTS = 8

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
    """Write every request in batches of 25, again with jitter what DynamoDB returns unprocessed.

    Raises Unavailable when some stay unprocessed.
    """
    for start in range(0, len(requests), BATCH_WRITE_LIMIT):
        remaining: list[dict[str, Any]] = list(requests[start : start + BATCH_WRITE_LIMIT])
        for attempt in range(_BATCH_ATTEMPTS):
            with aws_errors(f"writing to {table}"):
                answer = client.batch_write_item(RequestItems={table: remaining})
            remaining = answer.get("UnprocessedItems", {}).get(table, [])
            if not remaining:
                break
            time.sleep(random.uniform(0, min(1.0, 0.025 * 2**attempt)))
        else:
            raise Unavailable(f"writing to {table}: {len(remaining)} items stayed unprocessed")
