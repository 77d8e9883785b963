"""Several messages in one frame, for clients that take an array."""

from __future__ import annotations

from collections.abc import Sequence

from realtime.messages import MAX_FRAME_BYTES
from realtime.posting.delivery import Frame


def pack(frames: Sequence[Frame]) -> list[Frame]:
    """Join messages into JSON arrays of at most 32 KB, one step of the bill; a single message becomes no array.

    Only messages with the same `not_after_s` are joined: an array is sent whole or not at all.
    """
    packed: list[Frame] = []
    group: list[Frame] = []
    size = 0
    for frame in frames:
        if group and (size + 1 + len(frame.body) > MAX_FRAME_BYTES or frame.not_after_s != group[0].not_after_s):
            packed.append(_joined(group))
            group, size = [], 0
        size += len(frame.body) + (1 if group else 2)  # a comma, or the two brackets
        group.append(frame)
    if group:
        packed.append(_joined(group))
    return packed


def _joined(group: Sequence[Frame]) -> Frame:
    if len(group) == 1:
        return group[0]
    return Frame(b"[" + b",".join(frame.body for frame in group) + b"]", group[0].not_after_s)
