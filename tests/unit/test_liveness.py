"""Whether a silent connection is alive."""

from __future__ import annotations

import json

import pytest

from realtime.liveness import Judge, read_last_active
from realtime.tables.connections import Connection, Session
from realtime.tables.served import Service

NOW, LEASE = 1_705_314_600, 90
WIDE = "feed/*/0"


def session(
    *, age: int = 600, heard_ago: int | None = 100, heartbeat: bool = False, wide: str | None = WIDE
) -> Session:
    connection = Connection("one", "feed", "123", (NOW - age) * 1000, NOW + 3600)
    heard_at_s = NOW - heard_ago if heard_ago is not None else 0
    return Session(connection, NOW - 1, 0, heard_at_s, heard_at_s, heartbeat, wide)


def judge(served_ago: int | None = None, busy_for: int = 0) -> Judge:
    if served_ago is None:
        return Judge(NOW, LEASE, {})
    return Judge(NOW, LEASE, {WIDE: Service(NOW - served_ago, NOW - busy_for)})


def test_silence_is_explained_by_what_everybody_heard_within_a_lease() -> None:
    assert judge(served_ago=89).is_explained(session())
    assert not judge(served_ago=90).is_explained(session())
    assert not judge().is_explained(session())


def test_silence_is_not_explained_by_what_others_heard() -> None:
    assert not judge(served_ago=10).is_explained(session(wide=None))  # it watches, or hears only some types
    assert not judge(served_ago=10).is_explained(session(wide="feed/*/1"))
    assert not judge(served_ago=10).is_explained(session(age=10))  # it may have come just after


def test_a_heartbeat_may_stop_when_there_is_enough_to_hear() -> None:
    assert judge(served_ago=10, busy_for=160).is_explained(session(heard_ago=150, heartbeat=True))


def test_a_heartbeat_that_went_on_for_a_lease_in_spite_of_it_may_not() -> None:
    assert not judge(served_ago=10, busy_for=190).is_explained(session(heard_ago=100, heartbeat=True))


def test_the_last_sign_of_life_is_what_it_sent_or_what_explains_its_silence() -> None:
    assert judge().last_sign_s(session(heard_ago=100)) == NOW - 100
    assert judge().last_sign_s(session(age=200, heard_ago=None)) == NOW - 200
    assert judge(served_ago=10).last_sign_s(session(heard_ago=100)) == NOW - 10
    assert judge(served_ago=10, busy_for=500).last_sign_s(session(heard_ago=100, heartbeat=True)) == NOW - 100


@pytest.mark.parametrize(("age", "lease"), [(30, 90), (91, 91), (3600, 600)])
@pytest.mark.parametrize("active_at_s", [None, NOW - 1, NOW - 300])
def test_a_client_without_a_heartbeat_is_spared_and_asked_about_less_often_the_older_it_is(
    age: int, lease: int, active_at_s: int | None
) -> None:
    assert judge().spared_until_s(session(age=age), active_at_s) == NOW + lease


def test_a_heartbeat_that_stopped_is_spared_from_when_api_gateway_saw_it() -> None:
    assert judge().spared_until_s(session(heartbeat=True), NOW - 89) == NOW + 1
    assert judge().spared_until_s(session(heartbeat=True), NOW) == NOW + LEASE


@pytest.mark.parametrize("active_at_s", [None, NOW - 90, NOW - 300])
def test_a_heartbeat_that_stopped_is_not_spared_after_a_lease_of_silence(active_at_s: int | None) -> None:
    assert judge().spared_until_s(session(heartbeat=True), active_at_s) is None


def test_our_own_posts_do_not_spare_a_heartbeat_that_stopped() -> None:
    """API Gateway may call a post activity, though nobody reads it."""
    assert judge(served_ago=10, busy_for=500).spared_until_s(session(heartbeat=True), NOW - 10) is None


@pytest.mark.parametrize("time", ["2024-01-15T10:30:00.999Z", "2024-01-15T10:30:00Z", "2024-01-15T11:30:00+01:00"])
def test_the_time_of_api_gateways_answer_is_read(time: str) -> None:
    body = {"connectedAt": "2024-01-15T10:00:00Z", "identity": {"userAgent": '"lastActiveAt"'}, "lastActiveAt": time}
    assert read_last_active(json.dumps(body)) == NOW


@pytest.mark.parametrize("body", ["", "{", "[]", "null", "{}", '{"lastActiveAt": 7}', '{"lastActiveAt": "yesterday"}'])
def test_an_answer_without_a_time_says_nothing(body: str) -> None:
    assert read_last_active(body) is None
