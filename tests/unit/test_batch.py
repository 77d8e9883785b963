from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from realtime.batch import NO_EVENTS, Batch, EventSet, before, events_of, first, only
from realtime.messages import MAX_FRAME_BYTES
from realtime.packing import Message, pack
from realtime.posting.delivery import Frame
from realtime.tables.connections import Subscriber
from realtime.tables.entries import Entry


def test_recipients_share_the_frames_of_a_set_but_only_the_latest_sets_are_kept() -> None:
    batch = Batch([entry("presence/*/0", f"{number}") for number in range(200)])
    sets = [EventSet(batch.every & ~only(number)) for number in range(200)]  # each hidden from somebody else
    first_frames = batch.frames(sets[0], packed=True)
    assert batch.frames(sets[0], packed=True) is first_frames
    for each in sets:
        last_frames = batch.frames(each, packed=True)
    assert batch.frames(sets[-1], packed=True) is last_frames
    assert batch.frames(sets[0], packed=True) is not first_frames
    assert [each.body for each in batch.frames(sets[0], packed=True)] == [each.body for each in first_frames]


def without_positions(*frames: Frame) -> list[Message]:
    return [Message.without_position(frame) for frame in frames]


def frames(*sizes: int, not_after_s: float | None = None) -> list[Message]:
    return without_positions(*(Frame(b'"' + b"x" * (size - 2) + b'"', not_after_s) for size in sizes))


def entry(audience: str, event_id: str) -> Entry:
    return Entry(audience, event_id, "call_started", "{}", expires_at_s=0)


def test_messages_are_packed_into_arrays_of_at_most_one_metered_step() -> None:
    half = MAX_FRAME_BYTES // 2
    packed = pack(frames(half - 2, half - 1, 10))
    assert [len(frame.body) for frame in packed] == [MAX_FRAME_BYTES, 10]
    packed = pack(frames(half - 2, half - 1, 10, 10, MAX_FRAME_BYTES - 24))  # each array is filled to the last byte
    assert [len(frame.body) for frame in packed] == [MAX_FRAME_BYTES, MAX_FRAME_BYTES]
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
    for frame in pack(without_positions(*given_frames)):
        content = json.loads(frame.body)
        assert isinstance(content, str) or len(frame.body) <= MAX_FRAME_BYTES
        unpacked += [(each, frame.not_after_s) for each in (content if isinstance(content, list) else [content])]
    assert unpacked == [(json.loads(frame.body), frame.not_after_s) for frame in given_frames]


def positioned(size: int, name: str, number: int) -> Message:
    """A message of a size, which grows by its position."""
    bare = json.dumps({"n": number, "text": ""}).encode()
    bare = bare.replace(b'""', b'"' + b"x" * (size - len(bare)) + b'"')
    whole = bare[:-1] + b', "position": ' + json.dumps({name: f"{number:020}"}).encode() + b"}"
    return Message(Frame(whole), bare, name)


