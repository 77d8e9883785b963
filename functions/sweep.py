"""Schedule, every minute: find what lost messages and crashes left behind, and set it right."""

from __future__ import annotations

import time
from typing import Any

from realtime import bootstrap, snapstart
from realtime.invocation import Deadline, invoked
from realtime.log import logger
from realtime.sweep import SETTLING_SECONDS

MARGIN_SECONDS = SETTLING_SECONDS + 3.0  # of the function's time, kept to settle and record what was found

snapstart.prepare(bootstrap.sweeper, logger)


@invoked
def handler(_event: dict[str, Any], context: Any) -> None:
    """Sweep once; if the time runs out, the next sweep continues where this one stopped."""
    deadline = Deadline.of(context, answering_s=MARGIN_SECONDS)
    found = bootstrap.sweeper().sweep(int(time.time() * 1000), deadline.post_until)
    logger().info("swept", extra=dict(found))
