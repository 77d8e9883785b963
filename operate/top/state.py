"""What a stack is like now: its connections, its queues and its alarms."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from operate.deployment import Deployment
from operate.top.measures import Measures, Source

if TYPE_CHECKING:
    from mypy_boto3_sqs.literals import QueueAttributeNameType

T = TypeVar("T")
MOST_PAGES = 25
"""Pages of 1 MB that are read to count connections: some 100,000 items, for $0.0008. Past them the count is a least."""


@dataclass(frozen=True)
class Queue:
    """How many messages of a queue can be received, are being worked on, and wait for their time."""

    waiting: int
    in_work: int
    delayed: int


@dataclass(frozen=True)
class Alarms:
    """The alarms that are raised, how many are quiet, and how many have had no data."""

    raised: list[str]
    quiet: int
    without_data: int


@dataclass(frozen=True)
class Frame:
    """All that `top` shows at a moment; what could not be read is None, and `notes` say why."""

    stack: str
    at_s: float
    connections: Mapping[str, int] | None
    connections_are_all: bool
    measures: Measures | None
    queues: Mapping[str, Queue] | None
    alarms: Alarms | None
    notes: list[str] = field(default_factory=list)


class StackObserver:
    """Looks at a deployed stack; what fails, for a right that is missing or otherwise, is a note."""

    def __init__(self, deployment: Deployment, source: Source, clock: Callable[[], float]) -> None:
        """Take the stack, and where its measures come from."""
        self._deployment = deployment
        self._source = source
        self._clock = clock
        self._alarm_names: list[str] | None = None

    def look(self) -> Frame:
        """Return what the stack is like now."""
        notes: list[str] = []

        def or_note(what: str, read: Callable[[], T]) -> T | None:
            try:
                return read()
            except (BotoCoreError, ClientError) as error:
                notes.append(f"{what}: {error}")
                return None

        counted = or_note("connections", self._connections)
        return Frame(
            self._deployment.stack,
            self._clock(),
            counted[0] if counted else None,
            counted[1] if counted else True,
            or_note("metrics", self._source.read),
            or_note("queues", self._queues),
            or_note("alarms", self._alarms),
            notes,
        )

    def _connections(self) -> tuple[dict[str, int], bool]:
        """Count the sessions in the table, by the endpoint (stage) that they are open on; and whether these are all."""
        counts: Counter[str] = Counter()
        start: dict[str, Any] = {}
        for _ in range(MOST_PAGES):
            page = self._deployment.clients.dynamodb().scan(
                TableName=self._deployment.outputs["ConnectionsTableName"],
                FilterExpression="attribute_exists(lease_until)",  # one item of each connection
                ProjectionExpression="endpoint",
                **start,
            )
            counts.update(row["endpoint"]["S"] for row in page["Items"])
            if "LastEvaluatedKey" not in page:
                return dict(counts), True
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        return dict(counts), False

    def _queues(self) -> dict[str, Queue]:
        sqs, found = self._deployment.clients.sqs(), {}
        names: list[QueueAttributeNameType] = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ]
        for output, url in self._deployment.outputs.items():
            if output.endswith("QueueUrl"):
                counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
                found[output.removesuffix("QueueUrl")] = Queue(*(int(counts.get(name, 0)) for name in names))
        return found

    def _alarms(self) -> Alarms:
        if self._alarm_names is None:
            self._alarm_names = list(self._names_of_alarms())
        client = self._deployment.clients.client("cloudwatch")
        states: dict[str, str] = {}
        for start in range(0, len(self._alarm_names), 100):
            page = client.describe_alarms(AlarmNames=self._alarm_names[start : start + 100])
            states |= {each["AlarmName"]: each["StateValue"] for each in page["MetricAlarms"]}
        counts = Counter(states.values())
        raised = sorted(name for name, state in states.items() if state == "ALARM")
        return Alarms(raised, counts["OK"], counts["INSUFFICIENT_DATA"])

    def _names_of_alarms(self) -> list[str]:
        pages = self._deployment.clients.cloudformation().get_paginator("list_stack_resources")
        return [
            each["PhysicalResourceId"]
            for page in pages.paginate(StackName=self._deployment.stack)
            for each in page["StackResourceSummaries"]
            if each["ResourceType"] == "AWS::CloudWatch::Alarm"
        ]


def as_json_line(frame: Frame) -> str:
    """Return a frame as one line of JSON."""
    return json.dumps(asdict(frame), separators=(",", ":"))
