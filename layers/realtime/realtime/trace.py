"""The trace: the id of what began the work that is done now. Every line of the log about it has this id.

A backend's event is traced by the id that PutEvents returned, a client's handshake or frame by API Gateway's request
id, and what a function begins of itself by Lambda's request id. Entries, users and messages of queues keep the id, so
that the functions that come later find it. docs/decisions/0054-tracing.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from realtime.text import make_storable

MAX_LENGTH = 100  # characters; EventBridge's ids have 36, API Gateway's 16
MAX_TOGETHER = 25  # ids that the messages of a queue keep; their attribute then has less than 1,000 characters
ATTRIBUTE = "trace_ids"  # of the messages of a queue

_current: ContextVar[str] = ContextVar("trace", default="")


def current() -> str:
    """Return the id of the trace; empty if nothing is known of it."""
    return _current.get()


@contextmanager
def of(trace_id: str) -> Iterator[None]:
    """Follow a trace for a while."""
    before = _current.set(make_storable(trace_id, MAX_LENGTH))
    try:
        yield
    finally:
        _current.reset(before)


def begin(trace_id: str) -> None:
    """Follow a trace until the surrounding `of` ends."""
    _current.set(make_storable(trace_id, MAX_LENGTH))


def distinct(trace_ids: Iterable[str]) -> list[str]:
    """Return ids in their order, each once, without the empty one."""
    return [each for each in dict.fromkeys(trace_ids) if each]


def as_attributes(trace_ids: Iterable[str]) -> dict[str, str]:
    """Return the attributes by which a message of a queue keeps its traces: an older function does not look at them."""
    return {ATTRIBUTE: " ".join(distinct(trace_ids)[:MAX_TOGETHER])}


def of_message(record: Any) -> list[str]:
    """Return the traces that a message of a queue keeps, as Lambda brings it."""
    value = (record.get("messageAttributes") or {}).get(ATTRIBUTE, {}).get("stringValue")
    return distinct(str(value or "").split(" "))
