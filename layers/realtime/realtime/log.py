"""Log one structured line for each invocation: ids, outcomes and counts; never a token, a message or a whole event.

Each line has Lambda's request id (`function_request_id`), and the id of what began the work that it is about
(`trace_id`, see trace.py). A line about a batch has the ids of all its events (`trace_ids`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial

from aws_lambda_powertools import Logger

from realtime import trace

IDS_IN_LINE = 1_000  # 40 KB; CloudWatch Logs takes 256 KB
_request_id: ContextVar[str] = ContextVar("request_id", default="")


@cache
def logger() -> Logger:
    """Return the function's logger; its level is POWERTOOLS_LOG_LEVEL."""
    # ASCII, because a token or an event may hold half of a character, which could not be written: the line would be
    # lost.
    ascii_json = partial(json.dumps, default=repr, separators=(",", ":"))
    # RFC 3339, because Lambda counts a line whose time it cannot read as INFO, and drops it if LogLevel=WARN.
    # docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
    made = Logger(service="realtime", utc=True, use_rfc3339=True, json_serializer=ascii_json)
    made.addFilter(_add_ids)
    return made


@contextmanager
def request(request_id: str) -> Iterator[None]:
    """Log Lambda's request id with every line for a while."""
    before = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(before)


def log_batch(message: str, trace_ids: Sequence[str], **facts: object) -> None:
    """Log a line about a batch, with the traces of its events; what one line does not hold follows in others."""
    first, rest = trace_ids[:IDS_IN_LINE], trace_ids[IDS_IN_LINE:]
    logger().info(message, extra={**facts, **({"trace_ids": first} if first else {})}, stacklevel=2)
    for begin in range(0, len(rest), IDS_IN_LINE):
        logger().info(f"{message}, further events", extra={"trace_ids": rest[begin : begin + IDS_IN_LINE]})


def _add_ids(record: logging.LogRecord) -> bool:
    request_id, trace_id = _request_id.get(), trace.current()
    if request_id:
        record.function_request_id = request_id
    if trace_id and trace_id != request_id and not hasattr(record, "trace_ids"):
        record.trace_id = trace_id
    return True
