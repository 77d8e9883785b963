"""Who must not see whom: the blocks that are not in the user's own item, as `broadcast` and `resume` need them.

A user with few blocks carries them, and so does each of their changes. One with more carries only how often the list of
their blocks was changed. Whoever posts such a change asks the Blocks table about its recipients, and remembers the
answers until that number rises.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from threading import Lock

from realtime.tables.blocks import Blocks
from realtime.tables.entries import Entry
from realtime.tables.users import Users

# Ids of 12 bytes in a read unit, roughly: what it costs to read a list as a whole. To ask about one user costs a unit.
_IDS_A_UNIT = 300
_KEPT = 500_000  # answers in memory; 100 bytes each


@dataclass(slots=True)
class _Known:
    """What is known of a list since it was changed for the nth time."""

    changes: int
    listed: frozenset[str] | None = None  # all of it
    asked: dict[str, bool] = field(default_factory=dict)  # or whether these users are on it

    def size(self) -> int:
        return len(self.listed or ()) + len(self.asked)


class Hiding:
    """From whom users with many blocks are hidden, as of now or as of their last block."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._lock = Lock()  # several blockers are asked about in threads
        self._known: OrderedDict[str, _Known] = OrderedDict()  # by blocker, the last one used at the end
        self._size = 0  # of all that is known

    def hidden(self, blocker: str, changes: int, others: Set[str]) -> Set[str]:
        """Return from which of these users the blocker's list hides them; it was changed at least so often."""
        with self._lock:
            known = self._take(blocker)
        if known is None or known.changes < changes:
            known = _Known(changes)
        if known.listed is None:
            unknown = others - known.asked.keys()
            if len(known.asked) + len(unknown) <= 1 + changes // _IDS_A_UNIT:
                found = self._blocks.listed_among(blocker, unknown) if unknown else frozenset()
                known.asked |= {each: each in found for each in unknown}
            else:
                known = _Known(known.changes, self._blocks.listed(blocker))
        self._keep(blocker, known)
        if known.listed is not None:
            return others & known.listed
        return {each for each in others if known.asked[each]}

    def _keep(self, blocker: str, known: _Known) -> None:
        with self._lock:
            self._take(blocker)  # another thread may have asked about the same one
            self._known[blocker] = known
            self._size += known.size()
            while len(self._known) > 1 and self._size > _KEPT:
                self._take(next(iter(self._known)))

    def _take(self, blocker: str) -> _Known | None:
        """Return what is known of a list, and keep it no longer: whoever has it may change it."""
        known = self._known.pop(blocker, None)
        if known is not None:
            self._size -= known.size()
        return known


class HistoryHiding:
    """Which entries of the history a user may not see now, whatever was blocked when they were recorded."""

    def __init__(self, blocks: Blocks, users: Users) -> None:
        self._blocks = blocks
        self._users = users

    def as_now(self, entries: Sequence[Entry], user_id: str) -> list[Entry]:
        """Return the entries with the blocks as they are now, as far as they concern a user."""
        subjects = {entry.subject for entry in entries if entry.subject is not None}
        if not subjects:
            return list(entries)
        blockers = self._blocks.blockers(user_id, subjects)
        # The blocks of before there was a Blocks table are in the users' items alone.
        others = {entry.subject for entry in entries if entry.subject and user_id in entry.hidden_from} - blockers
        if others:
            users = self._users.get_many(sorted(others))
            blockers |= {user.user_id for user in users if user_id in user.hidden_from}
        hidden, shown = frozenset({user_id}), frozenset[str]()
        return [
            entry
            if entry.subject is None
            else replace(entry, hidden_from=hidden if entry.subject in blockers else shown)
            for entry in entries
        ]
