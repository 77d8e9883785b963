"""A socket and what is specific to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from listener_realtime.world import Socket, World

_ANSWERED_BY = {
    "snapshot": ("sync", "watch", "unwatch"),
    "resumed": ("resume",),
    "authenticated": ("authenticate",),
    "pong": ("ping",),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """What a client sends."""

    type: str
    data: Mapping[str, Any]


class Link:
    """One socket of a line. Its owner gives it a socket before anything happens."""

    socket: Socket

    def __init__(
        self, world: World, ids: Iterable[str], sent: Callable[[Frame], None], expiry_ms: float | None
    ) -> None:
        """Take the users whom the URL names, and when the token expires."""
        self._world, self._sent = world, sent
        self.ids, self.expiry_ms = frozenset(ids), expiry_ms
        self.asked: list[Frame] = []  # not answered yet, and must be
        self.held: dict[str, str] | None = None  # positions that wait until the missed messages are here
        self.later: list[Any] = []  # live messages that wait likewise, with their positions
        self.refusal = ""
        self.is_left = False  # closed by its owner

    def say(self, frame: Frame) -> bool:
        """Send a frame; false if the socket is not open."""
        if not self.socket.is_open:
            return False
        at = datetime.fromtimestamp(self._world.now_ms() / 1000, UTC).isoformat(timespec="milliseconds")
        envelope = {"type": frame.type, "data": frame.data, "timestamp": at.replace("+00:00", "Z")}
        self.socket.send(json.dumps(envelope, separators=(",", ":"), ensure_ascii=False))
        self._sent(frame)
        return True

    def tell(self, frame: Frame) -> None:
        """Send what must be answered, and is sent again if it is refused."""
        self.asked.append(frame)
        self.say(frame)

    def forget(self, kind: str) -> bool:
        """Await no answer to frames of a type any more; returns whether there was one."""
        before = len(self.asked)
        self.asked = [frame for frame in self.asked if frame.type != kind]
        return len(self.asked) < before

    def awaits(self, kind: str) -> bool:
        """Return whether a frame of a type is not answered yet."""
        return any(frame.type == kind for frame in self.asked)

    def take_answered(self, kind: str, data: Mapping[str, Any]) -> Frame | None:
        """Return the frame to whose answer a message is the end, if there is one; it is then awaited no more."""
        if data.get("complete") is False:  # more of it is to come
            return None
        kinds = _ANSWERED_BY.get(kind, ())
        found = next((frame for frame in self.asked if frame.type in kinds), None)
        if found is not None:
            self.asked.remove(found)
        return found
