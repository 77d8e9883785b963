"""$disconnect: forget a connection. AWS calls it on a best-effort basis, so nothing may depend on it alone."""

from __future__ import annotations

import time
from typing import Any

from realtime import bootstrap, metrics, snapstart
from realtime.errors import last_resort
from realtime.invocation import invoked
from realtime.log import logger

snapstart.prepare(bootstrap.disconnect_registry, logger)


@invoked
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Forget the connection that ended.

    Raises the problem if that fails, so that the errors are counted. Nobody tries again; a sweep finds the connection.
    """
    context = event["requestContext"]
    with last_resort():
        user_id = bootstrap.disconnect_registry().forget(context["connectionId"], int(time.time() * 1000))
    if user_id is not None:
        metrics.count(metrics.CLOSED, value=context["stage"])
    logger().info(
        "disconnected",
        extra={
            "connection_id": context["connectionId"],
            "stage": context["stage"],
            "user_id": user_id,
            "status_code": context.get("disconnectStatusCode"),
        },
    )
    return {"statusCode": 200}
