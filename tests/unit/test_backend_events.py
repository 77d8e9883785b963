from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime import messages
from realtime.backend_events import EVENT_TYPES, MAX_ACKNOWLEDGING, MAX_RECIPIENTS, BackendEvent, validate
from realtime.errors import InvalidEvent
from realtime.ids import make_event_id
from realtime.text import MAX_DEPTH, is_unstorable
from tests.samples import backend_event, names

CALL = {"call_id": 456, "user_id": 123, "listener_id": 789}
SOCIAL_EVENT = {"user_id": 123, "username": "jane_smith", "delivery": {"to": [789]}}
AT = 1_705_314_600_000
DEEP: list[Any] = []
for _ in range(MAX_DEPTH + 1):
    DEEP = [DEEP]


def read(kind: Any, detail: object) -> BackendEvent:
    return validate("event-1", "marketplace", kind, detail, AT)


def reason(kind: Any, detail: object) -> str:
    with pytest.raises(InvalidEvent) as caught:
        read(kind, detail)
    assert caught.value.reason == str(caught.value)
    return caught.value.reason


def test_every_type_has_a_sample() -> None:
    assert {name.removeprefix("ingest.") for name in names("ingest")} - {"breaks-schema"} == set(EVENT_TYPES)


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_the_sample_of_each_type_is_valid(kind: str) -> None:
    detail = backend_event(kind)["detail"]
    event = read(kind, detail)
    assert (event.event_id, event.kind, event.at_ms) == ("event-1", kind, AT)
    assert "delivery" not in event.data


def test_every_type_that_backends_send_to_clients_has_a_schema() -> None:
    """Presence comes from connections, and status_change from the Users table."""
    told = messages.TYPES["calls"] | messages.TYPES["notifications"]
    assert set(EVENT_TYPES) == told | {"status_change", "session_revoked"}


def test_a_call_goes_to_both_participants_unless_recipients_are_given() -> None:
    assert read("call_ended", CALL).to == ("123", "789")
    assert read("call_ended", {**CALL, "delivery": {"to": [5, "6", 5]}}).to == ("5", "6")
    assert read("call_ended", {**CALL, "delivery": {"expires_in": 5}}).to == ("123", "789")


def test_a_user_who_calls_themself_is_one_recipient() -> None:
    assert read("call_ended", {**CALL, "listener_id": "123"}).to == ("123",)


def test_an_idempotency_key_takes_the_place_of_the_events_id() -> None:
    def id_of(source: object = "marketplace", kind: str = "call_ended", key: object = "k", event_id: str = "1") -> str:
        detail = {**CALL, "delivery": {"idempotency_key": key}}
        return validate(event_id, source, kind, detail, AT).event_id

    assert id_of() == id_of(event_id="2")
    assert len({id_of(), id_of("other"), id_of(kind="call_billing"), id_of(key="l"), "1"}) == 5
    assert read("call_ended", CALL).event_id == "event-1"


@pytest.mark.parametrize("key", ["", "x" * 257, 5, "a\nb", "\ud800"])
def test_an_idempotency_key_is_a_name(key: object) -> None:
    assert "idempotency_key" in reason("call_ended", {**CALL, "delivery": {"idempotency_key": key}})


def test_an_idempotency_key_needs_a_source() -> None:
    with pytest.raises(InvalidEvent, match=r"^source: must be a string"):
        validate("1", None, "call_ended", {**CALL, "delivery": {"idempotency_key": "k"}}, AT)


def test_keys_that_the_schema_does_not_name_are_passed_on() -> None:
    more = {"fee": {"amount": 4.5, "tags": ["a", None, True]}}
    assert read("call_billing", {**CALL, **more}).data == {
        "call_id": "456",
        "user_id": "123",
        "listener_id": "789",
        **more,
    }


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        ("favorite_added", "added_you_to_favorites"),
        ("favorite_removed", "removed_you_from_favorites"),
        ("user_blocked", "blocked_you"),
        ("user_unblocked", "unblocked_you"),
    ],
)
def test_a_missing_action_is_filled_in(kind: str, action: str) -> None:
    assert read(kind, SOCIAL_EVENT).data["action"] == action
    assert read(kind, {**SOCIAL_EVENT, "action": "waved"}).data["action"] == "waved"


