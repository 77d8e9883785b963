"""All errors of this service, as a tree.

RealtimeError
├── ClientError            the client's fault or a refusal: the client gets an `error` frame
│   ├── AuthFailed             AUTH_FAILED        401
│   ├── PermissionDenied       PERMISSION_DENIED  403
│   ├── ConnectionLimit        CONNECTION_LIMIT   429
│   ├── RateLimited            RATE_LIMITED       429
│   ├── BadRequest             BAD_REQUEST        400
│   └── Internal               INTERNAL           500
├── InvalidRequest         a request to `admin` is wrong: who asked gets the reason
├── InvalidEvent           a backend's event is wrong: it goes to a dead-letter queue with the reason
├── ConfigurationError     an operator must correct something: the message names the setting
├── Unavailable            AWS failed this time: the function's trigger tries again
├── Rejected               AWS will never do it, for example because an item is too large: nobody tries again
├── Unforeseen             a fault in our code, logged as its type and place: each handler's last resort
├── ConditionFailed        (tables/transactions) nothing was written, because a condition does not hold
│   ├── CallEnded              (tables/calls) the call cannot start, because it has ended
│   ├── Duplicate              (tables/outbox) the event was recorded before
│   ├── OtherParticipants      (tables/calls) the call has participants who are not those that were expected
│   ├── LimitReached           (tables/membership) the user has the maximum number of connections already
│   └── NotConnected           (tables/membership) the user does not have this connection any more
└── Unreadable             (tables/entries) an item that none of our functions wrote: it goes to a dead-letter queue
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from realtime.text import make_storable

if TYPE_CHECKING:
    from realtime.contract.values import ErrorCode


class RealtimeError(Exception):
    """The base class of this service's own errors."""


class ClientError(RealtimeError):
    """A refusal that the client gets, with a stable `code`; `retry_after` (s) is set if waiting helps."""

    code: ClassVar[ErrorCode]
    status: ClassVar[int]  # of the handshake, with RejectionMode=handshake
    default_message: ClassVar[str]

    def __init__(self, message: str | None = None, *, retry_after: int | None = None, reason: str = "") -> None:
        """Take the message for the client, and a `reason` for the log only."""
        self.message = make_storable(message or self.default_message)  # it may repeat what the client sent
        super().__init__(self.message)
        self.retry_after = retry_after
        self.reason = make_storable(reason)

    def __str__(self) -> str:
        return f"{self.code}: {self.reason or self.message}"


class AuthFailed(ClientError):
    """The token is missing, malformed, wrongly signed, expired or revoked; the client learns only of the last."""

    code = "AUTH_FAILED"
    status = 401
    default_message = "Invalid or expired token"


class PermissionDenied(ClientError):
    """The client may not do this: by its token's scope, its user or the origin of its page."""

    code = "PERMISSION_DENIED"
    status = 403
    default_message = "Insufficient permissions"


class ConnectionLimit(ClientError):
    """The user has the maximum number of connections already."""

    code = "CONNECTION_LIMIT"
    status = 429
    default_message = "Maximum connections reached"


class RateLimited(ClientError):
    """The client sends too fast."""

    code = "RATE_LIMITED"
    status = 429
    default_message = "Too many requests"


class BadRequest(ClientError):
    """What the client sent cannot be read, or cannot be done here; the message says what is expected."""

    code = "BAD_REQUEST"
    status = 400
    default_message = "Malformed message"


class Internal(ClientError):
    """The service failed; the client did nothing wrong and may try again."""

    code = "INTERNAL"
    status = 500
    default_message = "Something went wrong on our side; try again"

    @classmethod
    def because_of(cls, problem: RealtimeError) -> Internal:
        """Return the client's error for a failure: try again soon, unless AWS would reject it every time."""
        soon = problem.retry_after if isinstance(problem, Unavailable) else 1
        return cls(retry_after=None if isinstance(problem, Rejected) else soon)


class InvalidRequest(RealtimeError):
    """A request to `admin` that breaks its schema; the message says which key is wrong, and how."""


class InvalidEvent(RealtimeError):
    """A backend's event breaks its schema."""

    def __init__(self, reason: str) -> None:
        """Take a reason that lets the backend's author correct the event."""
        self.reason = make_storable(reason)  # it may repeat what the backend sent, and goes into an attribute of SQS
        super().__init__(self.reason)


class ConfigurationError(RealtimeError):
    """A setting is missing or wrong; the message names it."""


class Unavailable(RealtimeError):
    """An AWS service refused a call or failed; a later try may succeed, a client's after `retry_after` (s)."""

    def __init__(self, message: str = "", *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Rejected(RealtimeError):
    """An AWS service will never do it: an item is too large, or it does not accept a character."""


class Unforeseen(RealtimeError):
    """An unforeseen exception; the message names its type and place, and no data."""

    def __init__(self, problem: BaseException) -> None:
        """Take the exception; its own text may quote an event or a token, so it is left out."""
        super().__init__(reason_of(problem))


@contextmanager
def last_resort() -> Iterator[None]:
    """Convert unforeseen exceptions to Unforeseen, so that a handler treats them like our own errors."""
    try:
        yield
    except RealtimeError:
        raise
    except Exception as problem:  # noqa: BLE001  # it is raised again as an error that may be logged
        raise Unforeseen(problem) from None


def reason_of(problem: BaseException) -> str:
    """Return what may be logged of a problem: the text of our own errors; of others only the type and the place."""
    if isinstance(problem, RealtimeError):
        return str(problem)
    place = traceback.extract_tb(problem.__traceback__)[-1:] if problem.__traceback__ else ()
    return "".join([type(problem).__name__, *(f" at {Path(at.filename).name}:{at.lineno}" for at in place)])
