from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from realtime.batch import NO_EVENTS, Batch, EventSet, before, first, only, pack
from realtime.messages import MAX_FRAME_BYTES
from realtime.posting.delivery import Frame
from realtime.tables.outbox import Entry


def frames(*sizes: int, not_after_s: float | None = None) -> list[Frame]:
    return [Frame(b'"' + b"x" * (size - 2) + b'"', not_after_s) for size in sizes]


def entry(audience: str, event_id: str) -> Entry:
    return Entry(audience, event_id, "call_started", "{}", expires_at_s=0)


def test_messages_are_packed_into_arrays_of_at_most_one_metered_step() -> None:
    half = MAX_FRAME_BYTES // 2
    packed = pack(frames(half - 2, half - 1, 10))
    assert [len(frame.body) for frame in packed] == [MAX_FRAME_BYTES, 10]
    packed = pack(frames(half - 1, half - 1))  # one byte too much
    assert [len(frame.body) for frame in packed] == [half - 1, half - 1]


def test_a_message_that_fills_a_step_alone_is_not_wrapped() -> None:
    packed = pack(frames(10, MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1, 10, 10))
    assert [len(frame.body) for frame in packed] == [10, MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1, 23]


def test_messages_that_expire_at_different_times_are_not_joined() -> None:
    short, shorter = frames(10, 10, not_after_s=60.0), frames(10, not_after_s=30.0)
    packed = pack([*frames(10), *short, *shorter, *frames(10, 10)])
    assert [(len(frame.body), frame.not_after_s) for frame in packed] == [
        (10, None),
        (23, 60.0),
        (10, 30.0),
        (23, None),
    ]


@given(st.lists(st.tuples(st.integers(2, MAX_FRAME_BYTES * 2), st.sampled_from([None, 30.0, 60.0])), max_size=12))
def test_packing_keeps_every_message_in_order_with_its_time(messages: list[tuple[int, float | None]]) -> None:
    given_frames = [
        Frame(json.dumps(f"{n}".ljust(max(size - 2, 2), "x")).encode(), end) for n, (size, end) in enumerate(messages)
    ]
    unpacked: list[tuple[str, float | None]] = []
    for frame in pack(given_frames):
        content = json.loads(frame.body)
        assert isinstance(content, str) or len(frame.body) <= MAX_FRAME_BYTES
        unpacked += [(each, frame.not_after_s) for each in (content if isinstance(content, list) else [content])]
    assert unpacked == [(json.loads(frame.body), frame.not_after_s) for frame in given_frames]


def test_the_first_event_of_a_set_and_all_before_it() -> None:
    events = EventSet(only(3) | only(5))
    assert first(events) == 3
    assert [number for number in range(8) if before(first(events)) & only(number)] == [0, 1, 2]
    assert before(0) == NO_EVENTS


def test_an_event_that_appears_twice_is_one_event() -> None:
    batch = Batch([entry("feed/7", "A"), entry("feed/7", "A"), entry("calls/7", "A")])
    assert batch.audiences == {"feed/7": only(0), "calls/7": only(2)}
    assert batch.every == only(0) | only(2)
