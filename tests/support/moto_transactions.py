"""moto's transactions, with a backup of the items that they write alone.

moto copies the whole of a table, and all that its stream has shown, for each write of a transaction. That is most of
the time of a test with a thousand items.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from functools import cache
from typing import Any

from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table

Write = Mapping[str, Any]

_transaction: ContextVar[Sequence[Write] | None] = ContextVar("transaction", default=None)


def _copy(table: Table, memo: dict[int, Any]) -> Table:
    """Stand for `copy.deepcopy` of a table, in a transaction and elsewhere."""
    twin, writes = copy.copy(table), _transaction.get()
    if writes is None:
        memo[id(table)] = twin
        twin.__dict__ = copy.deepcopy(table.__dict__, memo)
        return twin
    twin.items = table.items.copy()
    for write in writes:
        if write.get("TableName") == table.name:
            _copy_item(table, twin, write.get("Key") or write["Item"])
    if table.stream_shard is not None:
        twin.stream_shard = shard = copy.copy(table.stream_shard)
        shard.table, shard.items = twin, list(shard.items)
    return twin


def _copy_item(table: Table, twin: Table, keys: Mapping[str, Any]) -> None:
    """Give the copy of a table its own copy of an item, if there is one; of a partition it shares the others."""
    hash_key = DynamoType(keys[table.hash_key_attr])
    if hash_key not in twin.items:
        return
    if table.range_key_attr is None:
        twin.items[hash_key] = copy.deepcopy(twin.items[hash_key])
        return
    range_key = DynamoType(keys[table.range_key_attr])
    partition = twin.items[hash_key] = dict(twin.items[hash_key])
    if range_key in partition:
        partition[range_key] = copy.deepcopy(partition[range_key])


@cache
def back_up_little() -> None:
    """Let moto back up the items that a transaction writes, for the rest of the process."""
    write_all = DynamoDBBackend.transact_write_items

    def transact(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
        before = _transaction.set([write for each in transact_items for write in each.values()])
        try:
            write_all(self, transact_items)
        finally:
            _transaction.reset(before)

    DynamoDBBackend.transact_write_items = transact  # type: ignore[method-assign]
    Table.__deepcopy__ = _copy  # type: ignore[attr-defined]
