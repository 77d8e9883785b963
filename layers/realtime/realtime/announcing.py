"""From the Users stream: what changed is recorded for clients, told to the backends, and looked at again in time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from realtime.bus import Announcement, Bus
from realtime.deadlines import stayed_away
from realtime.outbox import Entry, Outbox
from realtime.presence import Rules, consequences
from realtime.queues import Queue
from realtime.users import User, from_image


@dataclass(frozen=True, slots=True)
class Change:
    """A user's state before and after a write; None where there was none."""

    old: User | None
    new: User | None


def read(record: Mapping[str, Any]) -> Change:
    """Read a record of the Users stream."""
    images = record["dynamodb"]
    old, new = (images.get(name) for name in ("OldImage", "NewImage"))
    return Change(from_image(old) if old else None, from_image(new) if new else None)


class Announcer:
    """Draws the consequences of changes."""

    def __init__(self, outbox: Outbox, bus: Bus, deadlines: Queue, rules: Rules, *, grace_seconds: int) -> None:
        self._outbox = outbox
        self._bus = bus
        self._deadlines = deadlines
        self._rules = rules
        self._grace_seconds = grace_seconds

    def announce(self, changes: Iterable[Change]) -> int:
        """Make the consequences of changes true, and return how many messages they made.

        Clients first, backends last. When a step fails, all may be tried again: messages are recorded under the same
        ids, a second look at a leaver finds nothing to do, and only a backend may hear an event twice, with one id.
        """
        entries: list[Entry] = []
        announcements: list[Announcement] = []
        leavers: list[User] = []
        for change in changes:
            if change.new is None:
                continue  # an operator deleted the user: there is nobody to speak of
            follows = consequences(change.old, change.new, self._rules)
            entries += follows.entries
            announcements += follows.announcements
            if follows.may_have_left:
                leavers.append(change.new)
        self._outbox.put_all(entries)
        for user in leavers:
            self._deadlines.send(stayed_away(user.user_id, user.left_at), delay_seconds=self._grace_seconds)
        self._bus.put_all(announcements)
        return len(entries)
