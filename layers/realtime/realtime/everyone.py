"""Everyone online, as `sync` shows them: read once for many clients.

To read all who are online costs hundreds of read units when there are thousands, and after an outage hundreds of
clients ask within a second. Therefore one instance of `default` reads them and stores a *base*; the next ones store, at
most once a second, a *tail*: the states that have changed since. All others read these two. Each instance keeps the
base in memory, and comes from there to the next base by a *step*, which is small: otherwise hundreds of instances would
read the whole base in the same second. Tails are made while the next base is: `default` has a third of a core, and a
base of tens of thousands takes it seconds.

What a client may get: it hears every event that is posted after the index shows its connection. So the answer to its
`sync` must have every change that was recorded before it asked: the log must have been read after that.

With few online, everyone is read for each client: that is cheaper, and waits for nobody.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from realtime.errors import RealtimeError, Unavailable
from realtime.ids import make_event_id
from realtime.presence import state
from realtime.tables.outbox import Outbox
from realtime.tables.users import User, Users
from realtime.tables.views import Head, Made, Part, Views
from realtime.text import dumps

if TYPE_CHECKING:
    from realtime.contract import to_clients

# How far an index may lag behind its table. The outbox, which does not lag, shows the users who changed since.
INDEX_LAG_SECONDS = 60
FEW = 300  # users online; up to here everyone is read for each client
BASE_KEPT_MS = 20_000
TAIL_KEPT_MS = 1000
# As long as `default` may run: whoever makes it and lives still has its claim.
CLAIM_MS = 10_000
_BASE_TAILED_MS = 60_000  # an older base gets no tail: the log of so long would be read for it
# The clocks of two instances may differ. AWS keeps them within milliseconds.
_SKEW_MS = 100
_PAUSE_S = 0.2
_WAIT_MS, _WAIT_FIRST_MS = 4000, 500
_LATER_S = (2, 6)  # when a client that was refused is to ask again: not all at once
# How much longer an instance may wait, at random, for each part of a base after the first that it reads: hundreds learn
# of a base in the same moment.
_SPREAD_S = 0.4


class Shown(NamedTuple):
    """A user as `sync` shows them, and what decides who may see them."""

    user_id: str
    version: int
    role: str | None
    hidden_from: frozenset[str]
    state: str  # JSON
    has_listed_blocks: bool = False  # there are more, in the Blocks table

    @classmethod
    def of(cls, user: User) -> Shown:
        """Return what is shown of a user."""
        shown: to_clients.User = {"username": user.username, **state(user), "version": user.version}
        return cls(user.user_id, user.version, user.role, user.hidden_from, dumps(shown), user.listed_blocks > 0)


Rows = dict[str, Shown]  # by user id


class Everyone:
    """All users online, and those who have just left; `log` is the outbox partition that reports their changes."""

    def __init__(
        self,
        users: Users,
        outbox: Outbox,
        views: Views,
        *,
        clock: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:
        self._users = users
        self._outbox = outbox
        self._views = views
        self._clock = clock
        self._pause = pause
        self._kept: dict[str, tuple[str, Rows]] = {}  # by log: the id of the base in memory, and its rows

    def read(self, log: str) -> Rows:
        """Return everyone, with all changes that were recorded before this call.

        A user who has left lately is included, offline and with a version, so that a late, older message cannot bring
        them back. Raises Unavailable if a table cannot be read, or if nobody has made a base in time.
        """
        asked_ms = self._now_ms()
        while True:
            head = self._views.head(log) or Head()
            if head.users is not None and head.users < FEW:
                return self._read_for_one(log)
            if head.begun_ms >= asked_ms + _SKEW_MS and (rows := self._load(log, head)) is not None:
                return rows
            now_ms = self._now_ms()
            for make in (self._make_base, self._make_tail):
                if (made := make(log, head, now_ms)) is not None:
                    return made
            if head.base_claimed_until_ms >= now_ms and head.awaited_at_ms < head.claimed_at_ms:
                self._views.wait_for(log, now_ms)
            if now_ms >= asked_ms + (_WAIT_MS if _may_have_tail(head, now_ms) else _WAIT_FIRST_MS):
                # If each of these clients read everyone, the tables would answer nobody. If all of them waited for the
                # first base, as many instances would wait, and then read it in the same moment.
                raise Unavailable("a view of everyone is still being made", retry_after=random.randint(*_LATER_S))
            self._pause(_PAUSE_S * random.uniform(0.5, 1))

    def _read_for_one(self, log: str) -> Rows:
        now_ms = self._now_ms()
        rows = self.read_anew(log)
        if len(rows) >= FEW and self._views.claim(log, "base", now_ms, now_ms + CLAIM_MS):
            self._views.release(log, "base", now_ms + CLAIM_MS, len(rows))  # from now on they are counted as many
        return rows

    def _make_base(self, log: str, head: Head, now_ms: int) -> Rows | None:
        """Make a base if that is due and nobody does; it is stored only if others have asked lately, or wait."""
        if head.base_claimed_until_ms >= now_ms:
            return None
        if head.base is not None and now_ms - head.base.begun_ms < BASE_KEPT_MS and self._base(log, head) is not None:
            return None
        with self._claimed(log, "base", now_ms) as until_ms:
            if until_ms is None:
                return None
            base = self._base(log, head)
            found = self._indexed()
            begun_ms = self._now_ms()
            rows = found | self._changed(log, now_ms, found)
            if now_ms - head.claimed_at_ms >= BASE_KEPT_MS and not self._is_awaited(log, now_ms):
                self._views.release(log, "base", until_ms, len(rows))
                return rows
            made = self._views.write(pack(rows.values()), begun_ms)
            difference = self._views.write(_pack_step(base, rows), begun_ms) if base is not None else None
            before = head.base.view_id if difference and head.base else ""
            self._views.publish_base(log, len(rows), made, difference, before, until_ms)
            return rows

    def _is_awaited(self, log: str, since_ms: int) -> bool:
        head = self._views.head(log)
        return head is not None and head.awaited_at_ms >= since_ms

    def _make_tail(self, log: str, head: Head, now_ms: int) -> Rows | None:
        """Make a tail if that is due and nobody does: also while another base is being made."""
        is_due = head.claimed_until_ms < now_ms and now_ms - head.begun_ms >= TAIL_KEPT_MS
        if head.base is None or not is_due or not _may_have_tail(head, now_ms):
            return None
        with self._claimed(log, "tail", now_ms) as until_ms:
            if until_ms is None:
                return None
            base = self._base(log, head)
            if base is None:
                self._views.release(log, "tail", until_ms)
                return None
            tail = self._tail(head.tail) or {}
            begun_ms = self._now_ms()
            tail |= self._changed(log, head.base.begun_ms, base | tail)
            self._views.publish_tail(log, self._views.write(pack(tail.values()), begun_ms), until_ms)
            return base | tail

    @contextmanager
    def _claimed(self, log: str, part: Part, now_ms: int) -> Iterator[int | None]:
        """Claim to make a part; yield when the claim ends, or None if somebody else has it. A failure gives it up."""
        until_ms = now_ms + CLAIM_MS
        if not self._views.claim(log, part, now_ms, until_ms):
            yield None
            return
        try:
            yield until_ms
        except RealtimeError:
            with suppress(RealtimeError):
                self._views.release(log, part, until_ms)
            raise

    def _load(self, log: str, head: Head) -> Rows | None:
        """Return what a head shows; None if a part of it is not there any more."""
        base, tail = self._base(log, head), self._tail(head.tail)
        return None if base is None or tail is None else base | tail

    def _base(self, log: str, head: Head) -> Rows | None:
        if head.base is None:
            return None
        kept_id, rows = self._kept.get(log, ("", {}))
        if kept_id == head.base.view_id:
            return rows
        packed = self._views.read(head.step) if head.step and head.step_from == kept_id else None
        if packed is not None:
            rows = step(rows, packed)
        else:
            if head.base.parts > 1:
                self._pause(random.uniform(0, _SPREAD_S * (head.base.parts - 1)))
            packed = self._views.read(head.base)
            if packed is None:
                return None
            rows = unpack(packed)
        self._kept[log] = head.base.view_id, rows
        return rows

    def _tail(self, made: Made | None) -> Rows | None:
        if made is None:
            return {}
        packed = self._views.read(made)
        return None if packed is None else unpack(packed)

    def read_anew(self, log: str) -> Rows:
        """Return everyone from the index, and from the table those who have a later message in the outbox."""
        now_ms = self._now_ms()
        found = self._indexed()
        return found | self._changed(log, now_ms, found)

    def _indexed(self) -> Rows:
        return {user.user_id: Shown.of(user) for user in self._users.online()}

    def _changed(self, log: str, since_ms: int, known: Mapping[str, Shown]) -> Rows:
        """Return, as of now, the users whose entries of the log since a time are later than what is known of them.

        The log is read from a minute before: the index may lag behind, and entries may be recorded late.
        """
        changed: dict[str, None] = {}
        for user_id, version in self._outbox.changed_since(log, make_event_id(since_ms - INDEX_LAG_SECONDS * 1000)):
            if user_id not in known or known[user_id].version < version:
                changed[user_id] = None
        return {user.user_id: Shown.of(user) for user in self.of(list(changed))}

    def of(self, user_ids: Sequence[str]) -> list[User]:
        """Return users as of now; those of whom nothing is known are left out."""
        return self._users.get_many(user_ids)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _may_have_tail(head: Head, now_ms: int) -> bool:
    return head.base is not None and now_ms - head.base.begun_ms < _BASE_TAILED_MS


def pack(rows: Iterable[Shown], gone: Iterable[str] = ()) -> bytes:
    """Return rows, and the ids of users to leave out, in the form that is stored."""
    # Escaped beforehand, so that no search for unstorable characters goes through megabytes.
    changed = [[*each[:3], sorted(each.hidden_from), *each[4:]] for each in rows]
    text = json.dumps([list(gone), changed], separators=(",", ":"))
    return zlib.compress(text.encode(), 1)


def unpack(packed: bytes) -> Rows:
    """Return the rows of a base or a tail."""
    return step({}, packed)


def _pack_step(old: Rows, new: Rows) -> bytes:
    """Return how to come from old rows to new ones."""
    return pack((row for row in new.values() if old.get(row.user_id) != row), old.keys() - new.keys())


def step(rows: Rows, packed: bytes) -> Rows:
    """Return the rows to which a step leads from these."""
    removed, changed = json.loads(zlib.decompress(packed))
    gone = frozenset(removed)
    stepped = {user_id: row for user_id, row in rows.items() if user_id not in gone}
    for user_id, version, role, hidden_from, *shown in changed:
        stepped[user_id] = Shown(user_id, version, role, frozenset(hidden_from), *shown)
    return stepped
