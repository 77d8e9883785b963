"""`realtime forget`: after a story in which a user appears wherever the service may store them, nothing names them."""

from __future__ import annotations

import json
import time
import zlib
from collections import Counter
from functools import partial
from typing import Any

import jwt
import pytest

from operate import redrive
from operate.errors import CommandError
from operate.forgetting import FAILURES, MOST_SCANS, Erasure
from operate.mentions import Mentions
from realtime.audiences import direct
from realtime.everyone import Shown, pack
from realtime.tables import TableNames, Tables
from realtime.tables.posted import LastPosted
from realtime.tables.session_scan import Progress
from tests.integration.test_story import RunningFunctions
from tests.samples import KEY_ID, SECRET, backend_event, sample
from tests.support.cloud import STORY_BEGINS, Cloud

ALL = ("Connections", "Users", "Blocks", "Events")
NAMES = TableNames("ConnectionsTable", "UsersTable", "EventsTable", "BlocksTable")
NOW = STORY_BEGINS * 1000
OTHER, THIRD = 555, 777
CALL = {"call_type": "audio", "status": "ongoing"}


class Story:
    """A user, whom the service comes to know in every way that it has."""

    def __init__(self, functions: RunningFunctions, user: int | str) -> None:
        self.functions, self.cloud, self.user = functions, functions.cloud, user
        self.tables = Tables(functions.cloud.dynamodb, NAMES)
        self._count = 0

    def connects(self, user: int | str, stage: str, connection_id: str, **parameters: str) -> None:
        """Connect a listener."""
        claims = {"sub": str(user), "username": f"name of {user}", "role": "listener", "exp": 4_102_444_800}
        event = sample("connect.token-in-query")
        event["requestContext"] |= {"connectionId": connection_id, "stage": stage}
        token = jwt.encode(claims, SECRET, headers={"kid": KEY_ID})
        event["queryStringParameters"] = {"token": token, **parameters}
        self.functions.run("connect", event)

    def leaves(self, connection_id: str) -> None:
        """End a connection."""
        event = sample("disconnect")
        event["requestContext"]["connectionId"] = connection_id
        self.functions.run("disconnect", event)

    def reports(self, kind: str, detail: dict[str, Any], **delivery: Any) -> None:
        """Put a backend's event."""
        self._count += 1
        event = backend_event("call_started") | {"id": f"event-{self._count}", "detail-type": kind}
        event["detail"] = {**detail, **({"delivery": delivery} if delivery else {})}
        self.functions.run("ingest", event)

    def watches(self, connection_id: str, *user_ids: int | str) -> None:
        """Have a connection watch users by a frame."""
        event = sample("default.watch")
        event["requestContext"] |= {"connectionId": connection_id, "stage": "presence"}
        event["body"] = json.dumps({"type": "watch", "data": {"user_ids": user_ids}})
        self.functions.run("default", event)

    def unfolds(self) -> None:
        """Do all of it."""
        user, cloud = self.user, self.cloud
        self.connects(user, "feed", "mine=")
        self.connects(user, "live", "mine-too=")
        self.connects(OTHER, "presence", "theirs=", watch=f"{user},{THIRD}")
        self.connects(THIRD, "live", "watching=")
        self.watches("theirs=", user)
        self.reports("call_started", {"call_id": 1, "user_id": OTHER, "listener_id": user, **CALL})
        self.reports("call_started", {"call_id": 2, "user_id": user, "listener_id": THIRD, **CALL})
        self.reports("call_ended", {"call_id": 2, "user_id": user, "listener_id": THIRD})
        self.reports("favorite_added", {"user_id": user, "username": "x"}, to=[OTHER], ack_within=60)
        self.reports("favorite_added", {"user_id": OTHER, "username": "x"}, to=[user, THIRD], ack_within=60)
        self.reports("user_blocked", {"user_id": OTHER, "username": "x"}, to=[user])
        self.reports("user_blocked", {"user_id": user, "username": "x"}, to=[OTHER, THIRD])
        self.reports("user_blocked", {"user_id": THIRD, "username": "x"}, to=[user, *range(100, 130)])
        self.reports("system_notification", {"text": "hello", "referrer_id": user}, to=[THIRD])
        self.reports("status_change", {"user_id": user, "is_busy": True})
        tables, named = self.tables, str(user)
        tables.rates.take_of_user(named, 100, 1000, NOW)
        tables.posted.write({f"calls/{user}": LastPosted("position", "id")}, STORY_BEGINS)
        known = tables.users.get(named)
        assert known
        tables.views.write(pack([Shown.of(known)]), NOW)
        tables.views.write(pack([]), NOW)
        tables.stragglers.add(["mine= token", "theirs= token"], STORY_BEGINS)
        tables.session_scan.keep(Progress(users={"online_shard": "1", "user_id": named}), NOW)
        for queue, body in {
            "RejectedEvents": {"detail": {"user_id": user}},
            "FailedEvents": {"detail": {"user_id": THIRD, "delivery": {"to": [1, user]}}},
            "UndeliveredEvents": {"detail": {"user_id": THIRD}},
            "StreamFailures": {"keys": {"audience": {"S": f"calls/{user}"}, "event_id": {"S": "x"}}},
            "DeadlinesDeadLetter": {"check": "acknowledged", "user_ids": [str(user)]},
            "LateDeadLetter": {"connection_id": "mine=", "frames": [["{}", None]]},
        }.items():
            url = cloud.stack.physical[f"{queue}Queue"]
            cloud.sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))

    def erasure(self) -> Erasure:
        """Return what the command works with."""
        failures = {name: self.cloud.stack.physical[f"{name}Queue"] for name in FAILURES}
        return Erasure(self.cloud.dynamodb, self.cloud.sqs, NAMES, failures, str(self.user))

    def traces(self) -> list[str]:
        """Return all items and messages in which the user's id, or a connection of theirs, appears as text."""
        found = [f"{table}: {_as_text(row)}" for table in ALL for row in self.cloud.rows(table)]
        for name in FAILURES:
            url = self.cloud.stack.physical[f"{name}Queue"]
            answer = self.cloud.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
            found += [f"{name}: {each['Body']}" for each in answer.get("Messages", ())]
        return [text for text in found if str(self.user) in text or "mine" in text]


