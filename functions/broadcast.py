"""Events stream: post each event to every connection of its audience."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from realtime import bootstrap, broadcast, dead_letters, snapstart
from realtime.aws import retries
from realtime.errors import Rejected, Unforeseen, last_resort
from realtime.log import logger

# What stays of the function's time once posting ends, to forget the connections that were gone; and after that, to
# answer. s
FORGETTING_SECONDS, ANSWERING_SECONDS = 2.0, 1.0

# What nobody foresaw may pass; a record that it meets alone after so long is taken to be the reason. s
PASSING_SECONDS = 60.0

snapstart.prepare(bootstrap.broadcaster, logger)


@retries.in_time
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Post a batch; the stream goes on from the first record that is not done.

    Raises what is wrong with the first record if not even that is done. Lambda then halves the batch, until the record
    that is at fault fails alone and ends in the dead-letter queue, or until the time suffices. Had it been reported
    instead, the whole batch would be tried again as it is, and given up with it.
    docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
    """
    end = time.monotonic() + context.get_remaining_time_in_millis() / 1000
    forget_until = end - ANSWERING_SECONDS
    records = event["Records"]
    reading = broadcast.read_all(records)
    try:
        with last_resort():
            report = bootstrap.broadcaster().broadcast(
                list(reading.entries.values()),
                now=time.time(),
                until=forget_until - FORGETTING_SECONDS,
                forget_until=forget_until,
            )
    except Unforeseen as problem:
        if len(records) > 1 or time.time() - _recorded_at(records[0]) < PASSING_SECONDS:
            raise
        dead_letters.give_up(bootstrap.failures, records, {0: problem}, before=1)
        return {"batchItemFailures": []}
    done = reading.done(report.done)
    dead_letters.give_up(bootstrap.failures, records, reading.unreadable, before=done)
    counts = {outcome.name.lower(): count for outcome, count in report.outcomes.items()}
    logger().info("broadcast", extra={"records": len(records), "done": done, **counts})
    if report.unforgotten:
        logger().warning("connections that are gone are still known", extra={"reasons": report.unforgotten})
    if isinstance(report.problem, Rejected):  # its audience is none that a table takes
        dead_letters.give_up(bootstrap.failures, records, {done: report.problem}, before=done + 1)
        done += 1
    if report.problem is None or done == len(records):
        return {"batchItemFailures": []}
    if done == 0:
        raise report.problem
    logger().error("handing back the rest", extra={"reason": str(report.problem)})
    return {"batchItemFailures": [{"itemIdentifier": records[done]["dynamodb"]["SequenceNumber"]}]}


def _recorded_at(record: Mapping[str, Any]) -> float:
    return float((record.get("dynamodb") or {}).get("ApproximateCreationDateTime", 0))
