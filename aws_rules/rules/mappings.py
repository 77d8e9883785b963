"""Event source mappings: streams and queues that functions read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from aws_rules.rules.registry import Broken, Case, rule
from aws_rules.stacks import Resource, Stack

_LAMBDA = "https://docs.aws.amazon.com/lambda/latest/dg/"
_API = "https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html"
_KIND = "AWS::Lambda::EventSourceMapping"
MOST_READERS = 2


def source(stack: Stack, mapping: Resource) -> Resource | None:
    """The table or queue that a mapping reads."""
    where = mapping.properties.get("EventSourceArn")
    return stack.referred(where, "AWS::DynamoDB::Table") or stack.referred(where, "AWS::SQS::Queue")


def function_of(stack: Stack, resource: Resource) -> Resource | None:
    """The function that a resource's FunctionName means, directly or by an alias."""
    named = resource.properties.get("FunctionName")
    alias = stack.referred(named, "AWS::Lambda::Alias")
    return stack.referred(alias.properties["FunctionName"] if alias else named, "AWS::Lambda::Function")


def _of_streams(stack: Stack) -> Iterator[tuple[Resource, Resource]]:
    for mapping in stack.of_type(_KIND):
        table = source(stack, mapping)
        if table and table.type == "AWS::DynamoDB::Table":
            yield mapping, table


def _of_queues(stack: Stack) -> Iterator[tuple[Resource, Resource]]:
    for mapping in stack.of_type(_KIND):
        queue = source(stack, mapping)
        if queue and queue.type == "AWS::SQS::Queue":
            yield mapping, queue


@rule("one-mapping-for-each-pair", "https://github.com/anomalyco/sst/issues/5975")
def one_mapping_for_each_pair(case: Case) -> Iterator[Broken]:
    """There is one mapping for each pair of source and function, whatever it filters: a second is a 409."""
    pairs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for mapping in case.stack.of_type(_KIND):
        function = function_of(case.stack, mapping)
        named = function.logical_id if function else str(mapping.properties["FunctionName"])
        pairs[str(mapping.properties.get("EventSourceArn")), named].append(mapping.logical_id)
    for (_, function_name), mappings in pairs.items():
        for second in mappings[1:]:
            yield Broken(second, "EventSourceArn", f"{mappings[0]} maps this source to {function_name} already")


@rule("a-mapping-is-not-replaced", "https://github.com/aws/serverless-application-model/issues/1320")
def a_mapping_is_not_replaced(case: Case) -> Iterator[Broken]:
    """No update replaces a mapping of one source and function: the new one is a 409 while the old one exists."""
    pair = frozenset({"EventSourceArn", "FunctionName"})
    for update in case.updates:
        for mapping in update.after.of_type(_KIND):
            renewed = mapping.logical_id in update.renewed and mapping.logical_id in update.before.resources
            if (
                renewed
                and update.what != f"{mapping.logical_id} replaced"
                and not update.differs(mapping.logical_id, pair)
            ):
                yield Broken(mapping.logical_id, "StartingPosition", f"{update.what}: is replaced")


@rule("two-readers-of-a-shard", "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html")
def two_readers_of_a_shard(case: Case) -> Iterator[Broken]:
    """At most two functions read one stream: a third is throttled by DynamoDB."""
    readers = Counter(table.logical_id for _, table in _of_streams(case.stack))
    for table, count in readers.items():
        if count > MOST_READERS:
            yield Broken(table, "StreamSpecification", f"{count} mappings read its stream")


@rule("a-stream-is-there-to-read", _LAMBDA + "services-dynamodb-eventsourcemapping.html")
def a_stream_is_there_to_read(case: Case) -> Iterator[Broken]:
    """A table that a mapping reads has a stream, with the images that the mapping's filters read."""
    for mapping, table in _of_streams(case.stack):
        view = table.properties.get("StreamSpecification", {}).get("StreamViewType", "")
        if not view:
            yield Broken(
                table.logical_id, "StreamSpecification", f"{mapping.logical_id} reads a stream that is not there"
            )
        for image in ("New", "Old"):
            if f"{image}Image" in str(mapping.properties.get("FilterCriteria")) and image.upper() not in view:
                yield Broken(mapping.logical_id, "FilterCriteria", f"{view} has no {image}Image to filter by")