def _as_text(row: dict[str, Any]) -> str:
    shown = zlib.decompress(bytes(row["rows"])).decode() if "rows" in row else ""
    return f"{row} {shown}"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for messages, of which moto shows all at once."""
    monkeypatch.setattr(redrive, "receive", partial(redrive.receive, wait_seconds=0))


def test_nothing_names_a_user_who_was_forgotten(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(RunningFunctions(cloud), 847_362_514)
    story.unfolds()
    erasure = story.erasure()
    streams_pass = Counter[str]()

    def pause(_seconds: float) -> None:
        """Let announce tell of what the erasure has changed, as it does meanwhile."""
        changes = [each for each in cloud.stream("Users") if each["eventName"] != "REMOVE"]
        streams_pass["changes"] += len(changes)
        if changes:
            cloud.function("announce")({"Records": changes})

    before = {table: cloud.rows(table) for table in ALL}
    would = erasure.find()
    assert {table: cloud.rows(table) for table in ALL} == before, "it changes nothing"
    assert len(story.traces()) > 30
    for connection_id in ("mine=", "mine-too="):
        story.leaves(connection_id)
    story.functions.check()
    monkeypatch.setattr(time, "sleep", pause)
    erasure.wait_until_offline()
    erased = erasure.erase()

    assert story.traces() == []
    assert streams_pass["changes"] > 0
    assert would.keys() - erased.keys() == {"connections"}, "they have ended by themselves"
    assert would.keys() == {
        "blocks",
        "calls",
        "connections",
        "events",
        "messages of failures",
        "others' blocks",
        "others' watching",
        "user",
        "views",
    }
    assert would["messages of failures"] == erased["messages of failures"] == 5
    assert erasure.erase() == Counter()
    others = {str(OTHER), str(THIRD)}
    assert {row["user_id"] for row in cloud.rows("Users")} == others
    assert all("busy_calls" not in row for row in cloud.rows("Users")), "the open call was ended for the other"
    sessions = {row["connection_id"] for row in cloud.rows("Connections") if row["audience"].startswith("connection/")}
    assert sessions == {"theirs=", "watching="}
    assert cloud.audiences_of("theirs=") == {direct("theirs="), "watched", f"presence/{THIRD}"}
    kept = {row["audience"] for row in cloud.rows("Events")}
    assert f"notifications/{THIRD}" in kept, "what names the user no more than by being sent to them as well"


def test_a_user_who_comes_back_all_the_time_cannot_be_forgotten(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    story, scans = Story(RunningFunctions(cloud), 847_362_514), Counter[str]()

    def pause(_seconds: float) -> None:
        scans["all"] += 1
        cloud.dynamodb.put_item(TableName="UsersTable", Item={"user_id": {"S": "847362514"}})

    pause(0)
    monkeypatch.setattr(time, "sleep", pause)
    with pytest.raises(CommandError, match="have the backends stop"):
        story.erasure().erase()
    assert scans["all"] == MOST_SCANS + 1


def test_a_ghost_is_ended_before_its_user_is_forgotten(cloud: Cloud) -> None:
    story = Story(RunningFunctions(cloud), 847_362_514)
    story.connects(story.user, "feed", "mine=")
    story.erasure().wait_until_offline(within_s=0)
    assert cloud.user("847362514")["is_online"] is False
    assert cloud.rows("Connections") == []
    changes = cloud.stream("Users")
    assert changes, "others are told"


def test_only_ids_under_keys_that_hold_ids_name_a_user() -> None:
    mentions = Mentions("123", frozenset({"c="}))
    assert mentions.in_json('{"user_id": 123}')
    assert mentions.in_json('{"user_id": 123.0}')
    assert mentions.in_json('{"detail": {"delivery": {"to": [5, "123"]}}}')
    assert mentions.in_json('{"body": "{\\"listener_id\\": \\"123\\"}"}')
    assert mentions.in_json('{"keys": {"user_id": {"S": "123"}}}')
    assert mentions.in_json('{"x": "posted/calls/123"}')
    assert mentions.in_json('["c="]')
    assert not mentions.in_json('{"call_id": 123, "amount": 123, "text": "123", "connection_id": "x="}')
    assert not mentions.in_json('{"user_id": 1234, "to": "everyone", "note": "calls/1234"}')
    assert not mentions.in_json("not JSON")
    assert not mentions.in_name("call/123")
    assert not mentions.in_name("ingested/123")
