"""What invocations have in common: their ids in the log, their metrics, their time, and the answer about a batch."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from realtime import log, metrics, trace
from realtime.aws import retries
from realtime.log import logger

T = TypeVar("T")


class Context(Protocol):
    """The needed part of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int: ...


def invoked(handler: Callable[[Any, Any], T]) -> Callable[[Any, Any], T]:
    """Wrap a Lambda function's handler: its lines have ids (log.py), its metrics are printed, its retries end in time.

    The trace begins with API Gateway's request id if a client caused the invocation, and with Lambda's own otherwise.
    """
    in_time = retries.in_time(handler)

    @functools.wraps(handler)
    def with_ids(event: Any, context: Any) -> T:
        request_id = getattr(context, "aws_request_id", "")
        with log.request(request_id), trace.of(_of_client(event) or request_id), metrics.of_invocation():
            return in_time(event, context)

    return with_ids


def _of_client(event: object) -> str:
    """Return API Gateway's request id; empty if this is no event of it, whatever else it is."""
    request = event.get("requestContext") if isinstance(event, Mapping) else None
    found = request.get("requestId") if isinstance(request, Mapping) else None
    return found if isinstance(found, str) else ""


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a function must have finished each part of its work, on the monotonic clock."""

    post_until: float
    forget_until: float  # for forgetting the connections that turned out to be gone

    @classmethod
    def of(cls, context: Context, *, answering_s: float, forgetting_s: float = 0.0) -> Deadline:
        """Reserve the last seconds of an invocation for its answer, and the seconds before them for forgetting."""
        forget_until = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - answering_s
        return cls(post_until=forget_until - forgetting_s, forget_until=forget_until)


def answer_stream(records: Sequence[Mapping[str, Any]], done: int, problem: Exception | None) -> dict[str, Any]:
    """Return Lambda's answer about a batch of a stream of which the first `done` records are done.

    Raises the problem if not even the first record is done. Lambda then halves the batch, until the record that is at
    fault fails alone and ends in the dead-letter queue, or until the time suffices. If it were reported instead, the
    whole batch would be tried again unchanged, and given up with it.
    docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
    """
    if problem is None:
        return {"batchItemFailures": []}
    if done == 0:
        raise problem
    logger().error("handing back the rest", extra={"reason": str(problem)})
    return {"batchItemFailures": [{"itemIdentifier": records[done]["dynamodb"]["SequenceNumber"]}]}


def answer_queue(records: Sequence[Mapping[str, Any]], handle: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
    """Handle each message of a queue's batch; return Lambda's answer, by which the others come again alone.

    `handle` returns whether a message is done. When the time is up, the queue brings the rest again.
    """
    failures = [
        {"itemIdentifier": record["messageId"]}
        for record in records
        if time.monotonic() > retries.latest() or not handle(record)
    ]
    return {"batchItemFailures": failures}
