"""One structured line for each invocation: ids, outcomes and counts; never a token, a message or a whole event."""

from __future__ import annotations

from functools import cache

from aws_lambda_powertools import Logger


@cache
def logger() -> Logger:
    """Return the function's logger; its level is POWERTOOLS_LOG_LEVEL."""
    return Logger(service="realtime", utc=True)
