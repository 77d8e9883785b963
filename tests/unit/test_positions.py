from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.ids import make_event_id
from realtime.positions import LATEST_MS, SINCE, SLICE_MS, SLICES, Position, floor, parse_all
from realtime.posted import Posted

NOW = 1_705_314_600_000
IDS = [make_event_id(NOW + n * 10, "x") for n in range(500)]  # over five seconds


def after(ids: Iterable[str]) -> Position:
    """Return the position of a client that received these events."""
    ids = list(ids)
    return Posted.of(max(ids), ids).position()


def test_a_client_that_has_everything_misses_nothing() -> None:
    assert after(IDS).missing(IDS) == set()


def test_what_is_above_the_highest_id_is_missing() -> None:
    assert after(IDS[:400]).missing(IDS) == set(IDS[400:])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_up_to_three_entries_of_a_slice_that_were_written_late_are_found_out(count: int) -> None:
    late = random.Random(count).sample(IDS[220:380], count)  # one slice
    assert after(set(IDS) - set(late)).missing(IDS) == set(late)


def test_if_more_of_a_slice_are_missing_the_whole_slice_is() -> None:
    late = set(IDS[250:300:10])
    missing = after(set(IDS) - late).missing(IDS)
    assert missing > late
    assert {int(each[:12], 16) // SLICE_MS for each in missing} == {int(IDS[250][:12], 16) // SLICE_MS}


def test_an_entry_that_was_posted_and_is_gone_makes_what_is_left_of_its_slice_missing() -> None:
    assert after(IDS).missing(IDS[1:]) >= set()
    assert after(IDS).missing(set(IDS) - {IDS[300]}) == {each for each in IDS if _slice(each) == _slice(IDS[300])} - {
        IDS[300]
    }


def _slice(event_id: str) -> int:
    return int(event_id[:12], 16) // SLICE_MS


@given(st.integers(0, LATEST_MS))
def test_an_entry_is_found_out_however_late_it_may_be_written(late_ms: int) -> None:
    late = make_event_id(NOW - late_ms, "late")
    highest = make_event_id(NOW, "highest")
    position = after([highest])
    assert position.begin < late
    assert late in position.missing([late, highest]) or late > highest


def test_a_text_is_short_if_little_happens_and_bounded_if_much_does() -> None:
    assert len(after(IDS[:1]).text) == 28
    busy = [make_event_id(NOW + n * 100, "x") for n in range(1000)]
    assert len(after(busy).text) == 84


@given(st.lists(st.integers(0, 30_000), min_size=1))
def test_a_text_can_be_read_again(times: list[int]) -> None:
    position = after(make_event_id(NOW + each, "x") for each in times)
    assert Position.parse(position.text) == position


def test_a_position_that_is_a_time_says_that_nothing_before_it_is_missing() -> None:
    position = Position.at(NOW + 1000)
    assert Position.parse(position.text) == position
    assert position.at_ms == NOW + 1000
    assert position.missing(IDS) == set(IDS[100:])


@pytest.mark.parametrize("text", ["", "x", "A" * 19, "A" * 24, "A" * 92, "é" * 20, "*" * 20])
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a position"):
        Position.parse(text)


def test_the_texts_of_a_client_are_read() -> None:
    assert parse_all({SINCE: Position.at(NOW).text}) == {SINCE: Position.at(NOW)}


def test_without_since_a_client_has_missed_nothing_from_before_its_first_event_could_be_posted() -> None:
    texts = {"calls/1": after(IDS[:1]).text, "calls/2": after(IDS[:2]).text}
    assert parse_all(texts)[SINCE] == Position.at(NOW - 3_600_000 - LATEST_MS)


@pytest.mark.parametrize(
    ("given_position", "reason"),
    [
        (None, "must be the object"),
        ("x", "must be the object"),
        ({}, "must be the object"),
        ({"calls/1": 5}, "must be the object"),
        ({"calls/1": "x"}, "must have the texts"),
        ({f"presence/*/{'0' * 2048}": Position.at(NOW).text}, "must have the keys"),
    ],
)
def test_anything_else_is_refused_with_what_to_send(given_position: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_all(given_position)


def test_a_connection_has_missed_nothing_from_before_it_began() -> None:
    since = Position.parse(floor(NOW, NOW + 60_000)[SINCE])
    assert since.at_ms == NOW - LATEST_MS


def test_a_long_connection_has_missed_nothing_that_the_stream_has_given_up() -> None:
    since = Position.parse(floor(NOW, NOW + 7_200_000)[SINCE])
    assert since.at_ms == NOW + 3_600_000 - LATEST_MS


def test_positions_sort_as_the_ids_that_they_have() -> None:
    highest = [after(IDS[: n + 1]).highest for n in range(5)]
    assert all(one < two for one, two in pairwise(highest))
    assert SLICES * SLICE_MS > LATEST_MS
