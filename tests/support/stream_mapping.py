"""A table's stream, and the event source mapping that brings it to a Lambda function, by the rules that AWS documents.

The emulator has none of these rules, so tests implement them. Sources, below docs.aws.amazon.com/lambda/latest/dg/:
    [esm]      services-dynamodb-eventsourcemapping.html, with-ddb.html
    [partial]  services-ddb-batchfailurereporting.html
    [errors]   services-dynamodb-errors.html
    [filter]   with-ddb-filtering.html, invocation-eventfiltering.html
    [params]   services-ddb-params.html
and docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html [streams].

If AWS does not say, a test may choose: `Settings.progress_resets_retries`. Not modelled: the 6 MB of a payload,
resharding, and that metadata of several batches given up may reach the queue as one record.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from zlib import crc32

from botocore.exceptions import ClientError

Record = dict[str, Any]
Condition = Literal["RetryAttemptsExhausted", "MaxRecordAgeExceeded"]

POLL_SECONDS = 0.25  # "a base rate of 4 times per second" [esm]
RETENTION_SECONDS = 24 * 3600  # [streams]
_LONGEST_BACK_OFF = 60.0  # s; that Lambda backs off between retries is known, but not how


class Killed(BaseException):
    """The function's process ended during an invocation: by a crash, or by the function's timeout."""


@dataclass(frozen=True)
class Settings:
    """The settings of an event source mapping, with AWS's defaults [params]; times in s, -1 means without end."""

    batch_size: int = 100
    parallelization_factor: int = 1
    maximum_retry_attempts: int = -1
    maximum_record_age: int = -1
    bisects: bool = False
    takes_reports: bool = False
    filters: tuple[Mapping[str, Any], ...] = ()
    on_failure: bool = False
    progress_resets_retries: bool = True
    """Whether a partly done batch gets all its retries again. AWS does not say."""

    @classmethod
    def of(cls, event: Mapping[str, Any], **more: Any) -> Settings:
        """Read the properties of a function's event of type DynamoDB, as a SAM template has them."""
        filters = event.get("FilterCriteria", {}).get("Filters", [])
        return cls(
            batch_size=event.get("BatchSize", cls.batch_size),
            parallelization_factor=event.get("ParallelizationFactor", cls.parallelization_factor),
            maximum_retry_attempts=event.get("MaximumRetryAttempts", cls.maximum_retry_attempts),
            maximum_record_age=event.get("MaximumRecordAgeInSeconds", cls.maximum_record_age),
            bisects=event.get("BisectBatchOnFunctionError", cls.bisects),
            takes_reports="ReportBatchItemFailures" in event.get("FunctionResponseTypes", []),
            filters=tuple(json.loads(each["Pattern"]) for each in filters),
            on_failure="OnFailure" in event.get("DestinationConfig", {}),
            **more,
        )


