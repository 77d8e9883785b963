"""What messages add up to: who is online and busy, and which calls are going on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

from listener_realtime import messages as of
from listener_realtime.client import End, Realtime
from listener_realtime.messages import Id, User

T = TypeVar("T")
Users = dict[Id, User]


class Call(of.Call):
    """A call as the messages about it show it; `ended` once one of them ended it."""

    ended: bool


MOST_CALLS = 1_000  # beyond which the oldest ended one is forgotten


class Store(ABC, Generic[T]):
    """Something that changes: `get` is its state, a new object after each change."""

    def __init__(self) -> None:
        self._shown: T | None = None
        self._listeners: list[Callable[[], None]] = []
        self._ends: list[End] = []

    def get(self) -> T:
        """Return what is known now."""
        if self._shown is None:
            self._shown = self._make()
        return self._shown

    @abstractmethod
    def _make(self) -> T:
        """Return what is known now, as a new object: it is made when somebody looks."""

    def subscribe(self, listener: Callable[[], object]) -> End:
        """Call `listener` after each change; returns what ends it."""

        def call() -> None:
            listener()

        self._listeners.append(call)

        def end() -> None:
            if call in self._listeners:
                self._listeners.remove(call)

        return end

    def close(self) -> None:
        """Hear no more."""
        for end in self._ends:
            end()

    def _changed(self) -> None:
        self._shown = None
        for listener in tuple(self._listeners):
            listener()


class Presence(Store[Mapping[Id, User]]):
    """The known users, by id: the message about a user with the higher version holds."""

    def __init__(self, realtime: Realtime) -> None:
        """Hear a client; make it before the client is opened."""
        super().__init__()
        self._known: dict[str, Users] = {}  # by endpoint
        self._next: dict[str, Users] = {}  # of snapshots that are not complete yet, with the events since their request
        self._all: Users = {}  # of all endpoints
        self._ends = [realtime.hear("syncing", self._begin), realtime.hear("message", self._take)]

    def _begin(self, _value: None, stage: str) -> None:
        self._next[stage] = {}

    def _make(self) -> Mapping[Id, User]:
        return MappingProxyType(dict(self._all))

    def _take(self, message: Any, stage: str) -> None:
        data, version = message["data"], message.get("version")
        known, coming = self._known.setdefault(stage, {}), self._next.get(stage)
        is_snapshot = message["type"] == "snapshot"
        if is_snapshot and coming is not None:
            for user in data["users"]:
                _keep_younger(coming, user)
            if not data["complete"]:
                return
            self._known[stage] = self._next.pop(stage)
            self._all = {}
            for each in self._known.values():
                for user in each.values():
                    _keep_younger(self._all, user)
        elif is_snapshot or (version is not None and data.get("user_id") is not None):
            # A snapshot without a request of everyone answers `watch`, and adds users.
            for user in data["users"] if is_snapshot else [cast("User", {**data, "version": version})]:
                for users in (known, self._all, *([] if coming is None else [coming])):
                    _keep_younger(users, user)
        else:
            return
        self._changed()


def _keep_younger(users: Users, user: User) -> None:
    known = users.get(user["user_id"])
    is_younger = known is None or user.get("version", 0) > known.get("version", 0)
    older, younger = (known, user) if is_younger else (user, known)
    users[user["user_id"]] = cast("User", {**(older or {}), **(younger or {})})  # what the younger lacks is added


class Calls(Store[list[Call]]):
    """Calls, the newest first; a late message does not reopen an ended call."""

    def __init__(self, realtime: Realtime, known: Iterable[Call] = ()) -> None:
        """Hear a client. `known` are calls from before, such as those of your backend, the newest first."""
        super().__init__()
        self._calls = {call["call_id"]: call for call in reversed(list(known))}
        self._ends = [realtime.hear("message", self._take)]

    def _take(self, message: Any, _stage: str) -> None:
        if message["type"] not in {"call_started", "call_billing", "call_ended"}:
            return
        data = message["data"]
        before = self._calls.get(data.get("call_id"))
        has_ended = message["type"] == "call_ended" or (before is not None and before["ended"])
        self._calls[data.get("call_id")] = cast("Call", {**(before or {}), **data, "ended": has_ended})
        if len(self._calls) > MOST_CALLS:
            oldest = next((key for key, call in self._calls.items() if call["ended"]), None)
            if oldest is not None:
                del self._calls[oldest]
        self._changed()

    def _make(self) -> list[Call]:
        return list(reversed(self._calls.values()))