@given(st.lists(st.tuples(st.integers(30, MAX_FRAME_BYTES // 2), st.sampled_from(["a", "b"])), max_size=30))
def test_an_array_brings_the_last_of_the_positions_of_each_name_and_is_as_full_as_it_can_be(
    given_messages: list[tuple[int, str]],
) -> None:
    given_ones = [positioned(size, name, number) for number, (size, name) in enumerate(given_messages)]
    heard: list[int] = []
    packed = pack(given_ones)
    for frame in packed:
        assert len(frame.body) <= MAX_FRAME_BYTES
        content = json.loads(frame.body)
        array = content if isinstance(content, list) else [content]
        brought = [(name, position) for each in array for name, position in each.get("position", {}).items()]
        last = {given_messages[each["n"]][1]: f"{each['n']:020}" for each in array}
        assert sorted(brought) == sorted(last.items())
        heard += [each["n"] for each in array]
    assert heard == list(range(len(given_messages)))
    for one, other in pairwise(packed):  # the first message of the next did not fit
        first_of_next = json.loads(other.body)
        number = (first_of_next[0] if isinstance(first_of_next, list) else first_of_next)["n"]
        assert len(pack([*(given_ones[each] for each in numbers_in(one)), given_ones[number]])) == 2


def test_each_message_of_an_array_shows_by_its_position_that_it_is_live() -> None:
    names = ["presence/*/0", "presence/*/0", "calls/7", "presence/*/0", "calls/7"]
    entries = [replace(entry(name, str(number)), message='{"type":"x"}') for number, name in enumerate(names)]
    batch = Batch(entries, [{name: str(number)} for number, name in enumerate(names)])
    (packed,) = batch.frames(batch.every, packed=True, notice=Frame(b"{}"))
    notice, *messages = json.loads(packed.body)
    assert notice == {}
    assert [each["position"] for each in messages] == [{}, {}, {}, {"presence/*/0": "3"}, {"calls/7": "4"}]
    alone = [json.loads(frame.body) for frame in batch.frames(batch.every, packed=False)]
    assert [each["position"] for each in alone] == [{name: str(number)} for number, name in enumerate(names)]


def numbers_in(frame: Frame) -> list[int]:
    content = json.loads(frame.body)
    return [each["n"] for each in (content if isinstance(content, list) else [content])]


def test_the_first_event_of_a_set_and_all_before_it() -> None:
    events = EventSet(only(3) | only(5))
    assert first(events) == 3
    assert [number for number in range(8) if before(first(events)) & only(number)] == [0, 1, 2]
    assert before(0) == NO_EVENTS


def test_an_event_that_appears_twice_is_one_event() -> None:
    batch = Batch([entry("feed/7", "A"), entry("feed/7", "A"), entry("calls/7", "A")])
    assert batch.audiences == {"feed/7": only(0), "calls/7": only(2)}
    assert batch.every == only(0) | only(2)


def state(kind: str, subject: str = "7", audience: str = "feed/*/0", **more: Any) -> Entry:
    event_id = f"{kind} {subject} {more.pop('n', '')}"
    return Entry(audience, event_id, kind, "{}", expires_at_s=0, subject=subject, **more)


def due(*entries: Entry, user_id: str = "1", types: str = "") -> list[int]:
    """Return the numbers of the events that a connection gets."""
    batch = Batch(entries)
    events = batch.due(Subscriber("one=", user_id, 0, frozenset(types.split())), batch.every)
    return [number for number in range(len(entries)) if events & only(number)]


def test_a_later_state_supersedes_an_earlier_one_of_the_same_part() -> None:
    assert due(state("listener_online"), state("listener_busy"), state("listener_offline")) == [1, 2]
    assert due(state("listener_busy"), state("listener_available"), state("listener_busy", n="again")) == [2]
    assert due(state("listener_online"), state("listener_offline", "8")) == [0, 1]


def test_a_state_is_superseded_only_by_one_that_its_recipient_gets() -> None:
    online, offline = state("listener_online"), state("listener_offline")
    assert due(online, offline, types="listener_online") == [0]
    hidden = replace(offline, hidden_from=frozenset({"1"}))
    assert due(online, hidden) == [0]
    assert due(online, hidden, user_id="2") == [1]
    reserved = replace(offline, shown_to=frozenset({"1"}))
    assert due(online, reserved) == [1]
    assert due(online, reserved, user_id="2") == [0]


def test_a_newer_state_that_was_recorded_first_is_the_one_that_stays() -> None:
    newer, older = state("listener_busy", n=2, version=8), state("listener_available", n=1, version=7)
    assert due(newer, older) == [0]
    assert due(newer, state("listener_busy", "8", n=3, version=1), older) == [0, 1]


def test_states_without_a_version_are_ordered_as_they_come() -> None:
    assert due(state("listener_busy", n=1), state("listener_available", n=2)) == [1]


def test_an_event_that_is_no_state_is_never_superseded() -> None:
    calls = [entry("calls/7", "A"), entry("calls/7", "B")]
    assert due(*calls) == [0, 1]


@given(st.sets(st.integers(0, 300)))
def test_a_set_is_made_of_numbers_at_once(numbers: set[int]) -> None:
    events = events_of(numbers)
    assert {number for number in range(301) if events & only(number)} == numbers


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["listener_online", "listener_offline", "listener_busy"]),
            st.sampled_from("78"),
            st.sampled_from([frozenset[str](), frozenset({"1"})]),
        ),
        max_size=12,
    )
)
def test_the_last_state_of_each_user_that_may_be_heard_is_always_heard(
    told: list[tuple[str, str, frozenset[str]]],
) -> None:
    entries = [
        Entry("feed/*/0", str(n), kind, "{}", 0, subject=subject, hidden_from=hidden)
        for n, (kind, subject, hidden) in enumerate(told)
    ]
    last = {
        (subject, kind == "listener_busy"): n for n, (kind, subject, hidden) in enumerate(told) if "1" not in hidden
    }
    assert due(*entries) == sorted(last.values())


def test_a_frame_brings_the_position_of_its_event() -> None:
    message = json.dumps({"type": "call_started", "data": {}})
    entries = [Entry("calls/7", name, "call_started", message, expires_at_s=0) for name in "AB"]
    batch = Batch(entries, [{"calls/7": "a"}, None])
    one, two = batch.frames(batch.every, packed=False)
    assert json.loads(one.body) == {"type": "call_started", "data": {}, "position": {"calls/7": "a"}}
    assert two.body.decode() == message


def test_a_frame_that_is_full_brings_no_position() -> None:
    message = json.dumps({"text": ""})
    room = MAX_FRAME_BYTES - len(message) - len(',"position":{"calls/7":"a"}')
    for text, is_full in (("x" * room, False), ("x" * (room + 1), True)):
        entries = [Entry("calls/7", "A", "call_started", json.dumps({"text": text}), expires_at_s=0)]
        (frame,) = Batch(entries, [{"calls/7": "a"}]).frames(only(0), packed=False)
        assert ("position" in json.loads(frame.body)) is not is_full
        assert len(frame.body) <= MAX_FRAME_BYTES
