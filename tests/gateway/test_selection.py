"""Route selection expressions: the table of examples in AWS's developer guide, and its edges."""

from __future__ import annotations

import pytest

from samsocket.selection import select

MESSAGE = '{"service": "chat", "action": "join", "data": {"room": "room1234", "tags": ["a", "b"], "n": 7, "on": true}}'


@pytest.mark.parametrize(
    ("expression", "key"),
    [
        ("$request.body.action", "join"),
        ("${request.body.action}", "join"),
        ("${request.body.service}/${request.body.action}", "chat/join"),
        ("${request.body.action}-${request.body.invalidPath}", "join-"),
        ("action", "action"),
        (r"\$default", "$default"),
    ],
)
def test_each_example_of_the_developer_guide_evaluates_as_printed_there(expression: str, key: str) -> None:
    assert select(expression, MESSAGE) == key


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("data.room", "room1234"),
        ("data.tags", "[a, b]"),
        ("data.tags[1]", "b"),
        ("data.tags[2]", ""),
        ("data['n']", "7"),
        ("data.on", "true"),
        ("data.room.deeper", ""),
        ("missing", ""),
    ],
)
def test_a_path_reaches_nested_values_which_are_turned_into_text(path: str, key: str) -> None:
    assert select(f"$request.body.{path}", MESSAGE) == key


@pytest.mark.parametrize("message", ["hello", "", "{", '{"action": ', "[" * 100_000])
def test_a_message_that_is_not_json_selects_nothing(message: str) -> None:
    assert select("$request.body.action", message) is None


@pytest.mark.parametrize("message", ["[1]", "7", '"join"', "null"])
def test_json_that_is_no_object_has_no_properties(message: str) -> None:
    assert select("$request.body.action", message) == ""


def test_a_null_property_counts_as_empty() -> None:
    assert select("$request.body.action", '{"action": null}') == ""
