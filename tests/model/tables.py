"""The service's tables, made from template.yaml, and what their streams and eventually consistent reads show.

The tables are moto's, asked without botocore and HTTP between: these take ten times as long as all the rest.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError
from moto.core.exceptions import JsonRESTError
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.responses import DynamoHandler

from tests.cloudformation import resources
from tests.support.light_moto import Item, image, lighten_moto, stored

_ACCOUNT = "123456789012"
_REGION = "us-east-1"
_KEPT = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")


@dataclass(frozen=True)
class Change:
    """What one write did to one item; None where there is none."""

    table: str
    key: tuple[str, ...]
    old: Item | None
    new: Item | None


class _Handler(DynamoHandler):
    """moto's implementation of DynamoDB's operations, over tables of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.region = _REGION
        self.own_backend = DynamoDBBackend(_REGION, _ACCOUNT)

    @property
    def dynamodb_backend(self) -> DynamoDBBackend:
        return self.own_backend


class Tables:
    """All tables, by their logical ids in the template."""

    def __init__(self) -> None:
        lighten_moto()
        self._handler = _Handler()
        self._backend = self._handler.own_backend
        self._tables = self._backend.tables
        self._frozen: dict[str, Any] | None = None
        self.on_change: Callable[[Change], None] = lambda change: None
        for logical_id, properties in resources("AWS::DynamoDB::Table").items():
            kept = {name: properties[name] for name in _KEPT if name in properties}
            self._run("create_table", {"TableName": logical_id, "BillingMode": "PAY_PER_REQUEST", **kept})

    def wipe(self) -> None:
        """Delete all items, of which no stream tells."""
        self.thaw_reads()
        for table in self._tables.values():
            table.items.clear()

    def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Make one call as botocore's client would, and tell of each item that it changes.

        Raises ClientError.
        """
        written = list(_written(operation, request))
        before = [self.get(table, key) for table, key in written]
        if self._frozen is not None and _may_lag(operation, request):
            self._backend.tables = self._frozen
        try:
            answer = self._run(operation, request)
        finally:
            self._backend.tables = self._tables
        for (table, key), old in zip(written, before, strict=True):
            new = self.get(table, key)
            if new != old:  # a write that changes nothing is not shown by a stream
                self.on_change(Change(table, self._key(table, key), old, new))
        return answer

    def get(self, table: str, item: Item) -> Item | None:
        """Return an item, found by what stands in its key attributes."""
        return stored(self._tables[table], item)

    def all(self, table: str) -> list[Item]:
        """Return all items of a table."""
        return [image(item.to_json()["Attributes"]) for item in self._tables[table].all_items()]

    @property
    def is_lagging(self) -> bool:
        return self._frozen is not None

    def freeze_reads(self) -> None:
        """Let eventually consistent reads, of indexes and tables, show from here on what the tables hold now."""
        self._frozen = copy.deepcopy(self._tables)

    def thaw_reads(self) -> None:
        """Let all reads show what the tables hold."""
        self._frozen = None

    def _key(self, table: str, item: Item) -> tuple[str, ...]:
        return tuple(next(iter(item[name].values())) for name in self._tables[table].table_key_attrs)

    def _run(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self._handler.body = json.loads(json.dumps(request))  # moto may change it
        try:
            answer: dict[str, Any] = getattr(self._handler, operation)().result or {}
        except JsonRESTError as error:
            told = json.loads(error.description)
            response: Any = {
                "Error": {"Code": error.relative_error_type, "Message": told.get("message", "")},
                "CancellationReasons": told.get("CancellationReasons", []),
                **({"Item": image(told["Item"])} if told.get("Item") else {}),
            }
            raise ClientError(response, operation) from error
        return answer


def _may_lag(operation: str, request: dict[str, Any]) -> bool:
    """Return whether a call is a read that may show what was some time ago: all but consistent reads of tables."""
    match operation:
        case "get_item" | "query" | "scan":
            return not request.get("ConsistentRead", False)
        case "batch_get_item":
            return not all(each.get("ConsistentRead", False) for each in request["RequestItems"].values())
        case _:
            return False


def _written(operation: str, request: dict[str, Any]) -> Iterator[tuple[str, Item]]:
    """Yield the table of each item that a call may write, and attributes among which its key is."""
    match operation:
        case "put_item":
            yield request["TableName"], request["Item"]
        case "update_item" | "delete_item":
            yield request["TableName"], request["Key"]
        case "batch_write_item":
            for table, parts in request["RequestItems"].items():
                for part in parts:
                    ((_, write),) = part.items()
                    yield table, write.get("Item") or write["Key"]
        case "transact_write_items":
            for part in request["TransactItems"]:
                ((_, write),) = part.items()
                yield write["TableName"], write.get("Item") or write["Key"]
        case _:
            return
