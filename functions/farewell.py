"""Farewells queue: tell connections that may not stay why, and close them."""

from __future__ import annotations

import time
from typing import Any

from realtime import bootstrap, farewell, snapstart
from realtime.aws import retries
from realtime.log import logger

MARGIN_SECONDS = 2.0  # what stays of the function's time once posting ends: to send back what was not served

snapstart.prepare(bootstrap.farewell_sender, logger)


@retries.in_time
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Say a batch of farewells; those that are to be tried again go back to the queue by themselves."""
    until = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS
    orders = []
    for record in event["Records"]:
        try:
            orders.append(farewell.read_farewell(record["body"]))
        except ValueError as problem:  # no function of ours wrote it, and nobody can say it
            logger().error("giving up a message", extra={"message_id": record["messageId"], "reason": str(problem)})
    counts = bootstrap.farewell_sender().send(orders, until)
    logger().info("said farewell", extra=counts)
    return {"batchItemFailures": []}
