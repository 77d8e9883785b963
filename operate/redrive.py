"""Processes again the records that `broadcast` and `announce` gave up on.

Lambda's messages in the stream-failures queue say where in a stream the records are, but do not contain them. A stream
can be read again for 24 h, so the records are looked up there.
docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html

To process an event again, this updates its item in the Events table: a write that changes nothing would make no record,
but one that increments `redriven` makes the stream show the item again. A change of a user consists of an old and a new
image, which no write can bring back: `announce` is invoked with the record itself.

A client that has received an event already receives it again under the same `id`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sqs import SQSClient

HIDDEN_SECONDS = 300
"""Seconds for which the queue hides the messages in work; those that are left become visible again at once."""

Received = tuple[str, str]
"""The receipt and the body of a message."""

# The stream, its shard or the record no longer exists.
_FORGOTTEN = ("TrimmedDataAccessException", "ResourceNotFoundException", "ExpiredIteratorException")
_EMPTY_PAGES = (
    100  # in a row; a shard may return many empty pages before the next record, but the wanted record was there once
)


@dataclass(frozen=True)
class Failure:
    """A message of the queue: records of one shard, from one sequence number to another, that a function gave up on.

    A sequence number is printed as it was written, with its leading zeros, but compared as a number.
    """

    receipt: str
    stream_arn: str
    shard_id: str
    first: str
    last: str
    condition: str

    @property
    def table(self) -> str:
        """Return the table whose stream it is."""
        return self.stream_arn.split("/")[1]

    def __str__(self) -> str:
        """Say where in the stream the records are."""
        return f"{self.table}, {self.shard_id}, {self.first} to {self.last} ({self.condition})"


@dataclass(frozen=True)
class Step:
    """What was done, in words; `left` if nothing was done and the message stays in the queue."""

    text: str
    left: bool = False


@dataclass(frozen=True)
class Names:
    """What a redrive works on."""

    queue_url: str
    events_table: str
    users_table: str
    announce: str
    """The function."""


class Redrive:
    """Works on one deployment; `streams` is botocore's client of DynamoDB Streams."""

    def __init__(
        self, sqs: SQSClient, streams: Any, dynamodb: DynamoDBClient, functions: LambdaClient, names: Names
    ) -> None:
        """Bind them together."""
        self._sqs, self._streams, self._dynamodb, self._functions = sqs, streams, dynamodb, functions
        self._names = names

    def run(self, received: Iterable[Received], *, dry_run: bool) -> Iterator[Step]:
        """Process again all that was received from the queue, oldest first, and yield each step.

        `dry_run` changes nothing.
        """
        failures: list[Failure] = []
        for receipt, body in received:
            failure = parse(receipt, body)
            if failure is None:
                self._show_again(receipt)
                yield Step(_why_left(body), left=True)
            else:
                failures.append(failure)
        done: set[tuple[str, int]] = set()
        for failure in sorted(failures, key=lambda each: (each.stream_arn, each.shard_id, int(each.first))):
            yield from self._redrive(failure, done, dry_run=dry_run)

    def _redrive(self, failure: Failure, done: set[tuple[str, int]], *, dry_run: bool) -> Iterator[Step]:
        ways = {self._names.events_table: self._touch, self._names.users_table: self._announce}
        put_through = ways.get(failure.table)
        if put_through is None:
            self._show_again(failure.receipt)
            yield Step(f"left: {failure}: a table of another deployment", left=True)
            return
        try:
            records = list(self._read(failure))
        except ClientError as error:
            if error.response["Error"]["Code"] not in _FORGOTTEN:
                raise
            self._show_again(failure.receipt)
            yield Step(f"left: {failure}: the stream no longer has it: it keeps records for 24 hours", left=True)
            return
        is_left = False
        for record in records:
            place = failure.stream_arn, int(record["dynamodb"]["SequenceNumber"])
            if place not in done:  # batches that Lambda gives up at the same time may overlap
                done.add(place)
                step = put_through(record, dry_run=dry_run)
                is_left = is_left or step.left
                yield step
        if dry_run or is_left:
            self._show_again(failure.receipt)
        else:
            self._sqs.delete_message(QueueUrl=self._names.queue_url, ReceiptHandle=failure.receipt)

    def _touch(self, record: dict[str, Any], *, dry_run: bool) -> Step:
        """Make the stream of the Events table show an item again."""
        keys = record["dynamodb"]["Keys"]
        name = " ".join(str(keys[key]["S"]) for key in ("audience", "event_id"))
        if dry_run:
            return Step(f"would redrive: {name}")
        try:
            self._dynamodb.update_item(
                TableName=self._names.events_table,
                Key=keys,
                UpdateExpression="ADD redriven :one",
                ConditionExpression="attribute_exists(reach)",  # else an empty item would be made
                ExpressionAttributeValues={":one": {"N": "1"}},
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return Step(f"no longer in the history: {name}")
        return Step(f"redriven: {name}")

    def _announce(self, record: dict[str, Any], *, dry_run: bool) -> Step:
        """Invoke `announce` again with a change of a user."""
        name = f"what changed of user {record['dynamodb']['Keys']['user_id']['S']}"
        if dry_run:
            return Step(f"would announce again: {name}")
        answer = self._functions.invoke(
            FunctionName=self._names.announce,
            Qualifier="live",
            Payload=json.dumps({"Records": [record]}, default=datetime.timestamp),
        )
        if "FunctionError" in answer:
            return Step(f"left: {name}: announce failed again; realtime logs announce says why", left=True)
        return Step(f"announced again: {name}")

    def _read(self, failure: Failure) -> Iterator[dict[str, Any]]:
        """Yield the records that the function was to handle.

        Records that were not given up may be between them. These are processed again, too.
        """
        iterator: str | None = self._streams.get_shard_iterator(
            StreamArn=failure.stream_arn,
            ShardId=failure.shard_id,
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            SequenceNumber=failure.first,
        )["ShardIterator"]
        empty, last = 0, int(failure.last)
        while iterator and empty < _EMPTY_PAGES:
            page = self._streams.get_records(ShardIterator=iterator)
            for record in page["Records"]:
                shown = record["dynamodb"]
                number = int(shown["SequenceNumber"])
                if number <= last and self._concerns_a_function(failure, shown.get("NewImage", {})):
                    yield record
                if number >= last:
                    return
            empty = 0 if page["Records"] else empty + 1
            iterator = page.get("NextShardIterator")

    def _concerns_a_function(self, failure: Failure, image: dict[str, Any]) -> bool:
        """Return whether the stream's mapping lets a record through, as the filters in template.yaml say."""
        return "reach" in image if failure.table == self._names.events_table else bool(image)

    def _show_again(self, receipt: str) -> None:
        self._sqs.change_message_visibility(QueueUrl=self._names.queue_url, ReceiptHandle=receipt, VisibilityTimeout=0)


def receive_all(sqs: SQSClient, *queue_urls: str) -> list[list[Received]]:
    """Return, for each queue, every message that it has available now, before any is moved: it may come back at once.

    That a queue has no more takes a second to know, so all are asked at once.
    """
    with ThreadPoolExecutor(len(queue_urls)) as threads:
        return list(threads.map(lambda url: list(receive(sqs, url)), queue_urls))


def receive(sqs: SQSClient, queue_url: str, wait_seconds: int = 1) -> Iterator[Received]:
    """Yield every message that a queue has available now."""
    while True:
        answer = sqs.receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=10, VisibilityTimeout=HIDDEN_SECONDS, WaitTimeSeconds=wait_seconds
        )
        messages = answer.get("Messages", [])
        if not messages:
            return
        for message in messages:
            yield message["ReceiptHandle"], message["Body"]


def parse(receipt: str, body: str) -> Failure | None:
    """Read an on-failure record of a DynamoDB stream, or return None if it is something else."""
    try:
        record = json.loads(body)
        info = record["DDBStreamBatchInfo"]
        return Failure(
            receipt=receipt,
            stream_arn=info["streamArn"],
            shard_id=info["shardId"],
            first=_numeric(info["startSequenceNumber"]),
            last=_numeric(info["endSequenceNumber"]),
            condition=record["requestContext"]["condition"],
        )
    except (ValueError, KeyError, TypeError):
        return None


def _why_left(body: str) -> str:
    """Describe a message that is no on-failure record: functions send items there that fail on every try."""
    try:
        keys = json.loads(body)["keys"]
        name = " ".join(str(value["S"]) for value in keys.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return "left: a message that is not about records of a stream"
    return f"left: {name}: a function gave this item up because no retry would help; the message says why"


def _numeric(text: str) -> str:
    int(text)  # or it is no sequence number
    return text
