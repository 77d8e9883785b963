"""`realtime redrive` with a real queue, stream and table: clients hear the redriven events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

from harness.stack import Stack
from tests.samples import backend_event


def realtime(stack: Stack, *arguments: str) -> list[str]:
    """Run the console script, and return the lines that it prints."""
    command = [sys.executable, "-m", "operate.cli", *arguments]
    environment = {**os.environ, "REALTIME_STATE": str(stack.folder.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def give_up_on(stack: Stack, table_name: str, key: str, value: str) -> None:
    """Send the message that Lambda sends when it gives up on an item's records: the emulator would take an hour."""
    streams = stack.deployment.clients.dynamodb_streams()
    table = stack.aws("dynamodb").describe_table(TableName=stack.outputs[table_name])["Table"]
    arn = table["LatestStreamArn"]
    for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        for record in records_of(streams, arn, shard["ShardId"]):
            if record["Keys"][key]["S"] == value:
                info = {
                    "shardId": shard["ShardId"],
                    "startSequenceNumber": record["SequenceNumber"],
                    "endSequenceNumber": record["SequenceNumber"],
                    "batchSize": 1,
                    "streamArn": arn,
                }
                body = {"requestContext": {"condition": "RetryAttemptsExhausted"}, "DDBStreamBatchInfo": info}
                url = stack.outputs["StreamFailuresQueueUrl"]
                stack.aws("sqs").send_message(QueueUrl=url, MessageBody=json.dumps(body))


def records_of(streams: Any, arn: str, shard_id: str) -> list[dict[str, Any]]:
    """Return the records of a shard from its beginning to now."""
    place = streams.get_shard_iterator(StreamArn=arn, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON")
    iterator, found = place["ShardIterator"], []
    while iterator:
        page = streams.get_records(ShardIterator=iterator)
        if not page["Records"]:
            break
        found += [record["dynamodb"] for record in page["Records"]]
        iterator = page.get("NextShardIterator")
    return found


async def test_an_event_that_was_given_up_is_heard_when_it_is_put_through_again(stack: Stack) -> None:
    user = stack.new_user()
    detail = {"call_id": user, "user_id": user, "listener_id": stack.new_user(), "call_type": "audio"}
    async with stack.connect("calls", user) as client:
        stack.publish("call_started", {**detail, "status": "ongoing"})
        first = await client.hears("call_started")
        give_up_on(stack, "EventsTableName", "audience", f"calls/{user}")
        name = f"calls/{user} {first['id']}"
        assert f"would redrive: {name}" in realtime(stack, "redrive", "--dry-run")
        assert f"redriven: {name}" in realtime(stack, "redrive")
        assert await client.hears("call_started") == first
        assert f"redriven: {name}" not in realtime(stack, "redrive")


async def test_a_change_that_was_given_up_is_announced_when_it_is_put_through_again(stack: Stack) -> None:
    listener = stack.new_user()
    async with stack.connect("feed", stack.new_user()) as feed, stack.connect("calls", listener, role="listener"):
        first = await feed.hears(lambda it: it["data"].get("user_id") == listener)
        for entry in entries_about(stack, listener):  # as if it had never been announced
            stack.dynamodb.delete_item(TableName=stack.outputs["EventsTableName"], Key=entry)
        give_up_on(stack, "UsersTableName", "user_id", str(listener))
        assert f"announced again: what changed of user {listener}" in realtime(stack, "redrive")
        assert await feed.hears(lambda it: it["data"].get("user_id") == listener) == first


def entries_about(stack: Stack, listener: int) -> list[dict[str, Any]]:
    """Return the keys of the changes of a listener's presence."""
    answer = stack.dynamodb.query(
        TableName=stack.outputs["EventsTableName"],
        KeyConditionExpression="audience = :audience",
        ExpressionAttributeValues={":audience": {"S": "presence/*/0"}},
    )
    return [
        {name: row[name] for name in ("audience", "event_id")}
        for row in answer["Items"]
        if row.get("subject") == {"S": str(listener)}  # a mark of what was late has none
    ]


async def test_an_event_that_could_not_be_taken_in_is_heard_when_it_is_put_through_again(stack: Stack) -> None:
    user = stack.new_user()
    event = backend_event("call_started")
    event |= {"id": f"failed-{user}", "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    event["detail"] |= {"call_id": user, "user_id": user}
    async with stack.connect("calls", user) as client:
        stack.aws("sqs").send_message(QueueUrl=stack.outputs["FailedEventsQueueUrl"], MessageBody=json.dumps(event))
        assert f"would take in again: call_started failed-{user} of {event['time']}" in realtime(
            stack, "redrive", "--dry-run"
        )
        assert f"to be taken in again: call_started failed-{user} of {event['time']}" in realtime(stack, "redrive")
        assert (await client.hears("call_started"))["data"]["call_id"] == user


async def test_a_rejected_event_is_processed_again_if_the_option_asks_for_it(stack: Stack) -> None:
    event_id = stack.deployment.publish("call_paused", '{"call_id": 1}', "marketplace")
    rejected = stack.queue("RejectedEventsQueue")
    body, _ = await rejected.holds(lambda body: event_id in body)
    stack.aws("sqs").send_message(QueueUrl=stack.outputs["RejectedEventsQueueUrl"], MessageBody=body)
    assert not any(event_id in line for line in realtime(stack, "redrive"))
    assert any(event_id in line for line in realtime(stack, "redrive", "--rejected"))
    await rejected.holds(lambda body: event_id in body)  # it still breaks the schema
