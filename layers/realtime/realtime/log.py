"""Log one structured line for each invocation: ids, outcomes and counts; never a token, a message or a whole event."""

from __future__ import annotations

import json
from functools import cache, partial

from aws_lambda_powertools import Logger


@cache
def logger() -> Logger:
    """Return the function's logger; its level is POWERTOOLS_LOG_LEVEL."""
    # ASCII, because a token or an event may hold half of a character, which could not be written: the line would be
    # lost.
    ascii_json = partial(json.dumps, default=repr, separators=(",", ":"))
    # RFC 3339, because Lambda counts a line whose time it cannot read as INFO, and drops it if LogLevel=WARN.
    # docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
    return Logger(service="realtime", utc=True, use_rfc3339=True, json_serializer=ascii_json)
