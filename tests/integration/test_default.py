"""default, from a client's frame to the answer."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest

from realtime.ids import make_event_id
from realtime.posting.delivery import Outcome
from realtime.tables.connections import Connections
from realtime.tables.outbox import Entry, Outbox
from tests.logs import LogLines
from tests.samples import KEY_ID, SECRET, backend_event, sample
from tests.support.cloud import STORY_BEGINS, Cloud, Function
from tests.unit.fakes import Clock, FakePoster

FEED, PRESENCE, CALLS = "RfGx1dQAIAMCIhA=", "RfGx9eWboAMCLrQ=", "RfGx7cN9IAMCKtw="


def answer(function: Function, event: dict[str, Any]) -> dict[str, Any]:
    """Return the frame that answers a client's."""
    result = function(event)
    assert result["statusCode"] == 200
    frame: dict[str, Any] = json.loads(result["body"])
    return frame


def frame(body: object, name: str = "default.ping") -> dict[str, Any]:
    """Return the event of a frame; text as it is, anything else as JSON."""
    return {**sample(name), "body": body if isinstance(body, str) else json.dumps(body)}


@pytest.fixture
def default(cloud: Cloud) -> Function:
    cloud.function("connect")(sample("connect.token-in-query"))
    return cloud.function("default")


def session(cloud: Cloud) -> dict[str, Any]:
    return cloud.row("Connections", connection_id=FEED, audience=f"connection/{FEED}") or {}


def test_a_ping_is_answered(default: Function) -> None:
    assert answer(default, sample("default.ping")) == {
        "type": "pong",
        "data": {},
        "timestamp": "2024-01-15T10:30:00.400Z",
    }


def test_a_ping_writes_nothing_while_the_lease_is_young(default: Function, cloud: Cloud, clock: Clock) -> None:
    before = cloud.rows("Connections"), cloud.rows("Users"), cloud.rows("Events")
    clock.now += 449
    answer(default, sample("default.ping"))
    assert (cloud.rows("Connections"), cloud.rows("Users"), cloud.rows("Events")) == before


@pytest.mark.parametrize("name", ["default.ping", "default.garbage"])
def test_any_frame_renews_a_lease_past_half_of_its_time(
    default: Function, cloud: Cloud, clock: Clock, name: str
) -> None:
    clock.now += 451
    answer(default, sample(name))
    assert session(cloud)["lease_until"] == int(clock.now) + 900
    assert session(cloud)["token_expires_at"] == 4_102_444_800


BAD = [
    (sample("default.garbage")["body"], 'not JSON; send {"type": …, "data": {…}}'),
    ("", 'not JSON; send {"type": …, "data": {…}}'),
    ([], 'not a JSON object; send {"type": …, "data": {…}}'),
    ({}, 'type: must be a string, such as "ping"'),
    ({"type": "ping", "data": None}, "data: must be a JSON object"),
]


@pytest.mark.parametrize(("body", "message"), BAD)
def test_an_invalid_frame_is_answered_with_the_reason_and_the_connection_stays(
    default: Function, cloud: Cloud, body: object, message: str
) -> None:
    reply = answer(default, frame(body))
    assert (reply["type"], reply["data"]) == ("error", {"code": "BAD_REQUEST", "message": message})
    assert answer(default, sample("default.ping"))["type"] == "pong"
    assert cloud.rows("Events") == []


def test_an_unknown_type_is_answered_with_the_known_types(default: Function) -> None:
    reply = answer(default, sample("default.unknown-type"))
    assert reply["data"]["code"] == "BAD_REQUEST"
    assert "ping" in reply["data"]["message"]
    assert "subscribe" not in reply["data"]["message"]


def test_a_message_without_a_body_is_invalid(default: Function) -> None:
    event = sample("default.ping")
    del event["body"]
    assert answer(default, event)["data"]["code"] == "BAD_REQUEST"


def test_a_client_that_sends_too_fast_must_wait_and_is_then_served_again(cloud: Cloud, clock: Clock) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    default = cloud.function("default", MessageRate=1, MessageBurst=3)
    types = [answer(default, sample("default.ping"))["type"] for _ in range(5)]
    assert types == ["pong", "pong", "pong", "error", "error"]
    reply = answer(default, sample("default.ping"))["data"]
    assert reply == {
        "code": "RATE_LIMITED",
        "message": "Too many messages; wait before you send more",
        "retry_after": 1,
    }
    clock.now += reply["retry_after"]
    assert answer(default, sample("default.ping"))["type"] == "pong"


