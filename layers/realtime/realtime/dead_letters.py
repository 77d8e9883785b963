"""Stream records that would fail every time: each goes to a dead-letter queue at once, and holds up no other record.

Otherwise Lambda would try its batch again for an hour, and the records behind it in its shard would wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from realtime import metrics, trace
from realtime.aws.queues import Queue
from realtime.errors import ConfigurationError, Unavailable, reason_of
from realtime.log import logger

OF_EVERYTHING = (Unavailable, ConfigurationError)  # AWS failed, or a right is missing: no fault of a record


def give_up(
    queue: Callable[[], Queue], records: Sequence[Mapping[str, Any]], problems: Mapping[int, Exception], *, before: int
) -> None:
    """Send records to the dead-letter queue with the reason: those whose index in `problems` is less than `before`.

    The others will come again. Raises what sending raises; the whole batch must be tried again then.
    """
    for index in sorted(problems):
        if index < before:
            change = records[index].get("dynamodb") or {}
            reason = reason_of(problems[index])
            trace_id = trace_of(records[index])
            place = {"keys": change.get("Keys"), "sequence_number": change.get("SequenceNumber")}
            queue().send(place, attributes={"reason": reason, trace.ATTRIBUTE: trace_id})
            metrics.count(metrics.DEAD_LETTERS)
            with trace.of(trace_id):
                logger().error("giving up a record", extra={"reason": reason})


def trace_of(record: Mapping[str, Any]) -> str:
    """Return the trace that a record's item keeps, whatever else the item is."""
    image = (record.get("dynamodb") or {}).get("NewImage")
    kept = image.get("trace_id") if isinstance(image, Mapping) else None
    return str(kept.get("S", "")) if isinstance(kept, Mapping) else ""
