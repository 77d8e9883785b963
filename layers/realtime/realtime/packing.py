"""Several messages in one frame, for clients that take an array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from realtime.messages import MAX_FRAME_BYTES
from realtime.posting.delivery import Frame


class Message(NamedTuple):
    """A message in two forms: whole, and `bare`, for an array in which a later one has a position of the same name.

    The bare form has a position that is empty: by it, our clients tell live messages from those that they missed.
    """

    frame: Frame
    bare: bytes  # with an empty position
    position: str = ""  # its name; empty where there is none

    @classmethod
    def without_position(cls, frame: Frame) -> Message:
        """Return a message that brings no position."""
        return cls(frame, frame.body)

    @property
    def position_bytes(self) -> int:
        """How much longer it is than with an empty position."""
        return len(self.frame.body) - len(self.bare)


def pack(messages: Sequence[Message]) -> list[Frame]:
    """Join messages into JSON arrays of at most 32 KB, one step of the bill; a single message becomes no array.

    Only messages with the same `not_after_s` are joined: an array is sent whole or not at all. So of the positions of
    one name, only the last is in it: a fifth of a message about presence.
    """
    packed: list[Frame] = []
    group: list[Message] = []
    size = 0
    last: dict[str, Message] = {}  # of the group, by the name of its position
    for message in messages:
        before = last.get(message.position)
        more = len(message.frame.body) - (before.position_bytes if before else 0)
        if group and (size + 1 + more > MAX_FRAME_BYTES or message.frame.not_after_s != group[0].frame.not_after_s):
            packed.append(_joined(group, last))
            group, size, last, more = [], 0, {}, len(message.frame.body)
        size += more + (1 if group else 2)  # a comma, or the two brackets
        group.append(message)
        if message.position:
            last[message.position] = message
    if group:
        packed.append(_joined(group, last))
    return packed


def _joined(group: Sequence[Message], last: dict[str, Message]) -> Frame:
    if len(group) == 1:
        return group[0].frame
    bodies = (each.frame.body if last.get(each.position) is each else each.bare for each in group)
    return Frame(b"[" + b",".join(bodies) + b"]", group[0].frame.not_after_s)