def test_a_flood_is_refused_by_every_function_instance(cloud: Cloud, clock: Clock) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    slow = {"MessageRate": 1, "MessageBurst": 1}
    flooded = cloud.function("default", **slow)
    answer(flooded, sample("default.ping"))
    assert answer(flooded, sample("default.ping"))["data"]["code"] == "RATE_LIMITED"
    another = cloud.function("default", **slow)
    assert answer(another, sample("default.ping"))["data"] == {
        "code": "RATE_LIMITED",
        "message": "Too many messages; wait before you send more",
        "retry_after": 1,
    }
    clock.now += 1
    assert answer(another, sample("default.ping"))["type"] == "pong"


def test_a_flood_is_written_once(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    default = cloud.function("default", MessageRate=1, MessageBurst=1)
    written: list[tuple[str, int]] = []
    monkeypatch.setattr(Connections, "limit_until", lambda _, *written_now: written.append(written_now))
    for _ in range(4):
        answer(default, sample("default.ping"))
    assert written == [(FEED, STORY_BEGINS + 1)]


def test_a_flood_costs_no_read(cloud: Cloud) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    default = cloud.function("default", MessageRate=1, MessageBurst=1)
    answer(default, sample("default.ping"))
    answer(default, sample("default.ping"))
    assert session(cloud)["limited_until"] == STORY_BEGINS + 1
    cloud.dynamodb.delete_item(
        TableName="ConnectionsTable",
        Key={"connection_id": {"S": FEED}, "audience": {"S": f"connection/{FEED}"}},
    )
    assert answer(default, sample("default.ping"))["data"]["code"] == "RATE_LIMITED"
    assert session(cloud) == {}


def test_a_connection_that_is_not_registered_is_sent_away(cloud: Cloud) -> None:
    reply = answer(cloud.function("default"), sample("default.ping"))
    assert (reply["type"], reply["data"]) == ("reconnect", {"within_seconds": 0})
    (entry,) = cloud.rows("Events")
    assert (entry["audience"], entry["endpoint"], entry["close"]) == (f"connection/{FEED}", "feed", True)
    assert json.loads(entry["message"]) == reply


def test_sending_a_connection_away_again_costs_no_write(cloud: Cloud) -> None:
    default = cloud.function("default")
    assert answer(default, sample("default.ping")) == answer(default, sample("default.garbage"))
    assert len(cloud.rows("Events")) == 1


def test_a_refused_client_that_sends_a_frame_gets_the_reason_alone(cloud: Cloud) -> None:
    cloud.function("connect")(sample("connect.token-expired"))
    before = cloud.rows("Events")
    reply = answer(cloud.function("default"), sample("default.ping"))
    assert (reply["type"], reply["data"]["code"]) == ("error", "AUTH_FAILED")
    assert cloud.rows("Events") == before


def test_an_unreadable_table_is_answered_with_internal_and_retry_after(
    cloud: Cloud, default: Function, logged: LogLines
) -> None:
    cloud.dynamodb.delete_table(TableName="ConnectionsTable")
    reply = answer(default, sample("default.ping"))
    assert reply["data"] == {
        "code": "INTERNAL",
        "message": "Something went wrong on our side; try again",
        "retry_after": 1,
    }
    assert "reading a connection: ResourceNotFoundException" in logged.lines[-1]["reason"]


def test_default_does_not_log_messages_of_clients(default: Function, logged: LogLines) -> None:
    for body in ({"type": "ping", "data": {"secret": "hunter2"}}, {"type": "hunter2"}, "hunter2"):
        answer(default, frame(body))
    assert logged.lines
    assert "hunter2" not in logged.text


# ---- sync, watch and unwatch ----------------------------------------------------------------------------------------


def test_sync_is_answered_with_the_users_online(default: Function, cloud: Cloud) -> None:
    reply = answer(default, sample("default.sync"))
    assert reply["type"] == "snapshot"
    assert reply["data"]["complete"] is True
    assert reply["data"]["users"] == [
        {
            "username": "jane_smith",
            "user_id": 123,
            "is_online": True,
            "is_busy": False,
            "last_seen": "2024-01-15T10:30:00.400Z",
            "version": 1,
        }
    ]


def test_sync_is_refused_on_endpoints_without_presence(cloud: Cloud) -> None:
    cloud.function("connect")(sample("connect.token-in-header"))
    event = sample("default.sync")
    event["requestContext"] |= {"connectionId": "RfGx7cN9IAMCKtw=", "stage": "calls"}
    reply = answer(cloud.function("default"), event)["data"]
    assert reply == {"code": "BAD_REQUEST", "message": "calls tells no presence; connect to feed or presence"}


@pytest.fixture
def watching(cloud: Cloud) -> Function:
    event = sample("connect.watching")
    event["queryStringParameters"]["watch"] = "7"
    cloud.function("connect")(event)
    return cloud.function("default")


def audiences(cloud: Cloud) -> set[str]:
    return {row["audience"] for row in cloud.rows("Connections")} - {f"connection/{PRESENCE}"}


def test_watch_adds_users_and_answers_with_their_state(watching: Function, cloud: Cloud) -> None:
    reply = answer(watching, sample("default.watch"))
    assert audiences(cloud) == {"presence/7", "presence/123", "presence/789"}
    assert [(user["user_id"], user["is_online"]) for user in reply["data"]["users"]] == [(123, True), (789, False)]


def test_watch_replaces_the_subscription_to_everyone(cloud: Cloud) -> None:
    event = sample("connect.watching")
    del event["queryStringParameters"]["watch"]
    cloud.function("connect")(event)
    assert {each[:11] for each in audiences(cloud)} == {"presence/*/"}
    answer(cloud.function("default"), sample("default.watch"))
    assert audiences(cloud) == {"presence/123", "presence/789"}


def test_unwatch_removes_users(watching: Function, cloud: Cloud) -> None:
    answer(watching, sample("default.watch"))
    reply = answer(watching, sample("default.unwatch"))
    assert audiences(cloud) == {"presence/7", "presence/123"}
    assert reply["data"] == {"users": [], "complete": True}


@pytest.mark.parametrize(
    ("user_ids", "message"),
    [
        (None, "user_ids: must be a list of 1 to 100 user ids"),
        ([], "user_ids: must be a list of 1 to 100 user ids"),
        ("123", "user_ids: must be a list of 1 to 100 user ids"),
        (list(range(101)), "user_ids: must be a list of 1 to 100 user ids"),
        (
            [1.5],
            "user_ids: each must be a whole number, or 1 to 128 characters with no '/', space or control character",
        ),
        (list(range(1000, 1100)), "user_ids: a connection watches 100 users at most, and this one 1"),
    ],
)
def test_watch_refuses_invalid_or_too_many_users(
    watching: Function, cloud: Cloud, user_ids: object, message: str
) -> None:
    reply = answer(watching, frame({"type": "watch", "data": {"user_ids": user_ids}}, "default.watch"))
    assert reply["data"] == {"code": "BAD_REQUEST", "message": message}
    assert audiences(cloud) == {"presence/7"}


def store_users_online(cloud: Cloud, count: int) -> None:
    """Store this number of users online."""
    for n in range(count):
        cloud.dynamodb.put_item(
            TableName="UsersTable",
            Item={
                "user_id": {"S": f"user-{n}"},
                "username": {"S": "x" * 250},
                "role": {"S": "listener"},
                "is_online": {"BOOL": True},
                "online_shard": {"S": str(n % 8)},
                "last_seen": {"N": str(STORY_BEGINS * 1000)},
                "version": {"N": "1"},
            },
        )


def test_all_frames_of_a_snapshot_but_the_last_are_posted(default: Function, cloud: Cloud) -> None:
    store_users_online(cloud, 150)
    last = answer(default, sample("default.sync"))
    posted = cloud.poster.to(FEED).frames
    pages = [json.loads(each.body) for each in posted]
    assert all(len(each.body) <= 32 * 1024 for each in posted)
    assert [page["data"]["complete"] for page in [*pages, last]] == [False] * len(pages) + [True]
    users = [user["user_id"] for page in [*pages, last] for user in page["data"]["users"]]
    assert len(users) == len(set(users)) == 151


def test_a_snapshot_that_cannot_be_posted_is_answered_with_internal(default: Function, cloud: Cloud) -> None:
    store_users_online(cloud, 150)
    cloud.poster = FakePoster({FEED: Outcome.THROTTLED})
    assert answer(default, sample("default.sync"))["data"]["code"] == "INTERNAL"


def test_resume_replays_missed_messages_in_order(cloud: Cloud) -> None:
    ingest = cloud.function("ingest")
    for kind in ("call_started", "call_billing"):
        ingest(backend_event(kind))
    cloud.function("connect")(sample("connect.token-in-header"))
    reply = answer(cloud.function("default"), sample("default.resume"))
    assert (reply["type"], reply["data"]) == ("resumed", {"recovered": True, "replayed": 2})
    (delivery,) = cloud.poster.deliveries
    assert (delivery.endpoint, delivery.connection_id) == ("calls", CALLS)
    assert [json.loads(each.body)["type"] for each in delivery.frames] == ["call_started", "call_billing"]


def test_resume_with_an_invalid_id_is_refused(default: Function) -> None:
    reply = answer(default, frame({"type": "resume", "data": {"last_id": "yesterday"}}))
    assert reply["data"] == {
        "code": "BAD_REQUEST",
        "message": "last_id: must be the id of a message that you have heard",
    }


def token(**claims: object) -> str:
    good = {"sub": "123", "exp": STORY_BEGINS + 7200}
    return jwt.encode({**good, **claims}, SECRET, headers={"kid": KEY_ID})


def authenticate(token: object) -> dict[str, Any]:
    return frame({"type": "authenticate", "data": {"token": token}})


@pytest.mark.usefixtures("jwt_clock")
def test_a_newer_token_of_the_same_user_keeps_the_connection_open_longer(default: Function, cloud: Cloud) -> None:
    reply = answer(default, authenticate(token()))
    assert (reply["type"], reply["data"]) == ("authenticated", {"expires_at": "2024-01-15T12:30:00.000Z"})
    assert session(cloud)["token_expires_at"] == STORY_BEGINS + 7200


@pytest.mark.usefixtures("jwt_clock")
@pytest.mark.parametrize(
    ("bad", "code", "message"),
    [
        (token(sub="789"), "PERMISSION_DENIED", "The token is another user's"),
        (token(scope="calls presence"), "PERMISSION_DENIED", "Insufficient permissions"),
        (token(exp=STORY_BEGINS - 60), "AUTH_FAILED", "Invalid or expired token"),
        (token() + "x", "AUTH_FAILED", "Invalid or expired token"),
        ("", "AUTH_FAILED", "Invalid or expired token"),
        (None, "BAD_REQUEST", "token: must be a string"),
        (7, "BAD_REQUEST", "token: must be a string"),
    ],
)
def test_an_invalid_token_changes_nothing_and_the_connection_stays(
    default: Function, cloud: Cloud, bad: object, code: str, message: str
) -> None:
    before = cloud.rows("Connections")
    assert answer(default, authenticate(bad))["data"] == {"code": code, "message": message}
    assert cloud.rows("Connections") == before
    assert answer(default, sample("default.ping"))["type"] == "pong"


@pytest.mark.usefixtures("jwt_clock")
def test_default_logs_no_token(default: Function, logged: LogLines) -> None:
    for each in (token(), token(sub="789"), token() + "x"):
        answer(default, authenticate(each))
        assert each.rpartition(".")[2] not in logged.text
    assert logged.lines


def test_a_forgotten_connection_is_sent_away_even_after_it_was_asked_to_move(default: Function, cloud: Cloud) -> None:
    entry = Entry(
        audience=f"connection/{FEED}",
        event_id="0" * 28,
        kind="reconnect",
        message='{"type":"reconnect","data":{"within_seconds":300}}',
        expires_at_s=STORY_BEGINS + 7200,
        endpoint="feed",
    )
    Outbox(cloud.dynamodb, "EventsTable").put(entry)
    cloud.function("disconnect")(sample("disconnect"))
    assert answer(cloud.function("default"), sample("default.ping"))["data"] == {"within_seconds": 0}
    assert [row.get("close") for row in cloud.rows("Events")] == [None, True]


def test_an_answer_of_many_frames_counts_as_several_messages(cloud: Cloud) -> None:
    missed = [
        Entry("calls/123", make_event_id(n, "missed"), "call_billing", "{}", expires_at_s=STORY_BEGINS + 7200)
        for n in range(1, 31)
    ]
    Outbox(cloud.dynamodb, "EventsTable").put_all(missed)
    cloud.function("connect")(sample("connect.token-in-header"))
    default = cloud.function("default", MessageRate=1, MessageBurst=4)
    resume = {**sample("default.resume"), "body": json.dumps({"type": "resume", "data": {"last_id": "0" * 28}})}
    assert answer(default, resume)["data"]["replayed"] == 30
    assert answer(default, resume)["data"]["code"] == "RATE_LIMITED"


@pytest.mark.parametrize(("handshake", "is_recovered"), [("token-in-query", False), ("token-in-header", True)])
def test_each_endpoint_has_a_history_of_its_own_length(cloud: Cloud, handshake: str, is_recovered: bool) -> None:
    """The first connection is on feed, which carries presence; the second on calls."""
    cloud.function("connect")(sample(f"connect.{handshake}"))
    default = cloud.function("default", HistorySeconds=3600, PresenceHistorySeconds=60)
    connect, resume = sample(f"connect.{handshake}"), sample("default.resume")
    resume["requestContext"] |= {name: connect["requestContext"][name] for name in ("connectionId", "stage")}
    last_id = make_event_id((STORY_BEGINS - 600) * 1000, "the last message")
    resume["body"] = json.dumps({"type": "resume", "data": {"last_id": last_id}})
    assert answer(default, resume)["data"] == {"recovered": is_recovered, "replayed": 0}
