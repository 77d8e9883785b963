"""`realtime redrive`: from the stream's mapping to the queue of failures, and back into the stream."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from operate.redrive import Names, Redrive, Step, parse, receive_all
from realtime.records import read_record
from realtime.tables.entries import Change, Entry, Message
from tests.model.tables import Change as TableChange
from tests.model.tables import Tables
from tests.support.fake_sqs import FakeSqs
from tests.support.stream_mapping import RETENTION_SECONDS, Settings, Stream, StreamMapping

QUEUE = "https://sqs.us-east-1.amazonaws.com/123456789012/StreamFailures"
ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/EventsTable/stream/2024-01-01T00:00:00.000"
NAMES = Names(QUEUE, events_table="EventsTable", users_table="UsersTable", announce="announce")
SETTINGS = Settings(
    maximum_retry_attempts=1,
    takes_reports=True,
    on_failure=True,
    filters=({"eventName": ["INSERT", "MODIFY"], "dynamodb": {"NewImage": {"reach": {"S": ["narrow", "both"]}}}},),
)


class RedriveFixture:
    """The Events table, its stream and mapping, and a function that fails until it is repaired."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        tables.on_change = self._changed
        self.stream = Stream(ARN, "audience", now=1_705_314_600.0)
        self.mapping = StreamMapping(self.stream, SETTINGS, self._invoke)
        self.sqs = FakeSqs()
        self.is_broken = True
        self.heard: list[str] = []
        self._sent = 0

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        """Stand for the client of DynamoDB."""
        return lambda **request: self.tables.call(operation, request)

    def record(self, *names: str) -> None:
        for name in names:
            item = Entry("calls/123", name, "call_started", f'{{"id":"{name}"}}', 1_705_401_000).as_item()
            self.tables.call("put_item", {"TableName": "EventsTable", "Item": item})

    def settle(self) -> None:
        """Process the whole stream, and send the records that were given up to the queue."""
        self.mapping.drain()
        for failure in self.mapping.discarded[self._sent :]:
            self.sqs.send(json.dumps(failure))
        self._sent = len(self.mapping.discarded)

    def redrive(self, *, dry_run: bool = False) -> list[Step]:
        sqs, streams, dynamodb, functions = cast("tuple[Any, Any, Any, Any]", (self.sqs, self.stream, self, self))
        (failures,) = receive_all(sqs, NAMES.queue_url)
        return list(Redrive(sqs, streams, dynamodb, functions, NAMES).run(failures, dry_run=dry_run))

    def change_user(self, user_id: str, *versions: int) -> dict[str, Any]:
        """Put changes of a user into the Users stream, and return the message that `announce` gave up on them."""
        keys = {"user_id": {"S": user_id}}
        self.stream = Stream(ARN.replace("Events", "Users"), "user_id", now=self.stream.now)
        records = [self.stream.put("MODIFY", keys, {**keys, "version": {"N": str(each)}}) for each in versions]
        self.stream.put("REMOVE", keys, None)
        (shard_id,) = self.stream.shards
        info = {
            "shardId": shard_id,
            "startSequenceNumber": records[0]["dynamodb"]["SequenceNumber"],
            "endSequenceNumber": f"{int(records[-1]['dynamodb']['SequenceNumber']) + 1}",
            "streamArn": self.stream.arn,
        }
        return {"requestContext": {"condition": "RetryAttemptsExhausted"}, "DDBStreamBatchInfo": info}

    def invoke(self, **request: Any) -> dict[str, Any]:
        """Stand for the client of Lambda."""
        assert (request["FunctionName"], request["Qualifier"]) == ("announce", "live")
        (record,) = json.loads(request["Payload"])["Records"]
        if self.is_broken:
            return {"FunctionError": "Unhandled"}
        self.heard.append(record["dynamodb"]["NewImage"]["version"]["N"])
        return {"StatusCode": 200}

    def _invoke(self, event: dict[str, Any]) -> None:
        if self.is_broken:
            raise ValueError("broken")
        self.heard += [entry.event_id for record in event["Records"] for entry in read_record(record, "narrow")]

    def _changed(self, change: TableChange) -> None:
        keys = {name: (change.new or change.old or {})[name] for name in ("audience", "event_id")}
        name = "INSERT" if not change.old else "MODIFY" if change.new else "REMOVE"
        self.stream.put(name, keys, change.new)


@pytest.fixture(scope="module")
def made_tables() -> Tables:
    return Tables()


@pytest.fixture
def fixture(made_tables: Tables) -> RedriveFixture:
    made_tables.on_change = lambda change: None
    made_tables.wipe()
    return RedriveFixture(made_tables)


def texts(steps: list[Step]) -> list[str]:
    return [step.text for step in steps]


def test_events_that_were_given_up_are_heard_after_the_function_is_repaired(fixture: RedriveFixture) -> None:
    fixture.record("a", "b")
    fixture.settle()
    fixture.record("c")
    fixture.settle()
    fixture.is_broken = False
    assert texts(fixture.redrive()) == [f"redriven: calls/123 {name}" for name in "abc"]
    fixture.settle()
    assert fixture.heard == ["a", "b", "c"]
    assert len(fixture.sqs) == 0


def test_a_change_of_presence_that_was_given_up_is_heard_by_those_who_watch(fixture: RedriveFixture) -> None:
    message = Message("018d0cabc5d09d700803fd29b9ab", "listener_online", "{}")
    change = Change("presence/*/0", "123", {"feed": message}, 1_705_401_000, is_for_watchers=True)
    fixture.tables.call("put_item", {"TableName": "EventsTable", "Item": change.as_item()})
    fixture.settle()
    fixture.is_broken = False
    assert texts(fixture.redrive()) == [f"redriven: presence/*/0 {message.event_id}"]
    fixture.settle()
    assert fixture.heard == [message.event_id]


