from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.ids import MAX_ID_LENGTH, MAX_SAFE_INTEGER, id_as_json, make_event_id, parse_id


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (123, "123"),
        (0, "0"),
        ("123", "123"),
        (123.0, "123"),
        (-0.0, "0"),
        ("007", "007"),
        ("a-b_c:d", "a-b_c:d"),
        ("ü" * MAX_ID_LENGTH, "ü" * MAX_ID_LENGTH),
    ],
)
def test_numbers_and_words_are_ids(given: object, read: str) -> None:
    assert parse_id(given) == read


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a/b",
        "a b",
        "a\n",
        "\x00",
        "\x7f",
        "x" * (MAX_ID_LENGTH + 1),
        10**MAX_ID_LENGTH,
        True,
        False,
        None,
        1.5,
        float("nan"),
        1e300,
        10**5000,
        "a\x85",
        "a\ud800",
        "\udfffa",
        "\ufdd0",
        "a\ufffe",
        "\uffff",
        "\U0001fffe",
        "\U0010ffff",
        [],
        {},
        b"1",
    ],
    ids=lambda value: ascii(value)[:20] if not isinstance(value, int) or value < 10**20 else "a long number",
)
def test_other_values_are_no_ids(value: object) -> None:
    with pytest.raises(ValueError, match="must be a whole number, or 1 to 128 characters"):
        parse_id(value)


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("0", 0),
        ("123", 123),
        (str(MAX_SAFE_INTEGER), MAX_SAFE_INTEGER),
        (str(MAX_SAFE_INTEGER + 1), str(MAX_SAFE_INTEGER + 1)),  # JavaScript would round it
        ("007", "007"),
        ("-1", "-1"),
        ("1.0", "1.0"),
        ("1e3", "1e3"),
        ("12a", "12a"),
        ("123\n", "123\n"),
        ("１２", "１２"),  # digits, but not ASCII's
    ],
)
def test_canonical_numbers_alone_become_json_numbers(stored: str, shown: int | str) -> None:
    assert id_as_json(stored) == shown
    assert type(id_as_json(stored)) is type(shown)


@given(st.integers(0, MAX_SAFE_INTEGER))
def test_a_number_stays_the_same_number(number: int) -> None:
    assert id_as_json(parse_id(number)) == number


@given(st.text())
def test_a_word_that_becomes_a_number_is_written_the_same(word: str) -> None:
    shown = id_as_json(word)
    assert shown == word or json.dumps(shown) == word


def test_the_same_time_and_source_make_the_same_event_id() -> None:
    assert make_event_id(1_705_314_600_000, "a", "b") == make_event_id(1_705_314_600_000, "a", "b")


def test_other_sources_make_other_event_ids_wherever_they_are_split() -> None:
    made = [make_event_id(7, *source) for source in (("ab",), ("a", "b"), ("b", "a"), ("", "ab"), ("ab", ""))]
    assert len(set(made)) == len(made)


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1), st.text(), st.text())
def test_event_ids_sort_by_time(earlier: int, later: int, one: str, other: str) -> None:
    if earlier > later:
        earlier, later = later, earlier
    if earlier < later:
        assert make_event_id(earlier, one) < make_event_id(later, other)
