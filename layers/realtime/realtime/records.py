"""Records of the Events stream, read as the entries that they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from realtime.tables.entries import Entry, Reach, Unreadable, read_entries
from realtime.text import make_storable


def read_record(record: Mapping[str, Any], reach: Reach) -> list[Entry]:
    """Return the entries in a record of the Events stream that have this reach.

    Raises Unreadable if none of our own functions wrote it; while posting, it would make the whole batch fail.
    """
    change = record.get("dynamodb") or {}
    try:
        return read_entries(change.get("NewImage"), reach)
    except Unreadable as problem:
        raise Unreadable(make_storable(f"a record that cannot be read, {change.get('Keys')}: {problem}")) from problem


@dataclass(frozen=True, slots=True)
class Reading:
    """A batch of records after reading: its entries, with the index of each one's record, and its problems by index."""

    count: int  # records
    entries: list[Entry] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    unreadable: dict[int, Exception] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]], reach: Reach) -> Reading:
        """Read a batch of records."""
        reading = cls(len(records))
        for place, record in enumerate(records):
            try:
                found = read_record(record, reach)
            except Unreadable as problem:
                reading.unreadable[place] = problem
                continue
            reading.entries.extend(found)
            reading.places.extend([place] * len(found))
        return reading

    def records_done(self, entries_done: int) -> int:
        """Return how many records, from the first, are done when this many entries are done."""
        return [*self.places, self.count][entries_done]
