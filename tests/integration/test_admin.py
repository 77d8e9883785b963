"""admin, from a backend's request to the tables, by the client of backends."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from listener_realtime.admin import Admin, AdminError
from realtime.admin import DEFAULT_REASON, MAX_USERS
from realtime.aws.clients import aws_errors
from realtime.tables.connections import Connections
from tests.logs import LogLines
from tests.samples import backend_event, names, sample
from tests.support import contract
from tests.support.cloud import STORY_BEGINS, Cloud
from tests.unit.fakes import Clock, Sleeps, aws_error

FEED, CALLS = "RfGx1dQAIAMCIhA=", "RfGx7cN9IAMCKtw="


class Functions:
    """Lambda with the one function `admin`; what is asked and answered is held to the contract."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.answers: list[Any] = []

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803  # AWS's names
        assert FunctionName == "arn:admin"
        answer = self._cloud.function("admin")(json.loads(Payload))
        contract.validator("admin-answer").validate(answer)
        self.answers.append(answer)
        return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(answer).encode())}


@pytest.fixture
def admin(cloud: Cloud) -> Admin:
    return Admin(Functions(cloud).invoke, function="arn:admin")


def connect(cloud: Cloud) -> None:
    """Connect the story's user to feed and calls."""
    for name in ("connect.token-in-query", "connect.token-in-header"):
        cloud.function("connect")(sample(name))


def last_frames(cloud: Cloud) -> dict[str, Any]:
    """Return the entries that close connections, by audience."""
    return {row["audience"]: row for row in cloud.rows("Events") if row.get("close")}


def test_users_are_shown_as_they_are_now_in_the_order_asked_for(cloud: Cloud, admin: Admin) -> None:
    connect(cloud)
    cloud.function("ingest")(backend_event("call_started"))
    unknown, jane, sam = admin.who(["nobody", 123, "789", 123])
    assert (jane["user_id"], jane["username"], jane["role"]) == (123, "jane_smith", "listener")
    assert (jane["is_online"], jane["is_busy"], jane["connections"], jane["version"]) == (True, True, 2, 3)
    assert (sam["user_id"], sam["is_online"], sam["is_busy"]) == (789, False, True)
    assert unknown == {
        "user_id": "nobody",
        "username": None,
        "role": None,
        "is_online": False,
        "is_busy": False,
        "last_seen": None,
        "version": 0,
        "connections": 0,
    }


def test_more_users_than_a_request_takes_are_asked_for_in_several(cloud: Cloud) -> None:
    functions = Functions(cloud)
    found = Admin(functions.invoke, function="arn:admin").who(range(MAX_USERS + 1))
    assert [user["user_id"] for user in found] == list(range(MAX_USERS + 1))
    assert [len(answer["users"]) for answer in functions.answers] == [MAX_USERS, 1]


def test_a_users_connections_are_shown_with_their_last_sign_of_life_and_no_token(cloud: Cloud, admin: Admin) -> None:
    connect(cloud)
    shown = {each["connection_id"]: each for each in admin.connections(123)}
    assert shown.keys() == {FEED, CALLS}
    assert (shown[FEED]["stage"], shown[FEED]["endpoints"]) == ("feed", ["feed"])
    assert shown[FEED]["connected_at"] == "2024-01-15T10:30:00.000Z"
    assert shown[FEED]["alive_at"] == "2024-01-15T10:30:00.000Z"
    token = sample("connect.token-in-query")["queryStringParameters"]["token"]
    assert token not in json.dumps(admin.connections("123"))
    assert admin.connections("nobody") == []


def test_a_user_who_is_disconnected_is_told_why_on_each_connection_and_closed(cloud: Cloud, admin: Admin) -> None:
    connect(cloud)
    assert admin.disconnect(123, reason="Signed out everywhere") == sorted([FEED, CALLS])
    told = last_frames(cloud)
    assert told.keys() == {f"connection/{FEED}", f"connection/{CALLS}"}
    assert {row["endpoint"] for row in told.values()} == {"feed", "calls"}
    for row in told.values():
        assert row["reach"] == "narrow"  # broadcast posts it, and closes the connection
        assert json.loads(row["message"])["data"] == {"code": "AUTH_FAILED", "message": "Signed out everywhere"}
    assert "revoked_before" not in cloud.user()


def test_tokens_are_refused_from_then_on_if_they_are_revoked(cloud: Cloud, admin: Admin) -> None:
    connect(cloud)
    admin.disconnect("123", revoke=True)
    assert cloud.user()["revoked_before"] == STORY_BEGINS
    assert {json.loads(row["message"])["data"]["message"] for row in last_frames(cloud).values()} == {DEFAULT_REASON}


def test_one_connection_is_disconnected_alone(cloud: Cloud, admin: Admin) -> None:
    connect(cloud)
    assert admin.disconnect_one(CALLS)
    assert last_frames(cloud).keys() == {f"connection/{CALLS}"}
    assert not admin.disconnect_one("unknown=")


