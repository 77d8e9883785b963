"""Events pass from one function to the next through the streams: the management API alone is a fake."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest

from tests.samples import KEY_ID, SECRET, backend_event, sample
from tests.support.cloud import Cloud, for_broadcast
from tests.unit.fakes import Clock, FakePoster

FEED, NOTIFICATIONS, CALLS = "RfGx1dQAIAMCIhA=", "RfGx4fHqoAMCJ0g=", "RfGx7cN9IAMCKtw="
OTHER = jwt.encode(
    {"sub": "789", "username": "john_doe", "role": "listener", "exp": 4_102_444_800}, SECRET, headers={"kid": KEY_ID}
)


class RunningFunctions:
    """The functions, and the streams between them."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def run(self, name: str, event: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """Invoke a function, and all functions that its writes trigger; return the messages of each connection."""
        self.cloud.poster = FakePoster()
        self.cloud.function(name)(event)
        changes = self.cloud.stream("Users")
        if changes:
            self.cloud.function("announce", GracePeriodSeconds=0)({"Records": changes})
        entries = self.cloud.stream("Events")
        for function, shown in for_broadcast(entries).items():
            self.cloud.function(function)({"Records": shown})
        (record,) = sample("farewell.refused")["Records"]
        farewells = [{**record, "body": message["Body"]} for message in self.cloud.messages("Farewells")]
        if farewells:
            self.cloud.function("farewell")({"Records": farewells})
        return {
            each.connection_id: [json.loads(frame.body) for frame in each.frames]
            for each in self.cloud.poster.deliveries
        }

    def check(self) -> dict[str, list[dict[str, Any]]]:
        """Do the checks that were ordered."""
        records = []
        for message in self.cloud.messages("Deadlines"):
            (record,) = sample("deadlines.offline")["Records"]
            records.append({**record, "body": message["Body"]})
        return self.run("deadlines", {"Records": records})


@pytest.fixture
def functions(cloud: Cloud) -> RunningFunctions:
    return RunningFunctions(cloud)


def types(heard: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    return {connection_id: [message["type"] for message in messages] for connection_id, messages in heard.items()}


def test_a_listener_with_two_devices_comes_and_goes_once(functions: RunningFunctions, clock: Clock) -> None:
    heard = functions.run("connect", sample("connect.token-in-query"))
    assert types(heard) == {FEED: ["listener_online"]}
    assert functions.run("connect", sample("connect.token-in-header")) == {}
    away = sample("disconnect")
    away["requestContext"]["connectionId"] = CALLS
    assert functions.run("disconnect", away) == {}
    assert functions.check() == {}
    assert [event["detail-type"] for event in functions.cloud.told()] == ["user_online"]

    watcher = sample("connect.token-in-query")
    watcher["requestContext"]["connectionId"] = "watcher"
    watcher["queryStringParameters"]["token"] = OTHER
    functions.run("connect", watcher)
    assert functions.run("disconnect", sample("disconnect")) == {}
    clock.now += 10
    heard = functions.check()
    assert types(heard) == {"watcher": ["listener_offline"]}
    assert heard["watcher"][0]["data"]["user_id"] == 123
    told = [(event["detail-type"], event["detail"]["user_id"]) for event in functions.cloud.told()]
    assert told == [("user_online", 789), ("user_offline", 123)]


def test_a_call_reaches_its_participants_and_makes_them_busy(functions: RunningFunctions) -> None:
    functions.run("connect", sample("connect.token-in-query"))
    functions.run("connect", sample("connect.token-in-header"))
    heard = functions.run("ingest", backend_event("call_started"))
    assert heard[CALLS][0]["data"] == {
        "call_id": 456,
        "user_id": 123,
        "listener_id": 789,
        "call_type": "audio",
        "status": "ongoing",
    }
    assert types(heard) == {CALLS: ["call_started"], FEED: ["listener_busy"]}
    assert heard[FEED][0]["data"]["is_busy"] is True
    assert types(functions.run("ingest", backend_event("call_billing"))) == {CALLS: ["call_billing"]}
    heard = functions.run("ingest", backend_event("call_ended"))
    assert types(heard) == {CALLS: ["call_ended"], FEED: ["listener_available"]}


def test_a_notification_reaches_its_recipient_only(functions: RunningFunctions) -> None:
    event = sample("connect.token-in-subprotocol")
    event["queryStringParameters"] = {}
    functions.run("connect", event)
    assert functions.run("ingest", backend_event("favorite_added")) == {}  # it is for 789
    mine = backend_event("favorite_removed")
    mine["detail"] |= {"user_id": 789, "delivery": {"to": [123]}}
    assert types(functions.run("ingest", mine)) == {NOTIFICATIONS: ["favorite_removed"]}
    assert types(functions.run("ingest", backend_event("system_notification"))) == {
        NOTIFICATIONS: ["system_notification"]
    }


def test_a_blocked_user_no_longer_hears_of_the_listener(functions: RunningFunctions) -> None:
    watcher = sample("connect.token-in-query")
    watcher["requestContext"]["connectionId"] = "watcher"
    watcher["queryStringParameters"]["token"] = OTHER
    functions.run("connect", watcher)
    assert types(functions.run("connect", sample("connect.token-in-query")))["watcher"] == ["listener_online"]
    functions.run("ingest", backend_event("user_blocked"))
    assert types(functions.run("ingest", backend_event("status_change"))) == {FEED: ["listener_busy"]}
    functions.run("ingest", backend_event("user_unblocked"))
    available = backend_event("status_change")
    available |= {"id": "another", "detail": {"user_id": 123, "is_busy": False}}
    assert set(functions.run("ingest", available)) == {FEED, "watcher"}


def test_a_revoked_user_gets_an_error_is_closed_and_set_offline(functions: RunningFunctions) -> None:
    functions.run("connect", sample("connect.token-in-query"))
    heard = functions.run("ingest", backend_event("session_revoked"))
    assert heard[FEED][0]["data"] == {"code": "AUTH_FAILED", "message": "Session revoked"}
    assert functions.cloud.poster.to(FEED).close


def test_a_refused_client_hears_why_and_nothing_else(functions: RunningFunctions) -> None:
    heard = functions.run("connect", sample("connect.token-expired"))
    assert heard[FEED][0]["data"] == {"code": "AUTH_FAILED", "message": "Invalid or expired token"}
    assert functions.cloud.poster.to(FEED).close
    assert functions.run("ingest", backend_event("system_notification")) == {}
