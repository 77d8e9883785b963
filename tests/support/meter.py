"""Counts the AWS calls of the real handlers over tables built from template.yaml, in the units that AWS bills.

Capacity is computed from the items' sizes before and after each call, by DynamoDB's documented rules, for indexes and
transactions as well:
docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

from operate.cost import Cost
from realtime.aws import clients
from tests.support.cloud import TEMPLATE, Cloud

Item = Mapping[str, Mapping[str, Any]]


def size(item: Item | None) -> int:
    """Return an item's size in bytes.

    docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items()) if item else 0


def _value_size(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        return math.ceil(len(content.strip("-0.")) / 2) + 1
    if kind == "SS":
        return sum(len(each.encode()) for each in content)
    return 1  # BOOL, NULL


def write_units(before: Item | None, after: Item | None, indexes: list[Index], *, transactional: bool = False) -> int:
    """Return the write units of a change of an item, those of its indexes included."""
    base = max(1, math.ceil(max(size(before), size(after)) / 1024))
    return sum((index.write_units(before, after) for index in indexes), base * (2 if transactional else 1))


def read_units(read_bytes: int, *, consistent: bool) -> float:
    """Return the read units of a number of bytes that one request reads."""
    return max(1, math.ceil(read_bytes / 4096)) * (1 if consistent else 0.5)


@dataclass(frozen=True)
class Index:
    """A global secondary index: its keys, and its other attributes beside the table's keys."""

    keys: tuple[str, ...]
    attributes: frozenset[str]

    def write_units(self, before: Item | None, after: Item | None) -> int:
        """Return the units of a change of an item in this index: none if the projection does not change."""
        old, new = self._projected(before), self._projected(after)
        if old == new:
            return 0
        if old and new and any(old[key] != new[key] for key in self.keys):
            return _units(old) + _units(new)  # one is deleted, the other is put
        return max(_units(old), _units(new))

    def _projected(self, item: Item | None) -> Item | None:
        if item is None or any(key not in item for key in self.keys):
            return None  # sparse
        return {name: value for name, value in item.items() if name in self.attributes}


def _keep(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    context["params"] = params


def _units(item: Item | None) -> int:
    return math.ceil(size(item) / 1024)


class Meter:
    """Counts the calls of the functions' clients."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._lock = Lock()
        self._indexes, self._keys = _indexes_and_keys()
        self.cost = Cost()
        for service in ("dynamodb", "sqs", "events"):
            events = clients.client(service).meta.events
            events.register(f"provide-client-params.{service}", _keep)
            events.register(f"before-call.{service}", self._before)
            events.register(f"after-call.{service}", self._after)
            events.register(f"after-call-error.{service}", self._failed)

    @contextmanager
    def measuring(self) -> Iterator[Cost]:
        """Count in this block."""
        self.cost = Cost()
        yield self.cost

    def _before(self, model: Any, context: dict[str, Any], **_: object) -> None:
        self._lock.acquire()  # one call at a time, so that what is between before and after is its own
        try:
            context["touched"] = self._touched(model.name, context["params"])
        except BaseException:
            self._lock.release()
            raise

    def _failed(self, **_: object) -> None:
        self._lock.release()

    def _after(self, model: Any, context: dict[str, Any], **_: object) -> None:
        try:
            self._count(model, context["params"], context["touched"])
        finally:
            self._lock.release()

    def _count(self, model: Any, params: dict[str, Any], touched: Any) -> None:
        service = model.service_model.service_name
        if service == "sqs":
            self.cost.queue += 1
        elif service == "events":
            self.cost.bus += len(params["Entries"])
        else:
            self.cost.requests += 1
            transactional = model.name == "TransactWriteItems"
            for table, key, before in touched:
                after = self._cloud.image(table, key)
                self.cost.writes += write_units(before, after, self._indexes[table], transactional=transactional)
            self.cost.reads += self._reads(model.name, params)

    def _touched(self, operation: str, params: dict[str, Any]) -> list[tuple[str, Item, Item | None]]:
        """Return the items that a call writes to: table, key and how the item was before."""
        parts: list[tuple[str, Item]] = []
        if operation == "TransactWriteItems":
            for part in params["TransactItems"]:
                (what,) = part.values()
                parts.append((what["TableName"], what.get("Key") or what["Item"]))
        elif operation == "BatchWriteItem":
            for table, requests in params["RequestItems"].items():
                for request in requests:
                    (what,) = request.values()
                    parts.append((table, what.get("Key") or what["Item"]))
        elif operation in {"PutItem", "UpdateItem"}:
            parts.append((params["TableName"], params.get("Key") or params["Item"]))
        keyed = [(table, {name: item[name] for name in self._keys[table]}) for table, item in parts]
        return [(table, key, self._cloud.image(table, key)) for table, key in keyed]

    def _reads(self, operation: str, params: dict[str, Any]) -> float:
        consistent = params.get("ConsistentRead", False)
        if operation == "GetItem":
            return read_units(size(self._cloud.image(params["TableName"], params["Key"])), consistent=consistent)
        if operation == "BatchGetItem":
            return sum(
                read_units(size(self._cloud.image(table, key)), consistent=asked.get("ConsistentRead", False))
                for table, asked in params["RequestItems"].items()
                for key in asked["Keys"]
            )
        if operation not in {"Query", "Scan"}:
            return 0
        return read_units(sum(map(size, self._rows(operation, params))), consistent=consistent)

    def _rows(self, operation: str, params: dict[str, Any]) -> list[Item]:
        """Return the items that a query or scan reads, before it filters and projects."""
        left_out = {"FilterExpression", "ProjectionExpression", "ExpressionAttributeNames", "Select"}
        asked = {name: value for name, value in params.items() if name not in left_out}
        if operation == "Scan":
            asked.pop("ExpressionAttributeValues", None)
        elif "ExpressionAttributeValues" in asked:
            used = asked["KeyConditionExpression"].replace(",", " ").split()
            values = asked["ExpressionAttributeValues"]
            asked["ExpressionAttributeValues"] = {name: value for name, value in values.items() if name in used}
        rows: list[Item] = getattr(self._cloud.dynamodb, operation.lower())(**asked)["Items"]
        return rows


def _indexes_and_keys() -> tuple[dict[str, list[Index]], dict[str, tuple[str, ...]]]:
    indexes: dict[str, list[Index]] = {}
    keys: dict[str, tuple[str, ...]] = {}
    for table in TEMPLATE.of_type("AWS::DynamoDB::Table"):
        own = tuple(key["AttributeName"] for key in table.properties["KeySchema"])
        keys[table.logical_id] = own
        indexes[table.logical_id] = []
        for index in table.properties.get("GlobalSecondaryIndexes", ()):
            schema = tuple(key["AttributeName"] for key in index["KeySchema"])
            held = frozenset((*own, *schema, *index["Projection"]["NonKeyAttributes"]))
            indexes[table.logical_id].append(Index(schema, held))
    return indexes, keys