@rule("a-stream-is-never-held-up", _LAMBDA + "services-ddb-params.html")
def a_stream_is_never_held_up(case: Case) -> Iterator[Broken]:
    """Age alone bounds a stream's failed records; they are bisected, and a queue names those that are given up.

    A number of tries is over within minutes of an outage, and without any bound one record stops its shard for a day.
    """
    wanted: dict[str, Any] = {"MaximumRetryAttempts": -1, "BisectBatchOnFunctionError": True}
    for mapping, _ in _of_streams(case.stack):
        for name, value in wanted.items():
            if mapping.properties.get(name) != value:
                yield Broken(mapping.logical_id, name, f"is {mapping.properties.get(name)}, not {value}")
        if not 60 <= int(mapping.properties.get("MaximumRecordAgeInSeconds", -1)) <= 86_400:
            yield Broken(mapping.logical_id, "MaximumRecordAgeInSeconds", "is not from a minute to a day")
        if not mapping.properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"):
            yield Broken(mapping.logical_id, "DestinationConfig", "names no queue for what is given up")


@rule("only-failures-come-again", _LAMBDA + "services-sqs-errorhandling.html")
def only_failures_come_again(case: Case) -> Iterator[Broken]:
    """Every mapping takes a report of the failed items, so that the others are not repeated."""
    for mapping in case.stack.of_type(_KIND):
        if "ReportBatchItemFailures" not in mapping.properties.get("FunctionResponseTypes", []):
            yield Broken(mapping.logical_id, "FunctionResponseTypes", "lacks ReportBatchItemFailures")


@rule("a-mapping-suits-its-source", _API)
def a_mapping_suits_its_source(case: Case) -> Iterator[Broken]:
    """A mapping has only settings that its kind of source knows, within the bounds of CreateEventSourceMapping."""
    of_streams = {
        "BisectBatchOnFunctionError",
        "DestinationConfig",
        "MaximumRecordAgeInSeconds",
        "MaximumRetryAttempts",
        "ParallelizationFactor",
        "StartingPosition",
        "TumblingWindowInSeconds",
    }
    for mapping, queue in _of_queues(case.stack):
        for name in sorted(of_streams & mapping.properties.keys()):
            yield Broken(mapping.logical_id, name, "is for streams, and the source is a queue")
        size, window = (int(mapping.properties.get(name, least)) for name, least in _BATCH.items())
        most = 10 if queue.properties.get("FifoQueue") or not window else 10_000
        if not 1 <= size <= most:
            yield Broken(
                mapping.logical_id, "BatchSize", f"{size} is not from 1 to {most} (with a window of {window} s)"
            )
        at_once = mapping.properties.get("ScalingConfig", {}).get("MaximumConcurrency")
        if at_once is not None and not 2 <= int(at_once) <= 1000:
            yield Broken(mapping.logical_id, "ScalingConfig.MaximumConcurrency", f"{at_once} is not from 2 to 1000")
    for mapping, _ in _of_streams(case.stack):
        if "ScalingConfig" in mapping.properties:
            yield Broken(mapping.logical_id, "ScalingConfig", "is for queues, and the source is a stream")
        if mapping.properties.get("StartingPosition") not in ("TRIM_HORIZON", "LATEST"):
            yield Broken(mapping.logical_id, "StartingPosition", "is TRIM_HORIZON or LATEST for DynamoDB")
        if not 1 <= int(mapping.properties.get("BatchSize", 100)) <= 10_000:
            yield Broken(mapping.logical_id, "BatchSize", "is not from 1 to 10000")


_BATCH = {"BatchSize": 10, "MaximumBatchingWindowInSeconds": 0}


@rule("filters-are-few", "https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html")
def filters_are_few(case: Case) -> Iterator[Broken]:
    """A mapping has at most five filters, of at most 4,096 characters each."""
    for mapping in case.stack.of_type(_KIND):
        filters = mapping.properties.get("FilterCriteria", {}).get("Filters", [])
        if len(filters) > 5:
            yield Broken(mapping.logical_id, "FilterCriteria", f"has {len(filters)} filters")
        if any(len(each["Pattern"]) > 4096 for each in filters):
            yield Broken(mapping.logical_id, "FilterCriteria", "has a pattern of more than 4096 characters")
