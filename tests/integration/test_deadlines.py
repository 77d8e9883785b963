"""deadlines, from the delay queue to the rows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realtime.aws import retries
from realtime.errors import Unavailable
from realtime.tables.users import Users
from tests.logs import LogLines
from tests.samples import sample
from tests.support.cloud import STORY_BEGINS, Cloud
from tests.unit.fakes import Clock

DONE: dict[str, Any] = {"batchItemFailures": []}
LEFT = STORY_BEGINS + 90  # when the sample's user left


@pytest.fixture
def left(cloud: Cloud, clock: Clock) -> Cloud:
    """Connect and disconnect jane_smith as the samples say."""
    cloud.function("connect")(sample("connect.token-in-query"))
    clock.now = LEFT
    cloud.function("disconnect")(sample("disconnect"))
    cloud.stream("Users")
    clock.now = LEFT + 10.25
    return cloud


def test_a_user_who_stays_away_for_the_grace_period_is_offline(left: Cloud) -> None:
    assert left.function("deadlines")(sample("deadlines.offline")) == DONE
    user = left.user()
    assert (user["is_online"], user["version"], user["last_seen"]) == (False, 2, LEFT * 1000)
    assert user["changed_at"] == int((LEFT + 10.25) * 1000)
    assert "online_shard" not in user


def test_the_sample_of_going_offline_is_what_the_check_writes(left: Cloud) -> None:
    left.function("deadlines")(sample("deadlines.offline"))
    (record,) = left.stream("Users")
    shown = sample("announce.went-offline")["Records"][0]["dynamodb"]
    assert record["dynamodb"]["NewImage"] == shown["NewImage"]
    assert record["dynamodb"]["OldImage"] == shown["OldImage"]


def test_a_user_who_came_back_stays_online_without_a_change(left: Cloud) -> None:
    left.function("connect")(sample("connect.token-in-header"))
    before = left.user()
    left.function("deadlines")(sample("deadlines.offline"))
    assert left.user() == before
    assert before["is_online"] is True


def test_a_user_who_came_back_and_left_again_has_another_grace_period(left: Cloud, clock: Clock) -> None:
    left.function("connect")(sample("connect.token-in-query"))
    left.function("disconnect")(sample("disconnect"))
    before = left.user()
    assert before["left_at"] > LEFT * 1000
    left.function("deadlines")(sample("deadlines.offline"))
    assert left.user() == before
    again = sample("deadlines.offline")
    again["Records"][0]["body"] = json.dumps({"check": "offline", "user_id": "123", "left_at": before["left_at"]})
    left.function("deadlines")(again)
    assert left.user()["is_online"] is False


def test_a_check_that_comes_twice_changes_nothing(left: Cloud, clock: Clock) -> None:
    deadlines = left.function("deadlines")
    deadlines(sample("deadlines.offline"))
    before = left.user()
    clock.now += 5
    deadlines(sample("deadlines.offline"))
    assert left.user() == before


def test_a_check_of_an_unknown_user_stores_nothing(cloud: Cloud) -> None:
    assert cloud.function("deadlines")(sample("deadlines.offline")) == DONE
    assert cloud.rows("Users") == []


def test_a_check_that_failed_goes_back_to_the_queue_alone(
    left: Cloud, logged: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadlines = left.function("deadlines")
    set_offline = Users.set_offline

    def sometimes(users: Users, user_id: str, left_at_ms: int, now_ms: int) -> bool:
        if user_id == "789":
            raise Unavailable("updating a user: ThrottlingException")
        return set_offline(users, user_id, left_at_ms, now_ms)

    monkeypatch.setattr(Users, "set_offline", sometimes)
    event: dict[str, Any] = sample("deadlines.offline")
    (record,) = event["Records"]
    failing = {**record, "messageId": "failing", "body": record["body"].replace("123", "789")}
    event["Records"] = [failing, record]
    assert deadlines(event) == {"batchItemFailures": [{"itemIdentifier": "failing"}]}
    assert left.user("123")["is_online"] is False
    assert [line["level"] for line in logged.lines] == ["ERROR", "INFO"]


@pytest.mark.parametrize("body", ["not JSON", "[]", "{}", '{"check": "offline", "user_id": "789"}'])
def test_a_message_that_cannot_be_read_holds_up_no_other(left: Cloud, body: str) -> None:
    event: dict[str, Any] = sample("deadlines.offline")
    (record,) = event["Records"]
    event["Records"] = [{**record, "messageId": "broken", "body": body}, record]
    assert left.function("deadlines")(event) == {"batchItemFailures": [{"itemIdentifier": "broken"}]}
    assert left.user("123")["is_online"] is False


def test_a_check_without_time_left_comes_again(left: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines = left.function("deadlines")
    monkeypatch.setattr(retries, "latest", lambda: 0.0)
    event = sample("deadlines.offline")
    failure = {"itemIdentifier": event["Records"][0]["messageId"]}
    assert deadlines(event) == {"batchItemFailures": [failure]}
    assert left.user()["is_online"] is True
