"""The simulator of a stream's event source mapping: a test for each rule that AWS documents."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloudformation import resources
from tests.support.stream_mapping import POLL_SECONDS, RETENTION_SECONDS, Killed, Settings, Stream, StreamMapping

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/Events/stream/2024-01-01T00:00:00.000"
STRICT = Settings(maximum_retry_attempts=2, bisects=True, takes_reports=True, on_failure=True)


class MappedFunction:
    """A stream, its mapping, and a function that fails at some records."""

    def __init__(self, settings: Settings = STRICT, *, shards: int = 1, **more: Any) -> None:
        self.stream = Stream(ARN, "audience", shards=shards, now=1_705_314_600.0)
        self.answer: Callable[[list[str]], Any] = lambda values: None
        self.invocations: list[list[str]] = []
        self.mapping = StreamMapping(self.stream, settings, self._invoke, **more)

    def put(self, values: str, key: str | None = None) -> None:
        """Let the stream show a record for each letter, which is its partition key unless another is given."""
        for value in values:
            keys = {"audience": {"S": key or value}, "event_id": {"S": value}}
            self.stream.put("INSERT", keys, {**keys, "message": {"S": value}})

    def _invoke(self, event: dict[str, Any]) -> Any:
        values = [record["dynamodb"]["NewImage"]["message"]["S"] for record in event["Records"]]
        self.invocations.append(values)
        return self.answer(values)

    def seen(self) -> list[str]:
        """Return the records of each invocation, as one text."""
        return ["".join(values) for values in self.invocations]

    def discarded(self) -> list[tuple[str, int]]:
        """Return the records that each on-failure record names, with the count of invocations."""
        numbers = {
            record["dynamodb"]["SequenceNumber"]: record["dynamodb"]["NewImage"]["message"]["S"]
            for records in self.stream.shards.values()
            for record in records
        }
        return [
            (
                numbers[each["DDBStreamBatchInfo"]["startSequenceNumber"]]
                + numbers[each["DDBStreamBatchInfo"]["endSequenceNumber"]],
                each["requestContext"]["approximateInvokeCount"],
            )
            for each in self.mapping.discarded
        ]

    def failure(self, *values: str) -> dict[str, Any]:
        """Return an answer that reports these records."""
        numbers = {
            record["dynamodb"]["NewImage"]["message"]["S"]: record["dynamodb"]["SequenceNumber"]
            for records in self.stream.shards.values()
            for record in records
        }
        return {"batchItemFailures": [{"itemIdentifier": numbers[value]} for value in values]}


def fail(*_: Any) -> Any:
    raise ValueError("the function failed")


def test_records_come_in_order_in_batches_of_a_limited_size() -> None:
    function = MappedFunction(Settings(batch_size=3))
    function.put("abcdefg")
    function.mapping.drain()
    assert function.seen() == ["abc", "def", "g"]


def test_a_batch_holds_the_records_that_are_there_when_the_shard_is_polled() -> None:
    function = MappedFunction()
    function.put("ab")
    function.mapping.poll()
    function.put("c")
    function.mapping.drain()
    assert function.seen() == ["ab", "c"]
    assert function.stream.now == 1_705_314_600.0 + 2 * POLL_SECONDS


def test_batches_of_one_shard_run_in_parallel_but_an_item_stays_in_order() -> None:
    function = MappedFunction(Settings(parallelization_factor=10), shards=2)
    for letter in "abcdefghij":
        function.put(letter * 3, key="123")
    function.mapping.poll()
    assert 5 < len(function.invocations) <= 20
    for letter in "abcdefghij":
        assert sum(letter * 3 in values for values in function.seen()) == 1


def test_parallel_batches_do_not_keep_a_partition_key_in_order() -> None:
    function = MappedFunction(Settings(parallelization_factor=10))
    function.put("abcdefghij", key="123")
    function.mapping.drain()
    assert "".join(function.seen()) != "abcdefghij"


def test_a_failing_batch_holds_up_its_own_slot_alone() -> None:
    function = MappedFunction(Settings(parallelization_factor=10))
    function.put("abcdefghij")
    function.answer = lambda values: fail() if "a" in values else None
    function.mapping.poll()
    function.mapping.poll()
    done = {value for values in function.invocations for value in values if "a" not in values}
    assert len(done) >= 7
    assert not function.mapping.is_idle


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": None}, {"batchItemFailures": []}])
def test_results_that_count_as_success(answer: Any) -> None:
    function = MappedFunction()
    function.put("ab")
    function.answer = lambda values: answer
    function.mapping.drain()
    assert function.seen() == ["ab"]


@pytest.mark.parametrize(
    "failure", [{"itemIdentifier": ""}, {"itemIdentifier": None}, {"itemIdentifie": "1"}, {"itemIdentifier": "1"}]
)
def test_results_that_count_as_a_failure_of_the_whole_batch(failure: Any) -> None:
    function = MappedFunction(Settings(takes_reports=True, maximum_retry_attempts=1))
    function.put("ab")
    function.answer = lambda values: {"batchItemFailures": [failure]}
    function.mapping.drain()
    assert function.seen() == ["ab", "ab"]


@pytest.mark.parametrize("error", [ValueError(), Killed()])
def test_an_exception_and_a_killed_invocation_fail_the_whole_batch(error: BaseException) -> None:
    function = MappedFunction(Settings(maximum_retry_attempts=1))
    function.put("ab")

    def answer(values: list[str]) -> None:
        raise error

    function.answer = answer
    function.mapping.drain()
    assert function.seen() == ["ab", "ab"]


def test_the_stream_continues_at_the_lowest_reported_number() -> None:
    function = MappedFunction()
    function.put("abcdef")
    function.answer = lambda values: function.failure("e", "c", "d") if "a" in values else None
    function.mapping.drain()
    assert function.seen() == ["abcdef", "cdef"]


def test_a_report_is_ignored_unless_the_mapping_takes_it() -> None:
    function = MappedFunction(Settings())
    function.put("abc")
    function.answer = lambda values: function.failure("b")
    function.mapping.drain()
    assert function.seen() == ["abc"]


def test_a_failed_batch_is_halved_until_the_culprit_is_alone_and_given_up() -> None:
    function = MappedFunction()
    function.put("abcdefgh")
    function.answer = lambda values: fail() if "c" in values else None
    function.mapping.drain()
    assert function.seen() == ["abcdefgh", "abcd", "ab", "cd", "c", "c", "c", "d", "efgh"]
    assert function.discarded() == [("cc", 6)]  # halving takes none of the two retries


def test_without_halving_the_whole_batch_is_given_up_with_the_culprit() -> None:
    function = MappedFunction(Settings(maximum_retry_attempts=2, on_failure=True))
    function.put("abcd")
    function.answer = lambda values: fail() if "c" in values else None
    function.mapping.drain()
    function.put("e")
    function.mapping.drain()
    assert function.seen() == ["abcd"] * 3 + ["e"]
    assert function.discarded() == [("ad", 3)]


def test_a_report_of_the_first_record_does_not_halve_the_batch_so_that_all_is_given_up_with_it() -> None:
    function = MappedFunction()
    function.put("abcd")
    function.answer = lambda values: function.failure("c") if "c" in values else None
    function.mapping.drain()
    assert function.seen() == ["abcd", "cd", "cd", "cd"]
    assert function.discarded() == [("cd", 4)]


@pytest.mark.parametrize(
    ("bisects", "resets", "invocations"), [(False, True, 6), (False, False, 3), (True, True, 6), (True, False, 6)]
)
def test_progress_takes_no_retry_with_halving_and_both_cases_are_modelled_without_it(
    bisects: bool, resets: bool, invocations: int
) -> None:
    function = MappedFunction(
        Settings(
            maximum_retry_attempts=2,
            takes_reports=True,
            on_failure=True,
            bisects=bisects,
            progress_resets_retries=resets,
        )
    )
    function.put("abcdef")
    function.answer = lambda values: function.failure(values[1]) if len(values) > 1 else None
    function.mapping.drain()
    assert len(function.invocations) == invocations


def test_without_a_bound_retries_go_on_until_the_stream_forgets() -> None:
    function = MappedFunction(Settings(on_failure=True))
    function.put("a")
    function.answer = fail
    function.mapping.drain()
    (failure,) = function.mapping.discarded
    assert failure["requestContext"]["condition"] == "MaxRecordAgeExceeded"
    assert function.stream.now >= 1_705_314_600 + RETENTION_SECONDS
    assert len(function.invocations) > 1000


def test_records_that_grow_too_old_are_given_up() -> None:
    function = MappedFunction(Settings(maximum_record_age=60, on_failure=True))
    function.put("ab")
    function.stream.now += 50
    function.put("c")
    function.answer = lambda values: fail() if "a" in values else None
    function.mapping.drain()
    assert function.seen()[-1] == "c"
    (failure,) = function.mapping.discarded
    assert failure["requestContext"]["condition"] == "MaxRecordAgeExceeded"
    assert failure["DDBStreamBatchInfo"]["batchSize"] == 2


def test_a_batch_that_is_given_up_without_a_destination_leaves_no_trace() -> None:
    function = MappedFunction(Settings(maximum_retry_attempts=0))
    function.put("a")
    function.answer = fail
    function.mapping.drain()
    assert function.mapping.discarded == []


def test_an_on_failure_record_is_as_documented() -> None:
    function = MappedFunction()
    function.put("a")
    function.answer = fail
    function.mapping.drain()
    (failure,) = function.mapping.discarded
    assert failure["requestContext"].keys() == {"requestId", "functionArn", "condition", "approximateInvokeCount"}
    assert failure["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert failure["version"] == "1.0"
    assert failure["DDBStreamBatchInfo"] == {
        "shardId": "shardId-00000000000000000000-00000000",
        "startSequenceNumber": "000100000000000000000001",
        "endSequenceNumber": "000100000000000000000001",
        "approximateArrivalOfFirstRecord": "2024-01-15T10:30:00.000Z",
        "approximateArrivalOfLastRecord": "2024-01-15T10:30:00.000Z",
        "batchSize": 1,
        "streamArn": ARN,
    }


def test_a_batch_whose_checkpoint_is_lost_comes_again() -> None:
    lost = iter([True, False, False])
    function = MappedFunction(Settings(batch_size=2), forgets=lambda: next(lost))
    function.put("abc")
    function.mapping.drain()
    assert function.seen() == ["ab", "ab", "c"]


def test_a_record_that_a_filter_keeps_out_is_done() -> None:
    pattern = {"eventName": ["INSERT"], "dynamodb": {"NewImage": {"message": {"S": [{"exists": True}]}}}}
    function = MappedFunction(Settings(filters=(pattern,)))
    function.put("a")
    keys = {"audience": {"S": "x"}, "event_id": {"S": "x"}}
    function.stream.put("REMOVE", keys, None)
    function.stream.put("INSERT", keys, keys)
    function.stream.put("MODIFY", keys, {**keys, "message": {"S": "x"}})
    function.put("b")
    function.mapping.drain()
    assert function.seen() == ["ab"]


@pytest.mark.parametrize(
    ("rule", "value", "holds"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ({"exists": True}, "a", True),
        ({"exists": True}, None, False),
        ({"exists": False}, None, True),
        ({"prefix": "a"}, "ab", True),
        ({"prefix": "a"}, "b", False),
        ({"anything-but": ["a"]}, "b", True),
        ({"anything-but": ["a"]}, "a", False),
    ],
)
def test_the_rules_of_a_filter(rule: Any, value: str | None, holds: bool) -> None:
    function = MappedFunction(Settings(filters=({"key": [rule]},)))
    assert function.mapping.passes({"key": value} if value is not None else {}) is holds


def test_a_rule_that_is_not_modelled_is_refused() -> None:
    function = MappedFunction(Settings(filters=({"key": [{"numeric": [">", 1]}]},)))
    with pytest.raises(NotImplementedError):
        function.mapping.passes({"key": 1})


@pytest.mark.parametrize(
    ("function", "reach"),
    [
        ("BroadcastFunction", "narrow"),
        ("BroadcastFunction", "both"),
        ("BroadcastWideFunction", "wide"),
        ("BroadcastWideFunction", "both"),
    ],
)
def test_the_settings_are_those_of_the_template(function: str, reach: str) -> None:
    (event,) = (each["Properties"] for each in resources("AWS::Serverless::Function")[function]["Events"].values())
    settings = Settings.of(event)
    assert settings.bisects
    assert settings.takes_reports
    assert settings.on_failure
    assert settings.maximum_retry_attempts == -1  # as often as its age allows
    assert settings.maximum_record_age > 0
    assert settings.parallelization_factor == 1
    mapping = StreamMapping(Stream(ARN, "audience"), settings, lambda event: None)
    key = {"audience": {"S": "calls/1"}, "event_id": {"S": "1"}}
    image = {**key, "reach": {"S": reach}}
    stream = Stream(ARN, "audience")
    assert mapping.passes(stream.put("INSERT", key, image))
    assert mapping.passes(stream.put("MODIFY", key, {**image, "redriven": {"N": "1"}}))
    assert not mapping.passes(stream.put("INSERT", key, {**key, "reach": {"S": "other"}}))
    assert not mapping.passes(stream.put("INSERT", key, key))
    assert not mapping.passes(stream.put("REMOVE", key, None))


def test_the_order_of_what_happens_at_the_same_time_is_shuffled_by_seed() -> None:
    def order(seed: int) -> list[str]:
        function = MappedFunction(Settings(parallelization_factor=10), chance=random.Random(seed))
        function.put("abcdefghij")
        function.mapping.drain()
        return function.seen()

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(5)}) > 1


def test_a_stream_can_be_read_again_from_a_number_on_while_it_lasts() -> None:
    function = MappedFunction()
    function.put("abcdefghijklmnopqrstuvwxyz")
    (shard_id,) = function.stream.shards
    at = {"StreamArn": ARN, "ShardId": shard_id, "ShardIteratorType": "AT_SEQUENCE_NUMBER"}
    iterator = function.stream.get_shard_iterator(**at, SequenceNumber="000100000000000000000003")
    page = function.stream.get_records(ShardIterator=iterator["ShardIterator"])
    values = [record["dynamodb"]["NewImage"]["message"]["S"] for record in page["Records"]]
    page = function.stream.get_records(ShardIterator=page["NextShardIterator"], Limit=2)
    values += [record["dynamodb"]["NewImage"]["message"]["S"] for record in page["Records"]]
    assert "".join(values) == "cdefghijk"
    function.stream.now += RETENTION_SECONDS + 2
    with pytest.raises(ClientError, match="TrimmedDataAccessException"):
        function.stream.get_shard_iterator(**at, SequenceNumber="000100000000000000000003")
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        function.stream.get_shard_iterator(**at | {"ShardId": "shardId-1"}, SequenceNumber="1")