def test_a_redrive_can_be_repeated(fixture: RedriveFixture) -> None:
    fixture.record("a")
    fixture.settle()
    fixture.redrive()
    fixture.settle()  # the function is still broken
    assert len(fixture.sqs) == 1
    fixture.is_broken = False
    fixture.redrive()
    fixture.settle()
    assert fixture.heard == ["a"]


def test_a_redrive_reads_several_pages_of_the_stream_and_of_the_queue(fixture: RedriveFixture) -> None:
    names = [f"{number:03}" for number in range(40)]
    for start in range(20):
        fixture.record(names[start])
        fixture.settle()
    fixture.record(*names[20:])
    fixture.settle()
    assert len(fixture.sqs) == 21
    fixture.is_broken = False
    assert len(fixture.redrive()) == 40
    fixture.settle()
    assert fixture.heard == names


def test_overlapping_failures_are_redriven_once(fixture: RedriveFixture) -> None:
    fixture.record("a", "b")
    fixture.settle()
    (body,) = fixture.sqs.messages.values()
    fixture.sqs.send(body)
    assert len(fixture.redrive()) == 2
    assert len(fixture.sqs) == 0


def test_a_dry_run_changes_nothing(fixture: RedriveFixture) -> None:
    fixture.record("a")
    fixture.settle()
    shown = sum(map(len, fixture.stream.shards.values()))
    assert texts(fixture.redrive(dry_run=True)) == ["would redrive: calls/123 a"]
    assert sum(map(len, fixture.stream.shards.values())) == shown
    assert len(fixture.sqs) == 1
    assert not fixture.sqs.hidden


def test_an_expired_item_is_not_created_again(fixture: RedriveFixture) -> None:
    fixture.record("a")
    fixture.settle()
    fixture.tables.call(
        "delete_item", {"TableName": "EventsTable", "Key": {"audience": {"S": "calls/123"}, "event_id": {"S": "a"}}}
    )
    assert texts(fixture.redrive()) == ["no longer in the history: calls/123 a"]
    assert fixture.tables.all("EventsTable") == []
    assert len(fixture.sqs) == 0


def test_a_failure_that_the_stream_no_longer_holds_stays_in_the_queue(fixture: RedriveFixture) -> None:
    fixture.record("a")
    fixture.settle()
    fixture.stream.now += RETENTION_SECONDS + 60
    (step,) = fixture.redrive()
    assert step.left
    assert "24 hours" in step.text
    assert len(fixture.sqs) == 1
    assert not fixture.sqs.hidden


def test_changes_of_users_are_announced_again(fixture: RedriveFixture) -> None:
    fixture.sqs.send(json.dumps(fixture.change_user("123", 4, 5)))
    fixture.is_broken = False
    assert texts(fixture.redrive(dry_run=True)) == ["would announce again: what changed of user 123"] * 2
    assert fixture.heard == []
    assert texts(fixture.redrive()) == ["announced again: what changed of user 123"] * 2
    assert fixture.heard == ["4", "5"]
    assert len(fixture.sqs) == 0


def test_changes_that_cannot_be_announced_stay_in_the_queue(fixture: RedriveFixture) -> None:
    fixture.sqs.send(json.dumps(fixture.change_user("123", 4)))
    (step,) = fixture.redrive()
    assert step.left
    assert "realtime logs announce" in step.text
    assert len(fixture.sqs) == 1
    assert not fixture.sqs.hidden


def test_a_failure_of_another_deployment_stays_in_the_queue(fixture: RedriveFixture) -> None:
    fixture.record("a")
    fixture.settle()
    (receipt, body) = fixture.sqs.messages.popitem()
    fixture.sqs.messages[receipt] = body.replace("table/EventsTable/", "table/OtherTable/")
    (step,) = fixture.redrive()
    assert step.left
    assert "OtherTable" in step.text
    assert len(fixture.sqs) == 1


@pytest.mark.parametrize(
    ("keys", "name"),
    [({"audience": {"S": "calls/123"}, "event_id": {"S": "a"}}, "calls/123 a"), ({"user_id": {"S": "123"}}, "123")],
)
def test_an_item_that_a_function_gave_up_stays_in_the_queue_and_is_named(
    fixture: RedriveFixture, keys: dict[str, Any], name: str
) -> None:
    fixture.sqs.send(json.dumps({"keys": keys, "sequence_number": "1"}))
    (step,) = fixture.redrive()
    assert step.left
    assert f"left: {name}: a function gave this item up" in step.text
    assert len(fixture.sqs) == 1


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"keys":null}', '{"DDBStreamBatchInfo":{}}', '{"DDBStreamBatchInfo":null}']
)
def test_other_messages_stay_in_the_queue(fixture: RedriveFixture, body: str) -> None:
    fixture.sqs.send(body)
    (step,) = fixture.redrive()
    assert step.left
    assert len(fixture.sqs) == 1
    assert parse("receipt", body) is None


def test_an_error_that_is_no_loss_is_raised(fixture: RedriveFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> Any:
        response: Any = {"Error": {"Code": "AccessDeniedException", "Message": "no"}}
        raise ClientError(response, "GetShardIterator")

    fixture.record("a")
    fixture.settle()
    monkeypatch.setattr(fixture.stream, "get_shard_iterator", refuse)
    with pytest.raises(ClientError, match="AccessDenied"):
        fixture.redrive()
    assert len(fixture.sqs) == 1