def test_a_notification_may_go_to_everyone() -> None:
    assert read("system_notification", {"delivery": {"to": "everyone"}}).to == "everyone"


def test_expires_in_is_read() -> None:
    assert read("call_ended", {**CALL, "delivery": {"expires_in": 60}}).expires_in_s == 60
    assert read("call_ended", CALL).expires_in_s is None


def test_ack_within_is_read() -> None:
    assert (
        read(
            "call_started", {**CALL, "call_type": "audio", "status": "ongoing", "delivery": {"ack_within": 15}}
        ).ack_within_s
        == 15
    )
    assert read("call_ended", CALL).ack_within_s is None
    most = {"to": list(range(MAX_ACKNOWLEDGING)), "ack_within": 900}
    assert read("favorite_added", {**SOCIAL_EVENT, "delivery": most}).ack_within_s == 900


@pytest.mark.parametrize(
    ("kind", "to"),
    [
        ("system_notification", "everyone"),
        ("favorite_added", list(range(MAX_ACKNOWLEDGING + 1))),
        ("status_change", None),
        ("session_revoked", None),
    ],
)
def test_ack_within_needs_1_to_45_listed_recipients(kind: str, to: object) -> None:
    with pytest.raises(InvalidEvent, match=r"delivery\.ack_within: allowed only with 1 to 45 recipients"):
        read(kind, {**SOCIAL_EVENT, "is_busy": True, "delivery": {"to": to, "ack_within": 15}})


@pytest.mark.parametrize("kind", ["status_change", "session_revoked"])
def test_events_about_presence_take_no_recipients(kind: str) -> None:
    detail = {"user_id": 123, "is_busy": True}
    assert read(kind, detail).to is None
    assert reason(kind, {**detail, "delivery": {"to": [1]}}) == (
        f"detail.delivery.to: leave it out; `user_id` says already who receives a {kind}"
    )


MISSING = [
    *((kind, CALL, name) for kind in ("call_started", "call_ended", "call_billing") for name in CALL),
    *(("call_started", {**CALL, "call_type": "audio", "status": "ongoing"}, name) for name in ("call_type", "status")),
    *(
        (kind, SOCIAL_EVENT, name)
        for kind in EVENT_TYPES
        if kind[:4] in {"favo", "user"}
        for name in ("user_id", "username")
    ),
    *(("status_change", {"user_id": 1, "is_busy": True}, name) for name in ("user_id", "is_busy")),
    ("session_revoked", {"user_id": 1}, "user_id"),
]


@pytest.mark.parametrize(("kind", "detail", "name"), MISSING)
def test_a_missing_key_is_named_in_the_reason(kind: str, detail: dict[str, Any], name: str) -> None:
    detail = {"call_type": "audio", "status": "ongoing", **detail}
    del detail[name]
    assert reason(kind, detail) == f"detail: Object missing required field `{name}`"


@pytest.mark.parametrize("kind", [kind for kind in EVENT_TYPES if kind in messages.TYPES["notifications"]])
def test_a_notification_needs_recipients(kind: str) -> None:
    detail = {"user_id": 123, "username": "jane_smith"}
    assert reason(kind, detail) == "detail.delivery.to: is required; list the recipients"


@pytest.mark.parametrize("kind", ["call_started", "favorite_added", "user_blocked"])
def test_notifications_other_than_system_ones_need_recipients(kind: str) -> None:
    detail = {**CALL, **SOCIAL_EVENT, "call_type": "audio", "status": "ongoing", "delivery": {"to": "everyone"}}
    assert reason(kind, detail) == f"detail.delivery.to: a {kind} cannot be sent to everyone"


