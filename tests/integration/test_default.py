"""default, from a client's frame to the answer."""

from __future__ import annotations

import json
import random
from typing import Any

import jwt
import pytest

from realtime import messages
from realtime.errors import Unavailable
from realtime.ids import make_event_id
from realtime.posting.delivery import Outcome
from realtime.tables.connections import Connections
from realtime.tables.entries import Entry
from realtime.tables.outbox import Outbox
from realtime.tables.rates import Rates
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
    pong = answer(default, sample("default.ping"))
    assert pong == {
        "type": "pong",
        "data": {},
        "timestamp": "2024-01-15T10:30:00.400Z",
        "position": {"since": "AY0Mq5F4AAAAAAAAAAA="},
    }


def test_a_ping_writes_nothing_while_the_lease_is_young(default: Function, cloud: Cloud, clock: Clock) -> None:
    for _ in range(2):  # the first two show that it has a heartbeat
        answer(default, sample("default.ping"))
    before = cloud.rows("Connections"), cloud.rows("Users"), cloud.rows("Events")
    clock.now += 449
    answer(default, sample("default.ping"))
    assert (cloud.rows("Connections"), cloud.rows("Users"), cloud.rows("Events")) == before


def test_two_pings_within_a_lease_show_that_the_client_has_a_heartbeat(
    default: Function, cloud: Cloud, clock: Clock
) -> None:
    for name in ("default.garbage", "default.ping", "default.garbage"):
        clock.now += 30
        answer(default, sample(name))
        assert "heartbeat" not in session(cloud)
    clock.now += 30
    answer(default, sample("default.ping"))
    assert (session(cloud)["heartbeat"], session(cloud)["heard_at"]) == (True, int(clock.now))
    assert session(cloud)["lease_until"] == int(clock.now) + 900


def test_pings_that_are_further_apart_than_a_lease_are_no_heartbeat(
    default: Function, cloud: Cloud, clock: Clock
) -> None:
    for _ in range(4):
        clock.now += 901
        answer(default, sample("default.ping"))
    assert "heartbeat" not in session(cloud)


