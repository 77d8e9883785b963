"""Events stream: post each event to every connection of its audience."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from realtime import bootstrap, fanout, retries, snapstart
from realtime.log import logger

# What stays of the function's time once posting ends, to forget the connections that were gone; and after that, to
# answer. s
FORGETTING_SECONDS, ANSWERING_SECONDS = 2.0, 1.0

snapstart.prepare(bootstrap.fanout, logger)


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
    reading = fanout.read_all(records)
    report = bootstrap.fanout().broadcast(
        list(reading.entries.values()),
        now=time.time(),
        until=forget_until - FORGETTING_SECONDS,
        forget_until=forget_until,
    )
    done = reading.done(report.done)
    _give_up(records, reading, done)
    counts = {outcome.name.lower(): count for outcome, count in report.outcomes.items()}
    logger().info("broadcast", extra={"records": len(records), "done": done, **counts})
    if report.unforgotten:
        logger().warning("connections that are gone are still known", extra={"reasons": report.unforgotten})
    if report.problem is None:
        return {"batchItemFailures": []}
    if done == 0:
        raise report.problem
    logger().error("handing back the rest", extra={"reason": str(report.problem)})
    return {"batchItemFailures": [{"itemIdentifier": records[done]["dynamodb"]["SequenceNumber"]}]}


def _give_up(records: Sequence[Mapping[str, Any]], reading: fanout.Reading, done: int) -> None:
    """Send the records that no try will ever post to the dead-letter queue: Lambda would hold up others for its tries.

    Those that come after the first that is not done are met again.
    """
    for place, problem in reading.unreadable.items():
        if place < done:
            shown = records[place].get("dynamodb", {})
            where = {"keys": shown.get("Keys"), "sequence_number": shown.get("SequenceNumber")}
            bootstrap.failures().send(where, attributes={"reason": str(problem)[:1000]})
            logger().error("giving up a record", extra={"reason": str(problem)})
