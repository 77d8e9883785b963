"""`realtime redrive` against a real queue, stream and table: what it puts through is heard again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.e2e.support import Stack


def realtime(stack: Stack, *arguments: str) -> list[str]:
    """Run the console script, and return the lines that it prints."""
    command = [sys.executable, "-m", "local.cli", *arguments]
    environment = {**os.environ, "REALTIME_STATE": str(stack.folder.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def give_up_on(stack: Stack, audience: str) -> None:
    """Put in the queue what Lambda does when it gives up on an audience's record: the emulator would take an hour."""
    streams = stack.deployment.clients.dynamodb_streams()
    table = stack.aws("dynamodb").describe_table(TableName=stack.outputs["EventsTableName"])["Table"]
    arn = table["LatestStreamArn"]
    for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        for record in records_of(streams, arn, shard["ShardId"]):
            if record["Keys"]["audience"]["S"] == audience:
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
    """Return what a shard shows from its beginning to now."""
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
        give_up_on(stack, f"calls/{user}")
        name = f"calls/{user} {first['id']}"
        assert f"would put through again: {name}" in realtime(stack, "redrive", "--dry-run")
        assert f"put through again: {name}" in realtime(stack, "redrive")
        assert await client.hears("call_started") == first
        assert f"put through again: {name}" not in realtime(stack, "redrive")
