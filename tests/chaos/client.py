"""A client of the chaos: its connection, the troubles of its socket, and the messages that it must hear."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from realtime import audiences
from realtime.tables.connections import Connection
from realtime.tables.entries import Entry
from tests.chaos.api import Socket

STAGES = ("feed", "presence", "calls", "notifications", "live")


@dataclass(eq=False)
class Client:
    """One connection, and the entries that it must hear."""

    connection: Connection
    subscribed: list[str]
    socket: Socket
    since: int  # the number of entries before the first one that it hears
    blockers: frozenset[str]  # the users who have blocked its user

    @property
    def audiences(self) -> list[str]:
        """Return the audiences whose entries it hears."""
        return list(audiences.heard_through(self.subscribed, self.connection.endpoints))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Return all messages that it got; an array of messages counts as each of them."""
        heard: list[dict[str, Any]] = []
        for frame in self.socket.heard:
            content = json.loads(frame)
            heard += content if isinstance(content, list) else [content]
        return heard

    def wants(self, entry: Entry) -> bool:
        """Return whether it must hear an entry for one of its audiences."""
        if entry.subject in self.blockers:
            return False
        if entry.not_after_s is not None and entry.not_after_s < time.time():
            return False
        is_direct = audiences.connection_of(entry.audience) is not None
        return is_direct or not self.connection.types or entry.kind in self.connection.types


@dataclass(frozen=True)
class Recorded:
    """An entry that the stream has shown, and the number of entries before it."""

    at: int
    entry: Entry
    key: str  # of the item that stands for it
