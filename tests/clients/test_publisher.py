"""The publisher: what it sends, what it refuses, and what it does when EventBridge takes only some."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from listener_realtime import Event, InvalidEvent, NotPublished, Publisher, events, schema
from realtime import backend_events
from realtime.errors import InvalidEvent as Refused
from tests.samples import backend_event
from tests.support import contract as promised
from tools.contract import examples

CALL: dict[str, Any] = {"call_id": 456, "user_id": 123, "listener_id": 789}
SOCIAL: dict[str, Any] = {"user_id": 123, "username": "jane", "to": [789]}
ALL = [
    events.call_started(**CALL, call_type="audio", status="ongoing"),
    events.call_ended(**CALL, expires_in=5, ack_within=6),
    events.call_billing(**CALL, more={"cents": 5}, key="tick-1"),
    events.favorite_added(**SOCIAL),
    events.favorite_removed(**SOCIAL),
    events.user_blocked(**SOCIAL),
    events.user_unblocked(**SOCIAL),
    events.system_notification({"title": "hello"}, to="everyone"),
    events.status_change(user_id="x", is_busy=True),
    events.session_revoked(user_id=123, key="logout-9"),
]


class Bus:
    """Answers as PutEvents does: `refusals` are the codes of entries, by the number of the entry over all calls."""

    def __init__(self, refusals: Mapping[int, str] | None = None) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self.pauses: list[float] = []
        self._refusals, self._count = refusals or {}, 0

    def put_events(self, *, Entries: Sequence[Any]) -> dict[str, Any]:  # noqa: N803
        self.calls.append(list(Entries))
        answers = []
        for _ in Entries:
            code = self._refusals.get(self._count)
            answers.append({"ErrorCode": code, "ErrorMessage": "no"} if code else {"EventId": f"id-{self._count}"})
            self._count += 1
        return {"FailedEntryCount": sum("ErrorCode" in each for each in answers), "Entries": answers}

    def publisher(self) -> Publisher:
        return Publisher(self.put_events, bus="b", source="s", sleep=self.pauses.append, chance=lambda: 1)


def test_each_type_has_a_function_whose_events_the_service_accepts() -> None:
    assert [event.type for event in ALL] == list(backend_events.EVENT_TYPES)
    for event in ALL:
        backend_events.validate("id", "s", event.type, json.loads(event.detail), 0)


def test_each_event_is_one_that_the_published_schema_allows() -> None:
    for event in ALL:
        promised.validator("backend-event").validate(examples.bus_event(event.type, json.loads(event.detail), "s"))


def test_each_event_has_a_key_of_its_own_or_yours() -> None:
    keys = [json.loads(event.detail)["delivery"]["idempotency_key"] for event in ALL]
    assert len(set(keys)) == len(ALL)
    assert (keys[2], keys[9]) == ("tick-1", "logout-9")


def test_events_are_put_in_tens_and_their_ids_come_in_order() -> None:
    bus = Bus()
    assert bus.publisher().put(*ALL, *ALL, ALL[0]) == [f"id-{number}" for number in range(21)]
    assert [len(entries) for entries in bus.calls] == [10, 10, 1]
    first = bus.calls[0][0]
    assert (first["EventBusName"], first["Source"], first["DetailType"]) == ("b", "s", "call_started")
    assert json.loads(first["Detail"])["call_id"] == 456


def test_large_events_are_put_in_calls_that_eventbridge_takes() -> None:
    bus = Bus()
    large = events.system_notification({"text": "x" * 30_000}, to=["y" * 128 + "" for _ in range(1)])
    bus.publisher().put(*[large] * 20)
    assert [len(entries) for entries in bus.calls] == [8, 8, 4]


def test_what_eventbridge_cannot_take_now_is_put_again_with_its_key() -> None:
    bus = Bus({1: "ThrottlingException", 3: "InternalFailure", 4: "ThrottlingException"})
    ids = bus.publisher().put(*ALL[:4])
    assert ids == ["id-0", "id-6", "id-2", "id-5"]
    assert [[entry["DetailType"] for entry in entries] for entries in bus.calls[1:]] == [
        ["call_ended", "favorite_added"], ["call_ended"],
    ]  # fmt: skip
    assert bus.calls[0][1]["Detail"] == bus.calls[1][0]["Detail"] == bus.calls[2][0]["Detail"]
    assert bus.pauses == [0.2, 0.4]


def test_what_eventbridge_refuses_is_reported_once_the_others_are_on_the_bus() -> None:
    bus = Bus({0: "MalformedDetail", 1: "ThrottlingException"})
    with pytest.raises(NotPublished, match="1 events are not on the bus; the first, a call_started: MalformedDetail"):
        bus.publisher().put(*ALL[:3])
    assert [len(entries) for entries in bus.calls] == [3, 1]


def test_it_gives_up_after_six_attempts() -> None:
    bus = Bus(dict.fromkeys(range(100), "ThrottlingException"))
    with pytest.raises(NotPublished) as caught:
        bus.publisher().put(ALL[0])
    assert caught.value.failures == [(ALL[0], "ThrottlingException", "no")]
    assert len(bus.calls) == 6
    assert bus.pauses == [0.2, 0.4, 0.8, 1.6, 3.2]


def test_the_services_own_source_is_not_for_backends() -> None:
    with pytest.raises(ValueError, match="the service's own"):
        Publisher(Bus().put_events, bus="b", source="realtime")


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: events.favorite_added(user_id=1, username="", to=[1]), "detail.username"),
        (lambda: events.favorite_added(user_id=1, username="jane", to=[]), "detail.delivery.to"),
        (lambda: events.call_ended(call_id="a b", user_id=1, listener_id=2), "detail.call_id"),
        (lambda: events.call_ended(**CALL, more={"at": object()}), "detail.at"),
        (lambda: events.call_ended(**CALL, ack_within=901), "detail.delivery.ack_within"),
        (lambda: events.system_notification({"text": "x" * 33_000}, to="everyone"), "detail"),
    ],
)
def test_what_the_service_would_refuse_is_refused_at_once(make: Any, key: str) -> None:
    with pytest.raises(InvalidEvent, match=rf"^{key}: "):
        make()


def is_accepted_by_service(kind: str, detail: Any) -> bool:
    try:
        backend_events.validate("id", "source", kind, detail, 0)
    except Refused:
        return False
    return True


def is_accepted(kind: str, detail: Any) -> bool:
    try:
        schema.check(kind, detail)
    except InvalidEvent:
        return False
    return True


ODD: list[Any] = [
    None,
    True,
    False,
    0,
    5,
    -1,
    5.0,
    5.5,
    1e300,
    2**53,
    2**420,
    2**1024,
    float("nan"),
    "",
    "x",
    "a b",
    "a/b",
    "é",
    "😀",
]
ODD += [
    "x" * 128,
    "x" * 129,
    "x" * 256,
    "x" * 257,
    "\x00",
    "\x7f",
    "\ud800",
    "\ufffe",
    "\U0001ffff",
    [],
    {},
    [[]],
    "123",
]
ODD += [
    "everyone",
    ["a"],
    ["a", "a"],
    [1, "1", 1.0],
    list(range(46)),
    list(range(90)),
    list(range(91)),
    [1] * 91,
    [None],
]
VALUES = st.sampled_from(ODD) | st.integers() | st.text(max_size=5) | st.floats()
NESTED = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))
KEYS = ["call_id", "user_id", "listener_id", "call_type", "status", "username", "action", "is_busy", "delivery", "more"]
DELIVERY = st.dictionaries(st.sampled_from(["to", "expires_in", "ack_within", "idempotency_key", "x"]), VALUES)


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(list(backend_events.EVENT_TYPES)),
    changes=st.dictionaries(st.sampled_from(KEYS), NESTED, max_size=2),
    delivery=st.none() | DELIVERY,
    removed=st.sets(st.sampled_from(KEYS), max_size=1),
)
@example(kind="call_ended", changes={"text": "\x00" * 6000}, delivery=None, removed=set())
@example(kind="call_ended", changes={"text": "é" * 16_200}, delivery=None, removed=set())
def test_it_accepts_what_the_service_accepts_and_nothing_else(
    kind: str, changes: dict[str, Any], delivery: dict[str, Any] | None, removed: set[str]
) -> None:
    detail = {**backend_event(kind)["detail"], **changes}
    if delivery is not None:
        detail["delivery"] = delivery
    for key in removed:
        detail.pop(key, None)
    assert is_accepted(kind, detail) == is_accepted_by_service(kind, detail)


@pytest.mark.parametrize("length", range(32_560, 32_720, 7))
def test_the_largest_message_is_the_same(length: int) -> None:
    detail = {**CALL, "text": "x" * length}
    assert is_accepted("call_ended", detail) == is_accepted_by_service("call_ended", detail)


def test_a_whole_detail_may_be_given() -> None:
    event = Event.read("call_ended", {**CALL, "delivery": {"idempotency_key": "mine"}})
    assert json.loads(event.detail)["delivery"] == {"idempotency_key": "mine"}
    assert json.loads(Event.read("call_ended", CALL).detail)["delivery"]["idempotency_key"]
