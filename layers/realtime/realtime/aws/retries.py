"""Retries: the one place that says which failures of AWS may pass, how long to wait, and when to give up.

Every client of `clients.client` follows these rules in place of botocore's (by botocore's event `needs-retry`), so they
hold for every call to every service. If AWS answers with a good status but leaves a part undone (the unprocessed rest
of a batch), that part is tried again by the same rules: `rounds`. (docs/decisions/0023)
"""

from __future__ import annotations

import functools
import math
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Any, TypeVar

from botocore.exceptions import ConnectionError as BotocoreConnectionError
from botocore.exceptions import HTTPClientError

from realtime.errors import reason_of
from realtime.log import logger

T = TypeVar("T")

# The longest wait for a connection, and for an answer. s
CONNECT_SECONDS, ANSWER_SECONDS = 1.0, 2.0
ATTEMPT_SECONDS = CONNECT_SECONDS + ANSWER_SECONDS
# The most attempts at one call, and the longest time from the beginning of its first to that of its last. s
ATTEMPTS, RETRY_SECONDS = 20, 3.5
# The longest that a call takes. A function behind the API has 10 s, and API Gateway waits for 29 s. s
LONGEST_CALL_SECONDS = RETRY_SECONDS + ATTEMPT_SECONDS
_TO_ANSWER_SECONDS = 0.5  # that a function needs to answer that it failed
_SHORTEST_PAUSE_SECONDS = 0.005


class Passing(Enum):
    """Why a call failed that may succeed later; the longest pause before the second attempt, and before any. s."""

    CONFLICT = (0.05, 0.4)  # another writer changes the item, for some milliseconds
    THROTTLED = (0.1, 1.0)  # a partition has no capacity left for this second
    FAILED = (0.05, 0.5)  # the service failed, or the network