class Stream:
    """A table's stream: a record for each change of an item, in order in each of its shards, kept for 24 h [streams].

    It answers `get_shard_iterator` and `get_records` as botocore's client of DynamoDB Streams does.
    """

    def __init__(self, arn: str, partition_key: str, *, shards: int = 1, now: float = 0.0) -> None:
        """Take the stream's ARN and the name of the table's partition key; `now` in s since the epoch."""
        self.arn = arn
        self.partition_key = partition_key
        self.now = now
        self.shards: dict[str, list[Record]] = {f"shardId-{number:020}-{number:08x}": [] for number in range(shards)}
        self._numbers = itertools.count(100_000_000_000_000_000_001)

    def put(self, event_name: str, keys: Mapping[str, Any], new_image: Mapping[str, Any] | None) -> Record:
        """Let the stream show a change."""
        number = next(self._numbers)
        record = {
            "eventID": f"{number:032x}",
            "eventName": event_name,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": self.arn.split(":")[3],
            "dynamodb": {
                "ApproximateCreationDateTime": int(self.now),  # whole seconds
                "Keys": dict(keys),
                **({"NewImage": dict(new_image)} if new_image is not None else {}),
                "SequenceNumber": f"{number:024}",  # AWS does not promise that it begins without a zero
                "SizeBytes": 100,
                "StreamViewType": "NEW_IMAGE",
            },
            "eventSourceARN": self.arn,
        }
        shards = list(self.shards.values())
        shards[_hash(self.key_of(record)) % len(shards)].append(record)
        return record

    def key_of(self, record: Record) -> str:
        """Return the partition key of a record."""
        (value,) = record["dynamodb"]["Keys"][self.partition_key].values()
        return str(value)

    def get_shard_iterator(self, **request: str) -> dict[str, str]:
        """Return where to read from: at a sequence number that the stream still has."""
        assert request["ShardIteratorType"] == "AT_SEQUENCE_NUMBER"
        shard_id = request["ShardId"]
        if request["StreamArn"] != self.arn or shard_id not in self.shards:
            raise _error("ResourceNotFoundException", "GetShardIterator")
        oldest = self.now - RETENTION_SECONDS
        for at, record in enumerate(self.shards[shard_id]):
            shown = record["dynamodb"]
            if shown["SequenceNumber"] == request["SequenceNumber"]:
                if shown["ApproximateCreationDateTime"] < oldest:
                    break
                return {"ShardIterator": f"{shard_id}|{at}"}
        raise _error("TrimmedDataAccessException", "GetShardIterator")

    def get_records(self, **request: Any) -> dict[str, Any]:
        """Return some records, at most 7."""
        shard_id, _, at = request["ShardIterator"].partition("|")
        end = min(int(at) + min(request.get("Limit", 1000), 7), len(self.shards[shard_id]))
        return {"Records": self.shards[shard_id][int(at) : end], "NextShardIterator": f"{shard_id}|{end}"}


@dataclass
class _Batch:
    """Records that the function gets together, and how often that failed."""

    records: list[Record]
    failures: int = 0
    invocations: int = 0
    not_before: float = 0.0


@dataclass
class _Slot:
    """A sequence of records, of some items of one shard, that are handled one after the other."""

    shard_id: str
    waiting: deque[Record] = field(default_factory=deque)
    batches: deque[_Batch] = field(default_factory=deque)  # that were begun


