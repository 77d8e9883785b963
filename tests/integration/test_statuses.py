"""A user's own status: the frame, the right that it needs, its rate, and what others are told."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest

from tests.samples import KEY_ID, SECRET, backend_event, sample
from tests.support.cloud import Cloud, Function
from tests.unit.fakes import Clock

FEED = "RfGx1dQAIAMCIhA="
ALL = "feed presence calls notifications status"


def token(**claims: Any) -> str:
    """Sign a token of the story's listener."""
    whole = {"sub": "123", "username": "jane_smith", "role": "listener", "exp": 4_102_444_800, **claims}
    return jwt.encode(whole, SECRET, headers={"kid": KEY_ID})


def connect(cloud: Cloud, **claims: Any) -> Function:
    """Connect the listener to feed, and return the function that answers her frames."""
    event = sample("connect.token-in-query")
    event["queryStringParameters"] = {"token": token(**claims)}
    cloud.function("connect")(event)
    return cloud.function("default")


def says(default: Function, kind: str, **data: Any) -> dict[str, Any]:
    """Return the answer to a frame."""
    event = {**sample("default.ping"), "body": json.dumps({"type": kind, "data": data})}
    answer: dict[str, Any] = json.loads(default(event)["body"])
    return answer


def told(cloud: Cloud) -> list[tuple[str, Any, Any]]:
    """Announce what has changed; return the new messages of feed: type, whether away, version."""
    before = {row["event_id"] for row in cloud.rows("Events")}
    cloud.function("announce")({"Records": cloud.stream("Users")})
    new = [row for row in cloud.rows("Events") if "feed_message" in row and row["event_id"] not in before]
    found = [json.loads(row["feed_message"]) for row in new]
    return [(each["type"], each["data"].get("is_away"), each["version"]) for each in found]


def test_others_hear_of_a_status_as_of_a_backends_event(cloud: Cloud, clock: Clock) -> None:
    default = connect(cloud, scope=ALL)
    assert told(cloud) == [("listener_online", None, 1)]
    for number, (status, message, is_away) in enumerate(
        [
            ("busy", "listener_busy", None),
            ("away", "listener_busy", True),
            ("busy", "listener_busy", None),
            ("online", "listener_available", None),
            ("away", "listener_busy", True),
        ]
    ):
        clock.now += 10
        answer = says(default, "status", status=status)
        assert (answer["type"], answer["data"]) == ("status_set", {"status": status})
        assert told(cloud) == [(message, is_away, number + 2)]
    cloud.function("ingest")(backend_event("status_change") | {"detail": {"user_id": 123, "is_busy": False}})
    assert told(cloud) == [("listener_available", None, 7)], "what a backend says later counts"


def test_a_status_that_the_user_has_already_is_told_to_nobody(cloud: Cloud, clock: Clock) -> None:
    default = connect(cloud, scope=ALL)
    for status in ("online", "busy", "busy", "away", "away", "online", "online"):
        clock.now += 10
        assert says(default, "status", status=status)["data"] == {"status": status}
    assert cloud.user()["version"] == 4


def test_a_call_keeps_a_user_busy_whatever_their_status(cloud: Cloud) -> None:
    default = connect(cloud, scope=ALL)
    cloud.function("ingest")(backend_event("call_started"))
    default = cloud.function("default")
    says(default, "status", status="busy")
    says(default, "status", status="online")
    snapshot = says(default, "sync")["data"]["users"]
    assert [user["is_busy"] for user in snapshot] == [True]


def test_snapshots_and_admin_show_who_is_away(cloud: Cloud) -> None:
    default = connect(cloud, scope=ALL)
    says(default, "status", status="away")
    (shown,) = says(default, "sync")["data"]["users"]
    assert (shown["is_busy"], shown["is_away"]) == (True, True)
    (asked,) = cloud.function("admin")({"action": "who", "user_ids": [123]})["users"]
    assert asked["is_away"] is True


@pytest.mark.parametrize("claims", [{}, {"scope": "feed"}])
def test_a_token_must_allow_it_by_the_word_in_its_scope(cloud: Cloud, claims: dict[str, str]) -> None:
    answer = says(connect(cloud, **claims), "status", status="busy")
    assert answer["data"]["code"] == "BAD_REQUEST"
    assert 'its scope needs the word "status"' in answer["data"]["message"]
    assert cloud.user()["version"] == 1


def test_a_newer_token_gives_the_right_and_takes_it(cloud: Cloud) -> None:
    default = connect(cloud)
    says(default, "authenticate", token=token(scope=ALL))
    assert says(default, "status", status="busy")["type"] == "status_set"
    says(default, "authenticate", token=token())
    assert says(default, "status", status="online")["type"] == "error"


def test_an_unknown_status_is_refused_with_those_that_there_are(cloud: Cloud) -> None:
    answer = says(connect(cloud, scope=ALL), "status", status="invisible")
    assert answer["data"]["message"] == "status: must be one of online, busy, away; not 'invisible'"


def test_a_user_who_changes_it_all_the_time_has_to_wait_on_all_connections(cloud: Cloud, clock: Clock) -> None:
    default = connect(cloud, scope=ALL)
    answers = [says(default, "status", status=each) for each in ("busy", "away") * 3]
    assert [each["type"] for each in answers] == ["status_set"] * 5 + ["error"]
    assert answers[-1]["data"] == {
        "code": "RATE_LIMITED",
        "message": "status: changed too often; wait before you set it again",
        "retry_after": 5,
    }
    clock.now += 5
    assert says(default, "status", status="online")["type"] == "status_set"
