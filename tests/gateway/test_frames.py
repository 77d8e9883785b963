"""The guard on the size of single frames, fed with bytes in every possible way."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsocket.frames import FrameGuard
from samsocket.settings import FRAME_BYTES

CLOSE = b"\x88\x82mask\x03\xe8"


class Parser:
    """Replaces aiohttp's parser and records the data that it gets."""

    def __init__(self) -> None:
        self.fed = b""
        self.ended = False

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.fed += data
        return False, b""

    def feed_eof(self) -> None:
        self.ended = True


def frame(size: int, *, opcode: int = 1, fin: bool = True) -> bytes:
    """A client's frame: masked, with a payload of zeros."""
    first = opcode | (0x80 if fin else 0)
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 65_536:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    return head + b"mask" + bytes(size)


def fed(*chunks: bytes) -> bytes:
    parser = Parser()
    guard = FrameGuard(parser)
    for chunk in chunks:
        guard.feed_data(chunk)
    return parser.fed


def watched(parser: Parser) -> tuple[FrameGuard, list[int]]:
    """A guard, and a list that grows with the close code of each reported breach."""
    guard, breaches = FrameGuard(parser), list[int]()
    guard.on_breach(breaches.append)
    return guard, breaches


def breached(*frames: bytes) -> int:
    """How often a breach is reported."""
    guard, breaches = watched(Parser())
    for part in frames:
        guard.feed_data(part)
    return len(breaches)


@given(sizes=st.lists(st.sampled_from([0, 1, 125, 126, 127, 1000, FRAME_BYTES])), cuts=st.lists(st.integers(0, 40_000)))
def test_frames_within_the_limit_pass_unchanged_with_any_division_of_the_bytes(
    sizes: list[int], cuts: list[int]
) -> None:
    data = b"".join(map(frame, sizes))
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    assert fed(*(data[start:end] for start, end in pairwise(edges))) == data


@pytest.mark.parametrize("size", [FRAME_BYTES + 1, 65_535, 65_536, 200_000])
def test_a_frame_over_the_limit_is_dropped_and_reported_once(size: int) -> None:
    whole = frame(10) + frame(size) + frame(size) + frame(20) + CLOSE + frame(30)
    for step in (len(whole), 1000, 7):
        parser = Parser()
        guard, breaches = watched(parser)
        for start in range(0, len(whole), step):
            guard.feed_data(whole[start : start + step])
        assert parser.fed == frame(10) + CLOSE
        assert breaches == [1009]


def test_the_frames_of_a_message_are_added_up() -> None:
    parts = [frame(FRAME_BYTES, opcode=1 if index == 0 else 0, fin=False) for index in range(4)]
    assert breached(*parts, frame(0, opcode=0)) == 0
    assert breached(*parts, frame(1, opcode=0)) == 1
    assert breached(*parts, CLOSE, frame(1, opcode=0)) == 1
    assert breached(*parts, frame(1, opcode=1)) == 0


def test_a_breach_before_the_callback_is_set_is_reported_to_it() -> None:
    guard, breaches = FrameGuard(Parser()), list[int]()
    guard.feed_data(frame(FRAME_BYTES + 1))
    guard.on_breach(breaches.append)
    assert breaches == [1009]


def test_a_frame_without_a_mask_is_dropped_and_reported() -> None:
    for unmasked in (b"\x81\x02hi", b"\x89\x00", b"\x88\x02\x03\xe8"):
        parser = Parser()
        guard, breaches = watched(parser)
        guard.feed_data(frame(1) + unmasked + frame(2) + CLOSE)
        assert parser.fed == frame(1) + CLOSE
        assert breaches == [1002]


def test_the_end_of_the_socket_is_passed_on() -> None:
    parser = Parser()
    FrameGuard(parser).feed_eof()
    assert parser.ended
