from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime import messages
from realtime.errors import AuthFailed, RateLimited

HALF_PAST_TEN = 1_705_314_600_000  # 2024-01-15T10:30:00Z


def test_each_endpoint_has_its_documented_types() -> None:
    assert {
        "feed": {"listener_online", "listener_offline", "listener_busy", "listener_available"},
        "presence": {"presence_update", "status_change"},
        "calls": {"call_started", "call_ended", "call_billing"},
        "notifications": {
            "favorite_added",
            "favorite_removed",
            "user_blocked",
            "user_unblocked",
            "system_notification",
        },
    } == messages.TYPES


def test_each_type_belongs_to_one_endpoint() -> None:
    assert len(messages.ENDPOINT_OF) == sum(len(kinds) for kinds in messages.TYPES.values())


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (HALF_PAST_TEN, "2024-01-15T10:30:00.000Z"),
        (HALF_PAST_TEN + 7, "2024-01-15T10:30:00.007Z"),
        (HALF_PAST_TEN + 999, "2024-01-15T10:30:00.999Z"),
        (0, "1970-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_rfc3339_in_utc_with_milliseconds(at_ms: int, text: str) -> None:
    assert messages.rfc3339(at_ms) == text


@given(st.integers(0, 4_102_444_800_000))
def test_times_keep_every_millisecond_and_are_not_rounded(at_ms: int) -> None:
    since = datetime.fromisoformat(messages.rfc3339(at_ms)) - datetime(1970, 1, 1, tzinfo=UTC)
    assert since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000 == at_ms


def test_a_frame_is_the_documented_envelope() -> None:
    frame = messages.encode("pong", {}, HALF_PAST_TEN)
    assert frame == '{"type":"pong","data":{},"timestamp":"2024-01-15T10:30:00.000Z"}'


def test_a_frame_from_which_clients_can_resume_has_an_id() -> None:
    frame = json.loads(messages.encode("call_ended", {"call_id": 1}, HALF_PAST_TEN, "0001"))
    assert frame == {
        "type": "call_ended",
        "data": {"call_id": 1},
        "timestamp": "2024-01-15T10:30:00.000Z",
        "id": "0001",
    }


def test_letters_of_all_languages_are_not_escaped() -> None:
    assert "Жанна 🙂" in messages.encode("pong", {"username": "Жанна 🙂"}, HALF_PAST_TEN)


def test_an_error_frame_has_code_and_message_but_never_the_reason() -> None:
    frame = messages.encode_error(AuthFailed(reason="ExpiredSignatureError"), HALF_PAST_TEN)
    assert json.loads(frame) == {
        "type": "error",
        "data": {"code": "AUTH_FAILED", "message": "Invalid or expired token"},
        "timestamp": "2024-01-15T10:30:00.000Z",
    }


def test_an_error_frame_says_how_long_to_wait_if_waiting_helps() -> None:
    assert json.loads(messages.encode_error(RateLimited(retry_after=3), 0))["data"]["retry_after"] == 3
