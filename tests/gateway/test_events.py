"""The ids of connections."""

from __future__ import annotations

import base64

import pytest

from samsocket import events


def test_a_connection_id_is_no_option_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([b"\xfb" + bytes(10), bytes(11)])
    monkeypatch.setattr("os.urandom", lambda _: next(drawn))
    assert events.new_id() == base64.urlsafe_b64encode(bytes(11)).decode()