class StreamMapping:
    """Invokes a function with the batches of a stream.

    `invoke` is the function. It fails by raising, `Killed` included. `chance` shuffles what AWS does at the same time.
    After each success, `forgets` decides whether its checkpoint is lost, so that the batch comes again: "event
    source mappings process each event at least once, and duplicate processing of records can occur" [esm].
    """

    def __init__(
        self,
        stream: Stream,
        settings: Settings,
        invoke: Callable[[dict[str, Any]], Any],
        *,
        function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:broadcast",
        chance: random.Random | None = None,
        forgets: Callable[[], bool] = lambda: False,
    ) -> None:
        self.stream = stream
        self.settings = settings
        self.discarded: list[dict[str, Any]] = []  # messages for the on-failure destination
        self._invoke = invoke
        self._function_arn = function_arn
        self._chance = chance
        self._forgets = forgets
        self._slots = [
            _Slot(shard_id) for shard_id in stream.shards for _ in range(max(1, settings.parallelization_factor))
        ]
        self._read = dict.fromkeys(stream.shards, 0)

    @property
    def is_idle(self) -> bool:
        """Return whether all that the stream has shown is done or given up."""
        self._read_stream()
        return not any(slot.waiting or slot.batches for slot in self._slots)

    def poll(self) -> None:
        """Poll every shard once; the time advances by a quarter of a second."""
        self._read_stream()
        slots = list(self._slots)
        if self._chance:
            self._chance.shuffle(slots)
        for slot in slots:
            self._step(slot)
        self.stream.now += POLL_SECONDS

    def drain(self, rounds: int = 100_000) -> None:
        """Poll until nothing is left to do."""
        for _ in range(rounds):
            if self.is_idle:
                return
            self._skip_back_off()
            self.poll()
        raise AssertionError("the stream does not come to its end")

    def _skip_back_off(self) -> None:
        """Advance the time to the next moment at which there is something to do."""
        due = [
            slot.batches[0].not_before if slot.batches else 0.0 for slot in self._slots if slot.batches or slot.waiting
        ]
        self.stream.now = max(self.stream.now, min(due))

    def _read_stream(self) -> None:
        """Hand new records to slots; filtered ones are done.

        In parallel, but "Lambda still ensures in-order processing at the item (partition and sort key) level" [esm].
        """
        factor = max(1, self.settings.parallelization_factor)
        for number, (shard_id, records) in enumerate(self.stream.shards.items()):
            for record in records[self._read[shard_id] :]:
                if self.passes(record):
                    # another hash than that of the shards, or one shard's keys would fall into few slots
                    lane = _hash(f"lane {record['dynamodb']['Keys']}") % factor
                    self._slots[number * factor + lane].waiting.append(record)
            self._read[shard_id] = len(records)

    def passes(self, record: Record) -> bool:
        """Return whether a record satisfies any of the filters; without filters, all do [filter]."""
        return not self.settings.filters or any(_matches(pattern, record) for pattern in self.settings.filters)

    def _step(self, slot: _Slot) -> None:
        """Invoke the function once for a slot, if something is due."""
        if not slot.batches:
            size = min(self.settings.batch_size, len(slot.waiting))
            if not size:
                return
            slot.batches.append(_Batch([slot.waiting.popleft() for _ in range(size)]))
        batch = slot.batches[0]
        if batch.not_before > self.stream.now:
            return
        self._discard_aged(slot, batch)
        if not batch.records:
            slot.batches.popleft()
            return
        batch.invocations += 1
        try:
            # a copy, because the function may change its event
            answer = self._invoke(json.loads(json.dumps({"Records": batch.records})))
            done = self._done(batch.records, answer)
        except (Exception, Killed):  # noqa: BLE001  # any error is a failed invocation
            done = None
        if done == len(batch.records):
            if not self._forgets():
                slot.batches.popleft()
        elif done:
            self._go_on(slot, batch, done)
        else:
            self._fail(slot, batch, raised=done is None)

    def _done(self, records: Sequence[Record], answer: Any) -> int | None:
        """Return how many records, from the first on, a function's answer says are done; None: it failed [partial].

        Success: no list of failures, an empty one, an empty answer or none. Failure: an identifier that is empty, null
        or under another name. Of several, the lowest sequence number is the checkpoint.
        """
        if not self.settings.takes_reports or not answer or not answer.get("batchItemFailures"):
            return len(records)
        numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
        places = []
        for failure in answer["batchItemFailures"]:
            identifier = failure.get("itemIdentifier")
            if not identifier or identifier not in numbers:
                return None
            places.append(numbers.index(identifier))
        return min(places)

    def _go_on(self, slot: _Slot, batch: _Batch, done: int) -> None:
        """Set the checkpoint: "the batch is bisected at the returned sequence number", the rest retried [partial].

        If the batch is bisected, this takes no retry, as any other splitting; if not, AWS does not say.
        """
        batch.records = batch.records[done:]
        batch.not_before = self.stream.now + POLL_SECONDS
        if self.settings.progress_resets_retries:
            batch.failures = 0
        elif not self.settings.bisects:
            self._fail(slot, batch, raised=False)

    def _fail(self, slot: _Slot, batch: _Batch, *, raised: bool) -> None:
        """Try again, in halves if so set, or give up.

        "If the invocation fails and BisectBatchOnFunctionError is turned on, the batch is bisected regardless of your
        ReportBatchItemFailures setting" [partial]; "splitting a batch does not count towards the retry quota" [errors].
        A report of the first record is no failed invocation: nothing says that the batch is halved then.
        """
        slot.batches.popleft()
        if raised and self.settings.bisects and len(batch.records) > 1:
            half = len(batch.records) // 2
            for records in (batch.records[half:], batch.records[:half]):
                slot.batches.appendleft(_Batch(records, batch.failures, batch.invocations))
            return
        batch.failures += 1
        if 0 <= self.settings.maximum_retry_attempts < batch.failures:
            self._discard(slot, batch.records, "RetryAttemptsExhausted", batch.invocations)
            return
        batch.not_before = self.stream.now + min(_LONGEST_BACK_OFF, 2.0 ** min(batch.failures, 10) * POLL_SECONDS)
        slot.batches.appendleft(batch)

    def _discard_aged(self, slot: _Slot, batch: _Batch) -> None:
        """Give up records that are older than they may be: "discard records older than the specified age" [params]."""
        age = self.settings.maximum_record_age
        if age < 0:
            age = RETENTION_SECONDS
        oldest = self.stream.now - age
        old = [each for each in batch.records if each["dynamodb"]["ApproximateCreationDateTime"] < oldest]
        if old:
            batch.records = batch.records[len(old) :]
            self._discard(slot, old, "MaxRecordAgeExceeded", batch.invocations)

    def _discard(self, slot: _Slot, records: Sequence[Record], condition: Condition, invocations: int) -> None:
        """Send the metadata of records that are given up to the on-failure destination, if there is one [errors]."""
        if not self.settings.on_failure:
            return
        first, last = records[0]["dynamodb"], records[-1]["dynamodb"]
        self.discarded.append(
            {
                "requestContext": {
                    "requestId": f"00000000-0000-4000-8000-{len(self.discarded):012}",
                    "functionArn": self._function_arn,
                    "condition": condition,
                    "approximateInvokeCount": invocations,
                },
                "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
                "version": "1.0",
                "timestamp": _rfc3339(self.stream.now),
                "DDBStreamBatchInfo": {
                    "shardId": slot.shard_id,
                    "startSequenceNumber": first["SequenceNumber"],
                    "endSequenceNumber": last["SequenceNumber"],
                    "approximateArrivalOfFirstRecord": _rfc3339(first["ApproximateCreationDateTime"]),
                    "approximateArrivalOfLastRecord": _rfc3339(last["ApproximateCreationDateTime"]),
                    "batchSize": len(records),
                    "streamArn": self.stream.arn,
                },
            }
        )


