"""What a connection watches, such that of two changes the one sent last counts, in whatever order they are made.

Each change has a revision, which rises in the order in which API Gateway received the frames. For every user who was
changed lately, the state keeps the revision of the last change, also if that was to watch no more: a slower, earlier
frame then does not undo it. Earlier revisions are dropped, and a frame that is older than any of those is refused.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from realtime.errors import BadRequest, Unavailable

MAX_WATCHED = 100  # users per connection
# `default` has 10 s, so no frame changes the state later than this after it was sent.
KEPT_MS = 15_000
_MOST_KEPT = 200  # users with a revision; a client cannot make the state large by many changes


def make_revision(sent_ms: int, message_id: str) -> str:
    """Return a text that sorts by the time at which API Gateway received a frame, and then by API Gateway's id of it.

    What the ids of two frames of one millisecond say of their order is documented nowhere. At least all function
    instances order them alike.
    """
    try:
        tie_break = base64.urlsafe_b64decode(message_id)
    except ValueError:
        tie_break = message_id.encode()
    return f"{sent_ms:012x}{tie_break.hex()}"


def _sent_ms(revision: str) -> int:
    return int(revision[:12], 16)


@dataclass(frozen=True, slots=True)
class WatchState:
    """The users whom a connection watches: those settled, and those changed lately with their last revision."""

    settled: frozenset[str] = frozenset()
    recent: Mapping[str, tuple[str, bool]] = field(default_factory=dict)  # user: revision, whether watched
    floor: str = ""  # the newest revision that was dropped
    wide: tuple[str, ...] = ()  # the audiences of everyone to which it subscribed until it watched

    @property
    def watched(self) -> frozenset[str]:
        """All the users whom the connection watches."""
        return self.settled | {user_id for user_id, (_, is_watched) in self.recent.items() if is_watched}

    @property
    def subscribed(self) -> frozenset[str]:
        """All the users to whom it may have a subscription: also those unwatched lately, for that may be under way."""
        return self.settled | self.recent.keys()

    def changed(self, revision: str, user_ids: Iterable[str], *, watch: bool, now_ms: int) -> WatchState:
        """Return the state after a frame's change; what a later frame has changed stays as it is.

        Raises BadRequest if that is too many users, and Unavailable if the frame was overtaken by too many others.
        """
        if revision < self.floor:
            raise Unavailable("later frames of this connection were handled before this one")
        ours = {each for each in user_ids if self.recent.get(each, ("", False))[0] <= revision}
        recent = {**self.recent, **dict.fromkeys(ours, (revision, watch))}
        state = WatchState(self.settled - ours, recent, self.floor, self.wide)
        if watch and len(state.watched) > MAX_WATCHED:
            had = len(self.watched)
            raise BadRequest(f"user_ids: a connection watches {MAX_WATCHED} users at most, and this one {had}")
        return state._without_old(revision, now_ms)

    def _without_old(self, revision: str, now_ms: int) -> WatchState:
        """Return the state without revisions that no frame under way can contradict."""
        settled, recent, floor = set(self.settled), dict(self.recent), self.floor
        for old, users in _by_revision(recent):
            if old == revision or (_sent_ms(old) >= now_ms - KEPT_MS and len(recent) <= _MOST_KEPT):
                break
            settled |= {each for each in users if recent[each][1]}
            recent = {each: kept for each, kept in recent.items() if kept[0] != old}
            floor = max(floor, old)
        return WatchState(frozenset(settled), recent, floor, self.wide)

    def as_text(self) -> str:
        """Return the state as it is stored."""
        recent = [
            [revision, [[each for each in users if self.recent[each][1] is is_watched] for is_watched in (True, False)]]
            for revision, users in _by_revision(self.recent)
        ]
        stored = {"settled": sorted(self.settled), "recent": recent, "floor": self.floor, "wide": self.wide}
        return json.dumps(stored, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> WatchState:
        """Read a state that was stored."""
        stored = json.loads(text)
        recent = {
            user_id: (revision, is_watched)
            for revision, both in stored["recent"]
            for is_watched, users in zip((True, False), both, strict=True)
            for user_id in users
        }
        return cls(frozenset(stored["settled"]), recent, stored["floor"], tuple(stored["wide"]))


def _by_revision(recent: Mapping[str, tuple[str, bool]]) -> Sequence[tuple[str, list[str]]]:
    """Return the users of each revision, the oldest first."""

    def revision_of(user_id: str) -> str:
        return recent[user_id][0]

    in_order = sorted(recent, key=lambda user_id: (revision_of(user_id), user_id))
    return [(revision, list(users)) for revision, users in groupby(in_order, key=revision_of)]
