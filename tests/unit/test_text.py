from __future__ import annotations

import json

import pytest

from realtime import text
from realtime.text import dumps, is_unstorable


def test_no_printable_text_has_an_unstorable_character() -> None:
    """`dumps` relies on it: the search takes longer than all the rest."""
    assert not [code for code in range(0x110000) if chr(code).isprintable() and is_unstorable(chr(code))]


@pytest.mark.parametrize("character", ["\x00", "\x7f", "\x85", "\ud800", "\ufffe", "\U0001ffff", "\u200d", "é", "😀"])
def test_a_value_is_read_as_it_was_written_and_no_unstorable_character_is_left(character: str) -> None:
    value = {"name": f"a{character}b", "number": 1}
    written = dumps(value)
    assert json.loads(written) == value
    assert not is_unstorable(written)
    assert " " not in written


def test_a_printable_text_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_UNSTORABLE", None)
    assert dumps({"name": "Zoë 😀"}) == '{"name":"Zoë 😀"}'


def test_nan_is_refused_unless_it_is_allowed() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(float("nan"))
    assert dumps(float("nan"), allow_nan=True) == "NaN"
