from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from realtime.batch import pack
from realtime.messages import MAX_FRAME_BYTES
from realtime.posting.poster import Frame


def frames(*sizes: int, not_after: float | None = None) -> list[Frame]:
    return [Frame(b'"' + b"x" * (size - 2) + b'"', not_after) for size in sizes]


def test_messages_are_packed_into_arrays_of_at_most_one_metered_step() -> None:
    half = MAX_FRAME_BYTES // 2
    packed = pack(frames(half - 2, half - 1, 10))
    assert [len(frame.body) for frame in packed] == [MAX_FRAME_BYTES, 10]
    packed = pack(frames(half - 1, half - 1))  # one byte too much
    assert [len(frame.body) for frame in packed] == [half - 1, half - 1]


def test_a_message_that_fills_a_step_alone_stays_as_it_is() -> None:
    packed = pack(frames(10, MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1, 10, 10))
    assert [len(frame.body) for frame in packed] == [10, MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1, 23]


def test_a_message_that_will_not_be_worth_hearing_drags_no_other_along() -> None:
    short, shorter = frames(10, 10, not_after=60.0), frames(10, not_after=30.0)
    packed = pack([*frames(10), *short, *shorter, *frames(10, 10)])
    assert [(len(frame.body), frame.not_after) for frame in packed] == [(10, None), (23, 60.0), (10, 30.0), (23, None)]


@given(st.lists(st.tuples(st.integers(2, MAX_FRAME_BYTES * 2), st.sampled_from([None, 30.0, 60.0])), max_size=12))
def test_packing_keeps_every_message_in_order_with_its_time(messages: list[tuple[int, float | None]]) -> None:
    given_frames = [
        Frame(json.dumps(f"{n}".ljust(max(size - 2, 2), "x")).encode(), end) for n, (size, end) in enumerate(messages)
    ]
    unpacked: list[tuple[str, float | None]] = []
    for frame in pack(given_frames):
        content = json.loads(frame.body)
        assert isinstance(content, str) or len(frame.body) <= MAX_FRAME_BYTES
        unpacked += [(each, frame.not_after) for each in (content if isinstance(content, list) else [content])]
    assert unpacked == [(json.loads(frame.body), frame.not_after) for frame in given_frames]