def test_nobody_is_told_of_a_user_without_connections(cloud: Cloud, admin: Admin) -> None:
    assert admin.disconnect("nobody") == []
    assert cloud.rows("Events") == []


def test_users_and_connections_are_counted(cloud: Cloud, admin: Admin) -> None:
    connect(cloud)
    cloud.function("ingest")(backend_event("call_started"))
    assert admin.counts() == {
        "users_online": 1,
        "listeners_online": 1,
        "listeners_busy": 1,
        "connections": {"feed": 1, "presence": 0, "calls": 1, "notifications": 0, "live": 0},
    }


def test_connections_past_their_time_are_not_counted(cloud: Cloud, admin: Admin, clock: Clock) -> None:
    connect(cloud)
    clock.now += 4 * 3600  # DynamoDB deletes them up to two days late
    assert sum(admin.counts()["connections"].values()) == 0


def test_each_sample_is_answered(cloud: Cloud) -> None:
    for name in names("admin"):
        contract.validator("admin-request").validate(sample(name))
        assert "error" not in cloud.function("admin")(sample(name)), name


WRONG: list[tuple[Any, str]] = [
    ([], "the request: must be a JSON object"),
    (None, "the request"),
    ({}, "action: must be one of who, connections, disconnect, counts; not None"),
    ({"action": "drop"}, "not 'drop'"),
    ({"action": ["who"]}, "action"),
    ({"action": "who"}, "user_ids: must be a list of 1 to 1000 user ids"),
    ({"action": "who", "user_ids": []}, "user_ids"),
    ({"action": "who", "user_ids": ["a/b"]}, "user_ids: each must be a whole number"),
    ({"action": "who", "user_ids": list(range(MAX_USERS + 1))}, "user_ids"),
    ({"action": "connections"}, "user_id: must be"),
    ({"action": "connections", "user_id": "\ud800"}, "user_id"),
    ({"action": "disconnect"}, "user_id, connection_id: give one of the two"),
    ({"action": "disconnect", "user_id": 1, "connection_id": "a="}, "give one of the two"),
    ({"action": "disconnect", "user_id": 1, "reason": ""}, "reason: must be a string"),
    ({"action": "disconnect", "user_id": 1, "reason": None}, "reason"),
    ({"action": "disconnect", "user_id": 1, "revoke": 1}, "revoke"),
    ({"action": "disconnect", "connection_id": "a=", "revoke": True}, "revoke"),
    ({"action": "disconnect", "connection_id": 5}, "connection_id: must be the id of a connection"),
    ({"action": "disconnect", "connection_id": "é"}, "connection_id"),
]


def test_a_wrong_request_is_refused_with_what_is_wrong(cloud: Cloud) -> None:
    function = cloud.function("admin")
    for request, reason in WRONG:
        answer = function(request)
        contract.validator("admin-answer").validate(answer)
        assert answer["error"]["code"] == "BAD_REQUEST", request
        assert reason in answer["error"]["message"]
        beyond_json_schema = "\\ud800" in json.dumps(request)
        assert not contract.validator("admin-request").is_valid(request) or beyond_json_schema, request
    assert cloud.rows("Users") == cloud.rows("Events") == []


def test_the_client_raises_what_the_function_refuses(admin: Admin) -> None:
    with pytest.raises(AdminError, match="BAD_REQUEST: user_ids: each must be") as caught:
        admin.who(["a b"])
    assert caught.value.code == "BAD_REQUEST"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (aws_error("AccessDeniedException", "GetItem"), "UNAVAILABLE"),
        (aws_error("ValidationException", "GetItem"), "INTERNAL"),
        (RuntimeError("a secret"), "UNAVAILABLE"),
    ],
)
def test_a_failure_is_answered_without_its_details(
    cloud: Cloud, admin: Admin, monkeypatch: pytest.MonkeyPatch, logged: LogLines, failure: Exception, code: str
) -> None:
    def fail(*_: object) -> Any:
        with aws_errors("reading connections"):
            raise failure

    connect(cloud)
    monkeypatch.setattr(Connections, "sessions", fail)
    with pytest.raises(AdminError) as caught:
        admin.connections(123)
    assert caught.value.code == code
    assert "secret" not in str(caught.value) + logged.text
    assert logged.lines[-1]["message"] == "failed"


def test_a_function_that_ends_without_an_answer_is_an_error_that_may_pass() -> None:
    def invoke(**_: Any) -> dict[str, Any]:
        return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorMessage": "Task timed out"}')}

    with pytest.raises(AdminError, match="UNAVAILABLE: the function ended without an answer"):
        Admin(invoke, function="arn:admin").counts()


def test_a_connection_whose_session_is_shown_a_moment_after_its_user_is_disconnected_too(
    cloud: Cloud, admin: Admin, monkeypatch: pytest.MonkeyPatch, sleeps: Sleeps
) -> None:
    connect(cloud)
    sessions = Connections.sessions
    monkeypatch.setattr(Connections, "sessions", lambda *given: sessions(*given) if len(sleeps) else [])
    assert admin.disconnect(123) == sorted([FEED, CALLS])