@pytest.mark.parametrize(
    ("kind", "detail", "told"),
    [
        ("call_paused", CALL, "detail-type: unknown 'call_paused'; known types are call_started, call_ended,"),
        ("call_ended", [], "detail: must be a JSON object"),
        ("call_ended", "text", "detail: must be a JSON object"),
        ("call_ended", {**CALL, "call_id": None}, "detail: Expected `int | str`, got `null` - at `$.call_id`"),
        ("call_ended", {**CALL, "call_id": True}, "detail: Expected `int | str`, got `bool` - at `$.call_id`"),
        ("call_ended", {**CALL, "user_id": "a/b"}, "detail.user_id: must be a whole number, or 1 to 128 characters"),
        ("call_ended", {**CALL, "user_id": ""}, "detail.user_id: must be a whole number, or 1 to 128 characters"),
        ("call_ended", {**CALL, "delivery": []}, "detail.delivery: Expected `object`, got `array`"),
        ("call_ended", {**CALL, "delivery": None}, "detail.delivery: Expected `object`, got `null`"),
        ("call_ended", {**CALL, "delivery": {"for": [1]}}, "detail.delivery: Object contains unknown field `for`"),
        ("call_ended", {**CALL, "delivery": {"to": "all"}}, "detail.delivery: "),
        ("call_ended", {**CALL, "delivery": {"to": [1.5]}}, "detail.delivery: Expected `int | str`, got `float`"),
        ("call_ended", {**CALL, "delivery": {"to": [""]}}, "detail.delivery.to: must be a whole number, or 1 to 128"),
        (
            "call_ended",
            {**CALL, "delivery": {"to": []}},
            "detail.delivery.to: must list 1 to 90 users, or be 'everyone'",
        ),
        (
            "call_ended",
            {**CALL, "delivery": {"to": list(range(MAX_RECIPIENTS + 1))}},
            "detail.delivery.to: must list 1 to 90 users, or be 'everyone'",
        ),
        (
            "call_ended",
            {**CALL, "delivery": {"expires_in": 0}},
            "detail.delivery: Expected `int` >= 1 - at `$.expires_in`",
        ),
        ("call_ended", {**CALL, "delivery": {"expires_in": 86_401}}, "detail.delivery: Expected `int` <= 86400"),
        ("call_started", {**CALL, "call_type": "", "status": "x"}, "detail: Expected `str` of length >= 1"),
        ("favorite_added", {**SOCIAL_EVENT, "action": 1}, "detail: Expected `str | null`, got `int` - at `$.action`"),
        ("status_change", {"user_id": 1, "is_busy": "yes"}, "detail: Expected `bool`, got `str` - at `$.is_busy`"),
        (
            "call_ended",
            {**CALL, "note": "x" * 32_768},
            "detail: the message would have 32946 bytes; the limit is 32768",
        ),
        (
            "call_ended",
            {**CALL, "note": "ж" * 16_384},
            "detail: the message would have 32946 bytes; the limit is 32768",
        ),
        ("call_ended", {**CALL, "note": "\ud800"}, "detail.note: holds half of a character (a lone surrogate)"),
        ("call_ended", {**CALL, "a": {"b": [0, {"c": "x\udfff"}]}}, "detail.a.b[1].c: holds half of a character"),
        ("call_ended", {**CALL, "a": [{"\udc00": 1}]}, r"detail.a[0]: its key '\udc00' holds half of a character"),
        ("call_ended", {**CALL, "user_id": "\ud800"}, "detail.user_id: holds half of a character"),
        ("call_ended", {**CALL, "delivery": {"to": ["\ud800"]}}, "detail.delivery.to[0]: holds half of a character"),
        ("call_ended", {**CALL, "note": float("nan")}, "detail.note: nan is not JSON"),
        ("call_ended", {**CALL, "note": [float("-inf")]}, "detail.note[0]: -inf is not JSON"),
        ("call_ended", {**CALL, "fee": 10**5000}, "detail.fee: a number of 16610 bits"),
        ("call_ended", {**CALL, "deep": DEEP}, "detail.deep[0][0]"),
        (
            "call_ended",
            {**CALL, "user_id": "a\ufffe"},
            "detail.user_id: must be a whole number, or 1 to 128 characters",
        ),
        ("call_ended", {**CALL, "call_id": "a\x85"}, "detail.call_id: must be a whole number, or 1 to 128 characters"),
        ("favorite_added", {**SOCIAL_EVENT, "username": "a\uffff"}, "detail.username: must be a string of 1 to 256"),
        ("favorite_added", {**SOCIAL_EVENT, "username": "a\nb"}, "detail.username: must be a string of 1 to 256"),
        ("favorite_added", {**SOCIAL_EVENT, "action": "\x00"}, "detail.action: must be a string of 1 to 256"),
        (
            "call_started",
            {**CALL, "call_type": "\x7f", "status": "x"},
            "detail.call_type: must be a string of 1 to 256",
        ),
        (7, CALL, "detail-type: unknown 7"),
        (["call_ended"], CALL, "detail-type: unknown list; known types are"),
    ],
)
def test_the_reason_says_what_is_wrong_with_an_event(kind: object, detail: object, told: str) -> None:
    assert reason(kind, detail).startswith(told)