def test_a_client_that_speaks_again_gives_up_the_long_lease_of_the_silent(
    default: Function, cloud: Cloud, clock: Clock
) -> None:
    Connections(cloud.dynamodb, "ConnectionsTable").renew_lease(FEED, int(clock.now) + 3600)
    answer(default, sample("default.garbage"))
    assert (session(cloud)["lease_until"], session(cloud)["heard_at"]) == (int(clock.now) + 900, int(clock.now))


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


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count every frame, as chance does one in six times."""
    monkeypatch.setattr(random, "random", lambda: 0.0)


@pytest.mark.usefixtures("counted")
def test_a_flood_is_refused_by_every_function_instance(cloud: Cloud, clock: Clock) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    slow = {"MessageRate": 1, "MessageBurst": 1}
    assert answer(cloud.function("default", **slow), sample("default.ping"))["type"] == "pong"
    another = cloud.function("default", **slow)
    assert answer(another, sample("default.ping"))["data"] == {
        "code": "RATE_LIMITED",
        "message": "Too many messages; wait before you send more",
        "retry_after": 1,
    }
    clock.now += 1
    assert answer(another, sample("default.ping"))["type"] == "pong"


def test_a_quiet_ping_writes_nothing_and_the_second_is_counted(cloud: Cloud) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    default = cloud.function("default")
    answer(default, sample("default.ping"))
    assert "full_at" not in session(cloud)
    answer(default, sample("default.ping"))
    assert session(cloud)["full_at"] == STORY_BEGINS * 1000 + 400 + 100


def test_a_frame_is_charged_before_its_work_with_what_it_costs(cloud: Cloud) -> None:
    cloud.function("connect")(sample("connect.watching"))
    default = cloud.function("default", MessageRate=1, MessageBurst=11)
    event = sample("default.watch")
    event["body"] = json.dumps({"type": "watch", "data": {"user_ids": list(range(1000, 1100))}})
    answer(default, event)
    assert answer(default, event)["data"]["code"] == "RATE_LIMITED"
    row = cloud.row("Connections", connection_id=PRESENCE, audience=f"connection/{PRESENCE}")
    assert row is not None
    assert row["full_at"] == STORY_BEGINS * 1000 + 400 + 11_000


@pytest.mark.usefixtures("counted")
def test_a_flood_that_goes_on_is_sent_away_with_the_reason_and_closed(cloud: Cloud) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    default = cloud.function("default", MessageRate=1, MessageBurst=1)
    for _ in range(17):  # refusals, each of which counts for six
        assert not cloud.messages("Farewells")
        answer(default, sample("default.ping"))
    answer(default, sample("default.ping"))
    (message,) = cloud.messages("Farewells")
    farewell = json.loads(message["Body"])
    assert (farewell["connection_id"], farewell["endpoint"]) == (FEED, "feed")
    error = json.loads(farewell["frame"])["data"]
    assert error == {"code": "RATE_LIMITED", "message": "Too many messages, for too long", "retry_after": 10}
    answer(default, sample("default.ping"))
    assert not cloud.messages("Farewells")


def test_the_busy_connections_of_a_user_share_a_limit(cloud: Cloud, clock: Clock) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    default = cloud.function("default", MessageRate=10, MessageBurst=20, UserMessageRate=1)
    answers = [answer(default, sample("default.ping")) for _ in range(6)]
    assert [each["type"] for each in answers] == ["pong"] * 4 + ["error"] * 2  # two quiet ones, then a burst of two
    assert answers[4]["data"]["retry_after"] == 1
    assert cloud.row("Events", audience="rate/user/123", event_id="-")
    another = cloud.function("default", MessageRate=10, MessageBurst=20, UserMessageRate=1)
    assert answer(another, sample("default.ping"))["data"]["code"] == "RATE_LIMITED"
    clock.now += 2
    assert answer(another, sample("default.ping"))["type"] == "pong"


@pytest.mark.usefixtures("counted")
def test_a_limit_that_cannot_be_counted_refuses_nobody(
    cloud: Cloud, logged: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))

    def fail(*_: object) -> None:
        raise Unavailable("counting: throttled")

    monkeypatch.setattr(Rates, "_update", fail)
    default = cloud.function("default", MessageRate=1, MessageBurst=1)
    assert answer(default, sample("default.ping"))["type"] == "pong"
    assert answer(default, sample("default.ping"))["data"]["code"] == "RATE_LIMITED"
    assert [line["reason"] for line in logged.lines if line["message"] == "cannot count"] == ["counting: throttled"] * 2


def test_a_refused_frame_costs_no_read(cloud: Cloud) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    default = cloud.function("default", MessageRate=1, MessageBurst=1)
    answer(default, sample("default.ping"))
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
    return cloud.audiences_of(PRESENCE) - {f"connection/{PRESENCE}", "watched"}


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


def on_calls(message: dict[str, Any]) -> dict[str, Any]:
    """Return a frame of the connection to calls."""
    return {**sample("default.resume"), "body": json.dumps(message)}


def test_resume_replays_missed_messages_in_order(cloud: Cloud) -> None:
    ingest = cloud.function("ingest")
    for kind in ("call_started", "call_billing"):
        ingest(backend_event(kind))
    cloud.function("connect")(sample("connect.token-in-header"))
    reply = answer(cloud.function("default"), sample("default.resume"))
    assert (reply["type"], reply["data"]) == ("resumed", {"recovered": True, "replayed": 2})
    (delivery,) = cloud.poster.deliveries
    assert (delivery.stage, delivery.connection_id) == ("calls", CALLS)
    assert [json.loads(each.body)["type"] for each in delivery.frames] == ["call_started", "call_billing"]


def test_a_client_resumes_from_the_position_of_an_answer_and_then_misses_nothing(cloud: Cloud) -> None:
    cloud.function("connect")(sample("connect.token-in-header"))
    pong = answer(cloud.function("default"), on_calls({"type": "ping"}))
    ingest = cloud.function("ingest")
    for kind in ("call_started", "call_billing"):
        ingest(backend_event(kind))
    default = cloud.function("default")
    reply = answer(default, on_calls({"type": "resume", "data": {"position": pong["position"]}}))
    assert (reply["type"], reply["data"]) == ("resumed", {"recovered": True, "replayed": 2, "complete": True})
    (delivery,) = cloud.poster.deliveries
    assert [[each["type"] for each in json.loads(frame.body)] for frame in delivery.frames] == [
        ["call_started", "call_billing"]
    ]
    position = pong["position"] | reply["position"]
    assert answer(default, on_calls({"type": "resume", "data": {"position": position}}))["data"]["replayed"] == 0


def test_resume_with_an_invalid_position_is_refused(default: Function) -> None:
    reply = answer(default, frame({"type": "resume", "data": {"position": {"calls/123": "yesterday"}}}))
    assert reply["data"]["code"] == "BAD_REQUEST"
    assert reply["data"]["message"].startswith("position: must have the texts that messages brought")


@pytest.mark.parametrize("kind", ["watch", "unwatch"])
def test_answers_bring_a_position(watching: Function, kind: str) -> None:
    assert answer(watching, sample(f"default.{kind}"))["position"].keys() == {"since"}


def test_resume_with_an_invalid_id_is_refused(default: Function) -> None:
    reply = answer(default, frame({"type": "resume", "data": {"last_id": "yesterday"}}))
    assert reply["data"] == {
        "code": "BAD_REQUEST",
        "message": "last_id: must be the id of a message that you have received",
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
    assert reply["position"].keys() == {"since"}
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
def test_a_token_that_was_issued_before_a_revocation_extends_nothing(default: Function, cloud: Cloud) -> None:
    cloud.function("ingest")(backend_event("session_revoked"))
    cloud.function("default")
    before = [row.get("token_expires_at") for row in cloud.rows("Connections")]
    for claims in ({"iat": STORY_BEGINS - 1}, {"exp": STORY_BEGINS + 60}):  # the second does not say when
        assert answer(default, authenticate(token(**claims)))["data"]["code"] == "AUTH_FAILED"
    assert [row.get("token_expires_at") for row in cloud.rows("Connections")] == before
    assert answer(default, authenticate(token(iat=STORY_BEGINS)))["type"] == "authenticated"


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
        stage="feed",
    )
    Outbox(cloud.dynamodb, "EventsTable").put(entry)
    cloud.function("disconnect")(sample("disconnect"))
    assert answer(cloud.function("default"), sample("default.ping"))["data"] == {"within_seconds": 0}
    assert [row.get("close") for row in cloud.rows("Events")] == [None, True]


def test_an_answer_of_many_frames_counts_as_several_messages(cloud: Cloud) -> None:
    call = {"call_id": 456, "user_id": 123, "listener_id": 789}
    missed = [
        Entry(
            "calls/123",
            event_id := make_event_id(n, "missed"),
            "call_billing",
            messages.encode("call_billing", call, n, event_id),
            expires_at_s=STORY_BEGINS + 7200,
        )
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