_CONFLICTS = frozenset({"TransactionConflictException", "TransactionInProgressException"})
_THROTTLES = frozenset(
    {
        "BandwidthLimitExceeded",
        "KMS.ThrottlingException",
        "KmsThrottled",
        "LimitExceeded",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_FAILURES = frozenset(
    {
        "InternalException",
        "InternalFailure",
        "InternalServerError",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
    }
)
# Reasons why a write of a transaction was not made; the reason of a write without a problem is None.
_CANCELLED = "TransactionCanceledException"
_GOOD_PART = "None"
_PASSING_PARTS = {
    "TransactionConflict": Passing.CONFLICT,
    "ThrottlingError": Passing.THROTTLED,
    "ProvisionedThroughputExceeded": Passing.THROTTLED,
}


def passing(answer: Mapping[str, Any] | None, status: int, problem: BaseException | None) -> Passing | None:
    """Return why a call failed, if trying again may help; None if it may not, or if the call succeeded.

    A transaction is tried again only if none of its writes fails for good: a condition counts more than a conflict.
    """
    if problem is not None:
        return Passing.FAILED if isinstance(problem, (BotocoreConnectionError, HTTPClientError)) else None
    code = (answer or {}).get("Error", {}).get("Code")
    if code is None and status < 300:
        return None
    if code == _CANCELLED:
        return _passing_parts(answer or {})
    if code in _CONFLICTS:
        return Passing.CONFLICT
    if code in _THROTTLES or status == 429:
        return Passing.THROTTLED
    return Passing.FAILED if code in _FAILURES or status >= 500 else None


def _passing_parts(answer: Mapping[str, Any]) -> Passing | None:
    codes = {reason.get("Code", _GOOD_PART) for reason in answer.get("CancellationReasons", ())} - {_GOOD_PART}
    if not codes or not codes <= _PASSING_PARTS.keys():
        return None
    kinds = {_PASSING_PARTS[code] for code in codes}
    return Passing.THROTTLED if Passing.THROTTLED in kinds else Passing.CONFLICT


# After this time on the monotonic clock no call is tried again.
_latest: ContextVar[float] = ContextVar("latest", default=math.inf)


def latest() -> float:
    """Return the time on the monotonic clock after which nothing is tried again."""
    return _latest.get()


class Tries:
    """The attempts at one piece of work; made when the first of them begins."""

    def __init__(self) -> None:
        self.latest = min(time.monotonic() + RETRY_SECONDS, _latest.get())
        self._made = 0

    def pause(self, why: Passing) -> float | None:
        """Return how long to wait before another attempt (s), with full jitter; None if it is time to give up."""
        self._made += 1
        if self._made >= ATTEMPTS:
            return None
        first, longest = why.value
        seconds = random.uniform(_SHORTEST_PAUSE_SECONDS, min(longest, first * 2 ** (self._made - 1)))
        return seconds if time.monotonic() + seconds <= self.latest else None

    def wait(self, why: Passing, *, progress: bool = False) -> bool:
        """Wait before another attempt; return False if it is time to give up. After `progress`, attempts count anew."""
        if progress:
            self._made = 0
        seconds = self.pause(why)
        if seconds is None:
            return False
        time.sleep(seconds)
        return True


@contextmanager
def rounds() -> Iterator[Tries]:
    """Limit the time of work that takes several calls as if it were one call."""
    tries = Tries()
    before = _latest.set(tries.latest)
    try:
        yield tries
    finally:
        _latest.reset(before)


@contextmanager
def none() -> Iterator[None]:
    """Try nothing again: the caller has no use for a late answer."""
    before = _latest.set(-math.inf)
    try:
        yield
    finally:
        _latest.reset(before)


def in_time(handler: Callable[[dict[str, Any], Any], T]) -> Callable[[dict[str, Any], Any], T]:
    """Wrap a Lambda function's handler: it retries nothing that might outlast its time, and its exceptions are logged.

    A handler that is called without a context has no limit.
    """

    @functools.wraps(handler)
    def bounded(event: dict[str, Any], context: Any) -> T:
        if context is None:
            return handler(event, context)
        left = context.get_remaining_time_in_millis() / 1000 - ATTEMPT_SECONDS - _TO_ANSWER_SECONDS
        before = _latest.set(time.monotonic() + left)
        try:
            return handler(event, context)
        except Exception as problem:
            # Lambda's own line about it has no level that Lambda can read, so LogLevel=WARN drops it
            # (aws-lambda-python-runtime-interface-client#202).
            logger().error("raised", extra={"reason": reason_of(problem)})
            raise
        finally:
            _latest.reset(before)

    return bounded


_TRIES = "realtime.tries"  # the key of the Tries in a call's context
_TOKEN = re.compile(rb'("ClientRequestToken": ?")[^"]*"')


def install(client: Any) -> None:
    """Make a botocore client follow these rules."""
    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"before-call.{service}", begin)
    client.meta.events.register(f"needs-retry.{service}", again)


def begin(context: dict[str, Any], **_: object) -> None:
    """Note when a call begins (an event hook)."""
    context[_TRIES] = Tries()


def again(
    request_dict: dict[str, Any], response: tuple[Any, dict[str, Any]] | None, caught_exception: Any, **_: object
) -> float | None:
    """Return how long to wait before the next attempt (s); None if there is none (an event hook).

    A cancelled transaction did nothing, so the next attempt is a new transaction, with a token of its own. After a lost
    answer the token stays: DynamoDB then answers that the transaction was made, if it was.
    """
    http, answer = response if response is not None else (None, None)
    why = passing(answer, http.status_code if http is not None else 0, caught_exception)
    if why is None:
        return None
    if answer is not None and answer.get("Error", {}).get("Code") == _CANCELLED:
        token = rb"\g<1>%032x" % random.getrandbits(128)
        request_dict["body"] = _TOKEN.sub(token + b'"', request_dict["body"], count=1)
    tries: Tries = request_dict["context"][_TRIES]
    return tries.pause(why)