def test_the_largest_event_makes_a_frame_of_32_kb_with_its_envelope() -> None:
    detail = {**CALL, "delivery": {"ack_within": 15}, "note": ""}
    for note in ("x", "ж"):
        size = messages.MAX_FRAME_BYTES // len(note.encode())
        while True:
            try:
                event = read("call_ended", {**detail, "note": note * size})
            except InvalidEvent:
                size -= 1
            else:
                break
        frame = messages.encode(
            event.kind, event.data, event.at_ms, make_event_id(event.at_ms, event.event_id), ack=True
        ).encode()
        assert messages.MAX_FRAME_BYTES - len(note.encode()) < len(frame) <= messages.MAX_FRAME_BYTES


@pytest.mark.parametrize("name", ["call_id", "user_id", "listener_id"])
def test_a_whole_number_may_be_written_with_a_decimal_point(name: str) -> None:
    assert read("call_ended", {**CALL, name: 123.0}).data[name] == "123"
    assert read("call_ended", {**CALL, "delivery": {"to": [5.0, 6]}}).to == ("5", "6")


def test_the_reason_quotes_an_invalid_id() -> None:
    assert reason("call_ended", {**CALL, "user_id": "a/b"}).endswith("; not 'a/b'")
    assert reason("call_ended", {**CALL, "user_id": "x" * 200}).endswith("x…")


FREE_TEXT = "line\n\ttabbed \x00 \x85 \ufffe \U0001fffe Жанна 👋"


def test_free_text_is_passed_on_unchanged() -> None:
    event = read("system_notification", {"text": FREE_TEXT, FREE_TEXT: 1, "delivery": {"to": "everyone"}})
    frame = messages.encode(event.kind, event.data, event.at_ms)
    assert json.loads(frame)["data"] == {"text": FREE_TEXT, FREE_TEXT: 1}
    assert not is_unstorable(frame), "every store accepts the frame"


@pytest.mark.parametrize("kind", ["\ud800", "call\ufffe", "x\x00"])
def test_a_reason_has_only_storable_characters(kind: str) -> None:
    assert not is_unstorable(reason(kind, {}))
    assert not is_unstorable(reason("call_ended", {**CALL, "delivery": {kind: 1}}))


@pytest.mark.parametrize("event_id", [None, 7, "", "a\ufffe", "\ud800", "x" * 257])
def test_an_event_needs_a_storable_id(event_id: object) -> None:
    with pytest.raises(InvalidEvent, match=r"^id: must be a string of 1 to 256 characters"):
        validate(event_id, "marketplace", "call_ended", CALL, AT)


def test_numbers_of_any_size_are_passed_on() -> None:
    assert read("call_ended", {**CALL, "nanoseconds": 2**70}).data["nanoseconds"] == 2**70


def test_an_event_can_have_as_many_recipients_as_a_transaction_holds() -> None:
    assert len(read("call_ended", {**CALL, "delivery": {"to": list(range(MAX_RECIPIENTS))}}).to or ()) == MAX_RECIPIENTS


TEXT = st.text(st.characters(exclude_categories=()), max_size=6)  # lone surrogates too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
DETAIL = st.dictionaries(
    st.sampled_from(
        [
            "call_id",
            "user_id",
            "listener_id",
            "call_type",
            "status",
            "username",
            "action",
            "is_busy",
            "delivery",
            "more",
        ]
    ),
    JSON | st.builds(dict, to=st.lists(st.integers() | st.floats() | TEXT, max_size=3), expires_in=st.integers(0, 9)),
)


@given(st.sampled_from(sorted(EVENT_TYPES)) | TEXT, DETAIL | JSON)
def test_any_event_is_refused_or_can_be_sent_on(kind: str, detail: object) -> None:
    try:
        event = read(kind, detail)
    except InvalidEvent as problem:
        refusal = problem.reason
    else:
        refusal = ""
        messages.encode(event.kind, event.data, event.at_ms).encode()  # so it can be sent
    assert not is_unstorable(refusal)
