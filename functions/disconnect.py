"""$disconnect: forget a connection. Best effort on AWS's side, so that nothing may depend on it alone."""

from __future__ import annotations

import time
from typing import Any

from realtime import bootstrap, snapstart
from realtime.aws import retries
from realtime.errors import last_resort
from realtime.log import logger

snapstart.prepare(bootstrap.disconnect_registry, logger)


@retries.in_time
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Forget the connection that ended.

    Raises what keeps it from that: nobody tries again, and the sweep finds the connection, but the errors count.
    """
    context = event["requestContext"]
    with last_resort():
        user_id = bootstrap.disconnect_registry().forget(context["connectionId"], int(time.time() * 1000))
    logger().info(
        "disconnected",
        extra={
            "connection_id": context["connectionId"],
            "endpoint": context["stage"],
            "user_id": user_id,
            "status_code": context.get("disconnectStatusCode"),
        },
    )
    return {"statusCode": 200}
