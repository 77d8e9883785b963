from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from realtime.default import parse_frame
from realtime.errors import BadRequest


@pytest.mark.parametrize(
    ("body", "kind", "data"),
    [
        ('{"type": "ping", "data": {}, "timestamp": "2024-01-15T10:30:00Z"}', "ping", {}),
        ('{"type":"ping"}', "ping", {}),
        (' {"data": {"user_ids": [1]}, "type": "watch", "more": 1} ', "watch", {"user_ids": [1]}),
        ('{"type": ""}', "", {}),
    ],
)
def test_a_frame_has_a_type_and_optional_data_and_its_other_keys_are_ignored(
    body: str, kind: str, data: dict[str, object]
) -> None:
    assert parse_frame(body) == (kind, data)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", 'not JSON; send {"type": …, "data": {…}}'),
        ("hello", 'not JSON; send {"type": …, "data": {…}}'),
        ('{"type": "ping"', 'not JSON; send {"type": …, "data": {…}}'),
        ('{"type": "ping"} {}', 'not JSON; send {"type": …, "data": {…}}'),
        ("[" * 100_000, 'not JSON; send {"type": …, "data": {…}}'),
        ('{"type": "ping", "data": {"n": ' + "1" * 5000 + "}}", 'not JSON; send {"type": …, "data": {…}}'),
        ("null", 'not a JSON object; send {"type": …, "data": {…}}'),
        ('"ping"', 'not a JSON object; send {"type": …, "data": {…}}'),
        ("[{}]", 'not a JSON object; send {"type": …, "data": {…}}'),
        ("{}", 'type: must be a string, such as "ping"'),
        ('{"type": 1}', 'type: must be a string, such as "ping"'),
        ('{"type": null}', 'type: must be a string, such as "ping"'),
        ('{"type": "ping", "data": []}', "data: must be a JSON object"),
        ('{"type": "ping", "data": null}', "data: must be a JSON object"),
    ],
    ids=range(14),
)
def test_an_invalid_frame_is_answered_with_what_a_frame_looks_like(body: str, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_frame(body)
    assert caught.value.message == message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "data"]) | st.text(), inner),
    max_leaves=6,
)


@given(st.text(st.characters(exclude_categories=())) | JSON.map(json.dumps))
@example('{"type": "\\ud800"}')
def test_any_text_is_a_frame_or_a_bad_request(body: str) -> None:
    try:
        kind, data = parse_frame(body)
    except BadRequest:
        return
    assert isinstance(kind, str)
    assert isinstance(data, dict)
