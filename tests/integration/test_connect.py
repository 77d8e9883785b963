"""connect, from API Gateway's event to the stored items."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.logs import LogLines
from tests.samples import SECRET, names, sample
from tests.support.cloud import STORY_BEGINS, TOKEN_KEYS, Cloud, operator
from tests.unit.fakes import Clock

FEED, NOTIFICATIONS, CALLS = "RfGx1dQAIAMCIhA=", "RfGx4fHqoAMCJ0g=", "RfGx7cN9IAMCKtw="
ACCEPTED = {"statusCode": 200, "headers": {}}


def audiences_of(cloud: Cloud, connection_id: str) -> set[str]:
    """Return the audiences that a connection subscribes to, without its own session."""
    return cloud.audiences_of(connection_id) - {f"connection/{connection_id}", "watched"}


def farewells(cloud: Cloud) -> list[dict[str, Any]]:
    """Return the entries with the reason for refused connections."""
    return [
        {**row, "message": json.loads(row["message"])} for row in cloud.rows("Events") if row["audience"][:5] == "conne"
    ]


def test_a_client_with_a_good_token_is_registered(cloud: Cloud) -> None:
    assert cloud.function("connect")(sample("connect.token-in-query")) == ACCEPTED
    session = cloud.row("Connections", connection_id=FEED, audience=f"connection/{FEED}")
    assert session == {
        "connection_id": FEED,
        "audience": f"connection/{FEED}",
        "user_id": "123",
        "endpoint": "feed",
        "connected_at": STORY_BEGINS * 1000,
        "token_expires_at": 4_102_444_800,
        "lease_until": STORY_BEGINS + 900,
        "wide": "feed/*/0",
        "expires_at": STORY_BEGINS + 3 * 3600,
    }
    (wide,) = audiences_of(cloud, FEED)
    assert wide.startswith("feed/*/")


def test_a_connection_sets_its_user_online(cloud: Cloud, clock: Clock) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    now = int(clock.now * 1000)
    assert cloud.user() == {
        "user_id": "123",
        "username": "jane_smith",
        "role": "listener",
        "connection_ids": {FEED},
        "is_online": True,
        "online_shard": "2",
        "last_seen": now,
        "version": 1,
        "changed_at": now,
        "trace_id": "RfGyAhN1oAMFt5w=",  # API Gateway's request id
    }


def test_the_sample_of_coming_online_is_what_connecting_writes(cloud: Cloud) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    (record,) = cloud.stream("Users")
    expected = sample("announce.came-online")["Records"][0]
    assert record["eventName"] == expected["eventName"]
    assert record["dynamodb"]["NewImage"] == expected["dynamodb"]["NewImage"]


def test_a_token_in_the_subprotocols_is_answered_with_bearer(cloud: Cloud) -> None:
    answer = cloud.function("connect")(sample("connect.token-in-subprotocol"))
    assert answer == {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": "bearer"}}


def test_types_and_batch_are_stored_with_each_audience(cloud: Cloud) -> None:
    cloud.function("connect")(sample("connect.token-in-subprotocol"))
    wide, personal = sorted(audiences_of(cloud, NOTIFICATIONS))
    assert (wide[:16], personal) == ("notifications/*/", "notifications/123")
    for row in cloud.rows("Connections"):
        assert (row["types"], row["batch"]) == ({"favorite_added", "system_notification"}, True)


def test_a_token_in_the_authorization_header_is_accepted(cloud: Cloud) -> None:
    assert cloud.function("connect")(sample("connect.token-in-header")) == ACCEPTED
    assert audiences_of(cloud, CALLS) == {"calls/123"}


def test_a_client_that_watches_users_subscribes_to_them_alone(cloud: Cloud) -> None:
    cloud.function("connect")(sample("connect.watching"))
    assert audiences_of(cloud, "RfGx9eWboAMCLrQ=") == {"presence/123", "presence/789"}


def test_all_connections_of_a_user_make_one_presence(cloud: Cloud) -> None:
    connect = cloud.function("connect")
    for name in ("connect.token-in-query", "connect.token-in-subprotocol", "connect.token-in-header"):
        connect(sample(name))
    assert cloud.user()["connection_ids"] == {FEED, NOTIFICATIONS, CALLS}
    assert cloud.user()["is_online"] is True


REFUSALS = [
    ("connect.token-missing", "AUTH_FAILED", "Invalid or expired token", 401),
    ("connect.token-expired", "AUTH_FAILED", "Invalid or expired token", 401),
    ("connect.scope-missing", "PERMISSION_DENIED", "Insufficient permissions", 403),
]


@pytest.mark.parametrize(("name", "code", "message", "_status"), REFUSALS)
def test_a_refused_client_gets_the_reason_in_a_last_frame(
    cloud: Cloud, name: str, code: str, message: str, _status: int
) -> None:
    event = sample(name)
    assert cloud.function("connect")(event) == ACCEPTED
    context = event["requestContext"]
    (entry,) = farewells(cloud)
    assert entry["audience"] == f"connection/{context['connectionId']}"
    assert (entry["endpoint"], entry["close"]) == (context["stage"], True)
    assert entry["message"]["type"] == "error"
    assert entry["message"]["data"] == {"code": code, "message": message}


@pytest.mark.parametrize(("name", "_code", "_message", "status"), REFUSALS)
def test_a_refused_client_gets_a_status_in_handshake_mode(
    cloud: Cloud, name: str, _code: str, _message: str, status: int
) -> None:
    connect = cloud.function("connect", RejectionMode="handshake")
    assert connect(sample(name)) == {"statusCode": status, "headers": {}}
    assert cloud.rows("Events") == []


@pytest.mark.parametrize("mode", ["frame", "handshake"])
@pytest.mark.parametrize("name", [name for name, *_ in REFUSALS])
def test_a_refused_client_is_never_registered(cloud: Cloud, name: str, mode: str) -> None:
    cloud.function("connect", RejectionMode=mode)(sample(name))
    assert cloud.rows("Connections") == cloud.rows("Users") == []


def test_at_the_limit_a_newcomer_is_let_in_and_the_deadest_connection_is_told_and_closed(cloud: Cloud) -> None:
    connect = cloud.function("connect", MaxConnectionsPerUser=2)
    for name in ("connect.token-in-query", "connect.token-in-subprotocol", "connect.token-in-header"):
        assert connect(sample(name))["statusCode"] == 200
    (gone,) = {FEED, NOTIFICATIONS} - cloud.user()["connection_ids"]
    assert cloud.user()["connection_ids"] == {FEED, NOTIFICATIONS, CALLS} - {gone}
    assert {row["connection_id"] for row in cloud.rows("Connections")} == cloud.user()["connection_ids"]
    (entry,) = farewells(cloud)
    assert (entry["audience"], entry["close"], entry["reach"]) == (f"connection/{gone}", True, "narrow")
    data = entry["message"]["data"]
    assert data == {"code": "CONNECTION_LIMIT", "message": "Replaced by a newer connection"}


def test_with_the_policy_reject_a_connection_over_the_limit_is_refused_and_the_others_stay(cloud: Cloud) -> None:
    connect = cloud.function("connect", MaxConnectionsPerUser=2, MaxConnectionsPolicy="reject")
    for name in ("connect.token-in-query", "connect.token-in-subprotocol", "connect.token-in-header"):
        assert connect(sample(name))["statusCode"] == 200
    (entry,) = farewells(cloud)
    assert entry["message"]["data"] == {"code": "CONNECTION_LIMIT", "message": "Maximum connections reached"}
    assert entry["audience"] == f"connection/{CALLS}"
    assert cloud.user()["connection_ids"] == {FEED, NOTIFICATIONS}
    assert audiences_of(cloud, CALLS) == set()


def test_a_connection_over_the_limit_gets_429_in_handshake_mode(cloud: Cloud) -> None:
    connect = cloud.function(
        "connect", MaxConnectionsPerUser=1, RejectionMode="handshake", MaxConnectionsPolicy="reject"
    )
    connect(sample("connect.token-in-query"))
    assert connect(sample("connect.token-in-header"))["statusCode"] == 429


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"types": "call_started"}, "types: feed has no call_started; it has listener_available, listener_busy, "),
        ({"batch": "yes"}, "batch: must be true or false"),
        ({"watch": "a b"}, "user_ids: each must be a whole number, or 1 to 128 characters"),
    ],
)
def test_an_invalid_parameter_is_refused_with_the_reason(cloud: Cloud, query: dict[str, str], message: str) -> None:
    event = sample("connect.token-in-query")
    event["queryStringParameters"] |= query
    cloud.function("connect")(event)
    (entry,) = farewells(cloud)
    assert entry["message"]["data"]["code"] == "BAD_REQUEST"
    assert entry["message"]["data"]["message"].startswith(message)
    assert cloud.rows("Users") == []


def test_a_single_bare_secret_verifies_tokens(cloud: Cloud) -> None:
    operator("ssm").put_parameter(Name=TOKEN_KEYS, Value=SECRET, Type="SecureString", Overwrite=True)
    assert cloud.function("connect", RejectionMode="handshake")(sample("connect.token-in-query"))["statusCode"] == 200


def test_secrets_may_be_kept_in_secrets_manager(cloud: Cloud) -> None:
    arn = operator("secretsmanager").create_secret(Name="token-keys", SecretString=SECRET)["ARN"]
    connect = cloud.function("connect", RejectionMode="handshake", TokenKeys="", TokenKeysSecretArn=arn)
    operator("ssm").delete_parameter(Name=TOKEN_KEYS)
    assert connect(sample("connect.token-in-query"))["statusCode"] == 200


def test_a_missing_secret_is_answered_500_and_named_in_the_log(cloud: Cloud, logged: LogLines) -> None:
    operator("ssm").delete_parameter(Name=TOKEN_KEYS)
    assert cloud.function("connect")(sample("connect.token-in-query")) == {"statusCode": 500, "headers": {}}
    (line,) = logged.lines
    assert line["level"] == "ERROR"
    assert f"reading the token keys {TOKEN_KEYS}: ParameterNotFound" in line["reason"]
    assert cloud.rows("Events") == []


@pytest.mark.parametrize("name", names("connect"))
def test_connect_logs_no_token(cloud: Cloud, logged: LogLines, capfd: pytest.CaptureFixture[str], name: str) -> None:
    cloud.function("connect")(sample(name))
    output = logged.text + "".join(capfd.readouterr())
    tokens = {sample("connect.token-in-query")["queryStringParameters"]["token"]}
    tokens |= {(sample(name).get("queryStringParameters") or {}).get("token", "eyJ")}
    assert len(logged.lines) == 1
    assert not any(part in output for token in tokens for part in token.split(".") if part)


def test_past_its_addresss_rate_a_stranger_is_refused_at_once_and_costs_nothing(cloud: Cloud) -> None:
    connect = cloud.function("connect", RefusalRate=1, RefusalBurst=2)
    statuses = [connect(sample("connect.token-missing"))["statusCode"] for _ in range(5)]
    assert statuses == [200, 200, 429, 429, 429]
    assert len(cloud.messages("Farewells")) == 2
    elsewhere = sample("connect.token-missing")
    elsewhere["requestContext"]["identity"]["sourceIp"] = "2001:db8::1"
    assert connect(elsewhere)["statusCode"] == 200
    assert connect(sample("connect.token-in-query"))["statusCode"] == 200  # no stranger


def test_an_addresss_rate_holds_over_all_function_instances(cloud: Cloud, clock: Clock) -> None:
    few = {"RefusalRate": 1, "RefusalBurst": 2}
    for status in (200, 200, 429):
        assert cloud.function("connect", **few)(sample("connect.token-missing"))["statusCode"] == status
    clock.now += 1
    assert cloud.function("connect", **few)(sample("connect.token-missing"))["statusCode"] == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://app.example.com", 200),
        ("HTTPS://APP.example.com", 200),
        (None, 200),  # no browser
        ("https://evil.example.com", 403),
        ("https://app.example.com.evil.example", 403),
        ("http://app.example.com", 403),
        ("null", 403),  # a page of a file, or in a sandbox
        ("", 403),
    ],
)
def test_where_origins_are_listed_pages_of_others_are_refused(
    cloud: Cloud, logged: LogLines, origin: str | None, status: int
) -> None:
    event = sample("connect.token-in-query")
    del event["headers"]["Origin"]
    if origin is not None:
        event["headers"]["Origin"] = origin
    listed = "https://app.example.com,http://localhost:8080"
    assert cloud.function("connect", AllowedOrigins=listed, RejectionMode="handshake")(event)["statusCode"] == status
    assert logged.lines[-1].get("code") == (None if status == 200 else "PERMISSION_DENIED")


def test_where_no_origins_are_listed_any_page_may_connect(cloud: Cloud) -> None:
    event = sample("connect.token-in-query")
    event["headers"]["Origin"] = "https://evil.example.com"
    assert cloud.function("connect", RejectionMode="handshake")(event)["statusCode"] == 200