def between(stream: Stream, failure: Mapping[str, Any]) -> Iterator[Record]:
    """Yield the records of a stream that an on-failure record spans: those that were given up, and maybe others."""
    info = failure["DDBStreamBatchInfo"]
    for record in stream.shards[info["shardId"]]:
        number = int(record["dynamodb"]["SequenceNumber"])
        if int(info["startSequenceNumber"]) <= number <= int(info["endSequenceNumber"]):
            yield record


def _matches(pattern: Mapping[str, Any], value: Any) -> bool:
    """Return whether a value satisfies a filter's pattern: all of its keys, and one of the rules at each leaf [filter].

    Raises NotImplementedError at a rule that the stream's filters do not use.
    """
    for key, rules in pattern.items():
        inner = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(rules, Mapping):
            if not _matches(rules, inner):
                return False
        elif not any(_satisfies(rule, inner) for rule in rules):
            return False
    return True


def _satisfies(rule: Any, value: Any) -> bool:
    if not isinstance(rule, Mapping):
        return bool(rule == value)
    if rule.keys() == {"exists"}:  # only of leaves: what holds more is no leaf
        is_leaf = value is not None and not isinstance(value, Mapping)
        return bool(is_leaf == rule["exists"])
    if rule.keys() == {"prefix"}:
        return isinstance(value, str) and value.startswith(rule["prefix"])
    if rule.keys() == {"anything-but"}:
        return value is not None and value not in rule["anything-but"]
    raise NotImplementedError(f"the filter rule {rule}")


def _hash(text: str) -> int:
    return crc32(text.encode())


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _error(code: str, operation: str) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": code}}
    return ClientError(response, operation)
