"""What has come to a line: each event once, missed ones before live ones, and how far that is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from listener_realtime import received
from listener_realtime.link import Frame, Link

REMEMBERED = 1_000  # ids


class Inbox:
    """Reports messages. `position` is what `resume` goes on from."""

    def __init__(self, heard: Callable[[Any], None], position: Mapping[str, str]) -> None:
        self._heard = heard
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._to_acknowledge: tuple[Link, str] | None = None
        self.position = dict(position)

    def take(self, link: Link, message: Any) -> None:
        """Report a message: at once, or after those that were missed if it is live and they are still to come."""
        if link.held is not None and received.is_live(message):
            link.later.append(message)
            return
        self._report(link, message)
        if not link.is_left:  # by who heard it
            self._learn(link, message)

    def _learn(self, link: Link, message: Any) -> None:
        """Remember how far we are: never past a message that is still to come, or waits to be reported."""
        position = message.get("position", {})
        if message["type"] != "resumed":
            (self.position if link.held is None else link.held).update(position)
            return
        self.position |= position
        if received.data_of(message).get("complete") is False:
            return
        held, link.held = link.held or {}, None
        later, link.later = link.later, []
        for each in later:
            if not link.is_left:
                self.take(link, each)
        if not link.is_left:
            self.position |= held

    def _report(self, link: Link, message: Any) -> None:
        self._to_acknowledge = (link, message.get("id")) if message.get("ack") else None
        if self._is_new(message.get("id")):
            self._heard(message)
        self.acknowledge()

    def acknowledge(self) -> None:
        """Acknowledge the message that is being reported, if it asks for that and is not acknowledged yet."""
        if self._to_acknowledge is not None:
            link, event_id = self._to_acknowledge
            self._to_acknowledge = None
            link.say(Frame("ack", {"id": event_id}))

    def _is_new(self, event_id: str | None) -> bool:
        """Delivery is at least once: a repeated message has the same id."""
        if not event_id:
            return True
        if event_id in self._seen:
            return False
        self._seen[event_id] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return True
