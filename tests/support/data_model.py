"""Holds what a test left in the tables to docs/data-model.md: keys, attributes, their types, and the time of expiry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from tests.cloudformation import ROOT, resources

Item = Mapping[str, Mapping[str, Any]]
Attributes = list[tuple[str, frozenset[str]]]  # patterns of names, and the types of each; none: not said

TABLES = {name.removesuffix("Table"): table["KeySchema"] for name, table in resources("AWS::DynamoDB::Table").items()}
_TYPES = {"string": "S", "number": "N", "boolean": "BOOL", "set of strings": "SS"}
_EXPIRING = ("Connections", "Events")
_LONGEST_S = 15 * 86_400  # the longest kept are open calls, for 14 days


class NotDocumentedError(AssertionError):
    """An item is not as the data model says."""


def check(table: str, items: Iterable[Item], begin_s: float, end_s: float) -> None:
    """Check the items of a table, such as `Users`, which a test that began and ended then has left.

    Raises NotDocumentedError.
    """
    for item in items:
        wrong = [*_unknown(table, item), *(_expiry(item, begin_s, end_s) if table in _EXPIRING else ())]
        if wrong and len(item) > len(TABLES[table]):  # moto makes an item of the keys alone before it refuses an update
            raise NotDocumentedError(f"{table}: {', '.join(wrong)}: {item}")


def _unknown(table: str, item: Item) -> Iterator[str]:
    """Yield the attributes that the table should not have, or not of this type."""
    keys = [next(iter(item[key["AttributeName"]].values())) for key in TABLES[table]]
    is_entry = "reach" in item or str(keys[0]).startswith("connection/")  # the latter without it: a last frame
    is_other_kind = table == "Events" and not is_entry  # the list of attributes is that of entries
    attributes = [*([] if is_other_kind else _attributes(table)), *([] if is_entry else _of_kind(table, keys))]
    for name, value in item.items():
        (kind,) = value
        if not any(re.fullmatch(pattern, name) and kind in (kinds or kind) for pattern, kinds in attributes):
            yield f"`{name}` of type {kind}"


def _expiry(item: Item, begin_s: float, end_s: float) -> Iterator[str]:
    at_s = float(item.get("expires_at", {}).get("N", 0))
    if not begin_s <= at_s <= end_s + _LONGEST_S:
        yield f"expires at {at_s:.0f}"


@cache
def _attributes(table: str) -> Attributes:
    """Return the attributes in the lists of attributes of a table's section."""
    found: Attributes = [("expires_at", frozenset("N"))] if table in _EXPIRING else []
    found += [(key["AttributeName"], frozenset("S")) for key in TABLES[table]]
    for row in _rows(table, "attribute"):
        kinds = {kind for word, kind in _TYPES.items() if re.search(rf"(?<!of ){word}\b", row[1])}
        found += [(_pattern(name), frozenset(kinds)) for name in _quoted(row[0])]
    return found


def _of_kind(table: str, keys: list[str]) -> Attributes:
    """Return the attributes of an item of a table whose kinds of items are listed by their keys."""
    found: Attributes = []
    for row in _rows(table, f"`{TABLES[table][0]['AttributeName']}`"):
        named = [_quoted(cell) for cell in row[:2]]
        if all(not names or re.fullmatch(_pattern(names[0]), key) for names, key in zip(named, keys, strict=True)):
            found += [(_pattern(name), frozenset[str]()) for name in _quoted(row[2])]
            found += [(key["AttributeName"], frozenset("S")) for key in TABLES[table] if named[0]]
            found += [("expires_at", frozenset("N"))]
    return found


@cache
def _rows(section: str, first: str) -> list[list[str]]:
    """Return the cells of the tables of a section whose first column's name begins so."""
    text = (ROOT / "docs/data-model.md").read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    found: list[list[str]] = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        cells = [[cell.strip() for cell in line[1:].split(" |")] for line in table.splitlines()]
        if cells[0][0].startswith(first):
            found += cells[2:]
    return found


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _pattern(name: str) -> str:
    return re.sub(r"\\\{[^}]*\\\}|…", ".+", re.escape(name))
