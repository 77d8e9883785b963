"""moto's DynamoDB without what takes most of its time.

For each write of a transaction, moto copies the whole of a table and all that its stream has shown. It parses each
expression twice, and looks up the patterns of tokens for each token. To compare two values it asks for each kind of
value in turn, texts last.
"""

from __future__ import annotations

import copy
import pickle
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from moto.core.base_backend import BackendDict
from moto.dynamodb.comparisons import ConditionExpressionParser
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.dynamodb.parsing.expressions import UpdateExpressionParser  # type: ignore[attr-defined]

Item = dict[str, dict[str, Any]]
Write = Mapping[str, Any]


@dataclass(frozen=True)
class _Transaction:
    """The writes of a transaction, and the backups of their tables, by name."""

    writes: Sequence[Write]
    backups: dict[str, Table] = field(default_factory=dict)


_transaction: ContextVar[_Transaction | None] = ContextVar("transaction", default=None)


@cache
def lighten_moto() -> None:
    """Let moto do less, for the rest of the process."""
    _back_up_little()
    _parse_once()
    _compare_texts_first()


def empty_moto() -> None:
    """Forget all that moto holds, of all services."""
    BackendDict.reset()


def stored(table: Table, item: Mapping[str, Any]) -> Item | None:
    """Return an item that a table holds, found by what stands in its key attributes, without a call of moto."""
    range_key = DynamoType(item[table.range_key_attr]) if table.range_key_attr else None
    found = table.get_item(DynamoType(item[table.hash_key_attr]), range_key)
    return image(found.to_json()["Attributes"]) if found else None


def all_stored(table: Table) -> Iterator[Item]:
    """Yield the items that a table holds."""
    for found in table.all_items():
        yield image(found.to_json()["Attributes"])


def image(attributes: Item) -> Item:
    """Return a copy in which equal sets are equal."""
    return {
        name: {kind: sorted(value) if kind == "SS" else value}
        for name, typed in attributes.items()
        for kind, value in typed.items()
    }


# ---- transactions --------------------------------------------------------------------------------------------------


def _back_up_little() -> None:
    """Back up the items that a transaction writes, alone and once."""
    write_all = DynamoDBBackend.transact_write_items

    def transact(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
        before = _transaction.set(_Transaction([write for each in transact_items for write in each.values()]))
        try:
            write_all(self, transact_items)
        finally:
            _transaction.reset(before)

    DynamoDBBackend.transact_write_items = transact  # type: ignore[method-assign]
    Table.__deepcopy__ = _copy  # type: ignore[attr-defined]


def _copy(table: Table, memo: dict[int, Any]) -> Table:
    """Stand for `copy.deepcopy` of a table, in a transaction and elsewhere."""
    transaction = _transaction.get()
    if transaction is None:
        memo[id(table)] = twin = copy.copy(table)
        twin.__dict__ = copy.deepcopy(table.__dict__, memo)
        return twin
    if table.name not in transaction.backups:  # moto asks again for each write, before the first of them
        transaction.backups[table.name] = _backup(table, transaction.writes)
    return transaction.backups[table.name]


def _backup(table: Table, writes: Sequence[Write]) -> Table:
    twin = copy.copy(table)
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


# ---- expressions ---------------------------------------------------------------------------------------------------


def _parse_once() -> None:
    """Parse an update once, and the tokens of a condition. moto changes what it has parsed, so each call has a copy."""
    parse, lex = UpdateExpressionParser.make.__func__, ConditionExpressionParser._lex_condition_expression

    @cache
    def tree(text: str) -> bytes:
        return pickle.dumps(parse(UpdateExpressionParser, text))

    def make(_: type, text: str) -> Any:
        return pickle.loads(tree(text))

    @cache
    def tokens(text: str) -> tuple[ConditionExpressionParser.Node, ...]:
        return tuple(lex(ConditionExpressionParser(text, None, None)))

    def lexed(self: ConditionExpressionParser) -> deque[ConditionExpressionParser.Node]:
        return deque(tokens(self.condition_expression or ""))

    UpdateExpressionParser.make = classmethod(make)
    ConditionExpressionParser._lex_condition_expression = lexed  # type: ignore[method-assign]


# ---- values --------------------------------------------------------------------------------------------------------


def _compare_texts_first() -> None:
    """Look first whether a value is a text, as keys are: a query compares the keys of all items of its table."""
    of_any = DynamoType.cast_value.fget  # type: ignore[attr-defined]

    def cast_value(self: DynamoType) -> Any:
        return self.value if self.type == "S" else of_any(self)

    def is_equal(self: DynamoType, other: DynamoType) -> bool:
        if self.type != other.type:
            return False
        return bool(self.value == other.value if self.type == "S" else of_any(self) == of_any(other))

    DynamoType.cast_value = property(cast_value)  # type: ignore[assignment,method-assign]
    DynamoType.__eq__ = is_equal  # type: ignore[method-assign]
