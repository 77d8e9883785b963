"""A client that shows the online users: it keeps its messages as the docs require."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from realtime.messages import TYPES
from tests.support.contract import check_heard

LAG = timedelta(seconds=60)
PRESENCE = frozenset(
    {
        "listener_online",
        "listener_offline",
        "listener_busy",
        "listener_available",
        "presence_update",
        "status_change",
    }
)


@dataclass(frozen=True)
class Seen:
    """How a user is shown."""

    version: int
    is_online: bool
    is_busy: bool
    at: datetime  # when the message or the snapshot with this state was made


View = dict[str, Seen]


class Client:
    """One connection's end on feed or presence.

    A client knows the state of users after a `snapshot` has answered its `sync` or `watch`. From the moment that it
    sent that frame, it keeps all messages: a repeated `id` is a duplicate, and of several states of a user the one with
    the higher `version` holds. A snapshot of everyone has no versions of the users that it leaves out: it covers all
    that happened to them until a minute before it was made, and an older message about them comes too late.

    After a `stale` it knows nothing for certain until the answer to a `sync` that it sends afterwards.

    `scope` is the set of users whose state it can rely on, None while there are none, and `everyone` if `is_wide`.
    """

    def __init__(
        self,
        watching: Collection[str] | None,
        types: Collection[str],
        on_message: Callable[[dict[str, Any]], None],
        *,
        hears_both: bool = False,
    ) -> None:
        self.types = frozenset(types)
        self.view: View = {}
        self.scope: set[str] | None = None
        self.is_wide = False
        self.is_stale = False
        self.received: list[dict[str, Any]] = []
        self._watching: set[str] | None = set(watching) if watching is not None else None
        self._is_certain = True  # of the users that it watches
        self._heard: dict[str, dict[str, Any]] = {}
        self._fresh: View | None = None  # messages and snapshots since the frame whose answer it awaits
        self._snapshot: list[str] = []
        self._is_complete = False
        self._made_at = self._speaks_until = datetime.min.replace(tzinfo=UTC)
        self._on_message = on_message
        # Feed shows whoever is no listener any more as offline. A client that hears presence too relies on that alone.
        self._believed = PRESENCE - TYPES["feed"] if hears_both else PRESENCE

    def hear(self, frame: str) -> None:
        """Take in a frame: a message, or an array of them."""
        check_heard(frame)
        messages = json.loads(frame)
        for message in messages if isinstance(messages, list) else [messages]:
            message.pop("position", None)  # the same message again may say more: see tests/unit/test_resuming.py
            self.received.append(message)
            kind = message.get("type")  # API Gateway's own errors have none
            if kind == "snapshot":
                self._hear_snapshot(message)
            elif kind in PRESENCE:
                self._hear_presence(message)
            elif kind == "stale":
                self.is_stale, self.is_wide, self.scope = True, False, None

    def ask(self, kind: str, user_ids: Collection[str]) -> str:
        """Return a frame to send."""
        self._fresh, self._snapshot, self._is_complete = {}, [], False
        self.is_stale = self.is_stale and kind != "sync"
        data = {"user_ids": [int(each) if each.isdigit() else each for each in user_ids]} if user_ids else {}
        return json.dumps({"type": kind, "data": data})

    def answered(self, kind: str, user_ids: Collection[str]) -> None:
        """Update the view after the answer to the frame, or after its failure."""
        fresh, self._fresh = self._fresh or {}, None
        users = set(user_ids)
        match kind:
            case "sync" if self.is_stale:
                pass  # some changes since it asked were left out
            case "sync" if self._is_complete:
                self.is_wide = self._is_certain and self._watching is None
                self._speaks_until = self._made_at - LAG
                self.view = {
                    user_id: seen
                    for user_id, seen in fresh.items()
                    if not self._is_too_late(seen) or user_id in self._snapshot
                }
                known = self._watching if self._is_certain else self._snapshot
                self.scope = None if self.is_wide else set(known or ())
            case "watch" if self._is_complete:
                if self._watching is None or not self._is_certain:
                    self.view, self.scope, self._watching = {}, set(), set()
                self.view |= {user_id: seen for user_id, seen in fresh.items() if user_id in users}
                self.scope = (self.scope or set()) | users
                self._watching |= users
                self._is_certain, self.is_wide = True, False
            case "watch":
                if self._watching is None or not self._is_certain:
                    self.scope, self.is_wide = None, False
                self._is_certain = False
            case "unwatch":
                if self.scope is not None:
                    self.scope -= users
                if self._watching is not None:
                    self._watching -= users
                    self._is_certain = self._is_certain and self._is_complete

    def _is_too_late(self, seen: Seen) -> bool:
        return self.is_wide and seen.at < self._speaks_until

    def _hear_snapshot(self, message: dict[str, Any]) -> None:
        data, at = message["data"], datetime.fromisoformat(message["timestamp"])
        assert self._fresh is not None, "a snapshot that nobody asked for"
        assert not self._is_complete, "a page after the last one"
        for user in data["users"]:
            self._snapshot.append(str(user["user_id"]))
            _keep(self._fresh, str(user["user_id"]), Seen(user["version"], user["is_online"], user["is_busy"], at))
        self._is_complete = data["complete"]
        self._made_at = at

    def _hear_presence(self, message: dict[str, Any]) -> None:
        known = self._heard.setdefault(message["id"], message)
        assert known == message, "two messages with one id"
        if known is not message:
            return
        self._on_message(message)
        if message["type"] not in self._believed:
            return
        user_id, data = str(message["data"]["user_id"]), message["data"]
        at = datetime.fromisoformat(message["timestamp"])
        seen = Seen(message["version"], data["is_online"], data["is_busy"], at)
        if user_id in self.view or not self._is_too_late(seen):
            _keep(self.view, user_id, seen)
        if self._fresh is not None:
            _keep(self._fresh, user_id, seen)


def _keep(view: View, user_id: str, seen: Seen) -> None:
    before = view.get(user_id)
    if before is None or before.version <= seen.version:
        view[user_id] = seen
