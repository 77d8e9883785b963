"""Everything that can go wrong, as a tree.

RealtimeError
├── ClientError            what a client did or may not do: it hears an `error` frame
│   ├── AuthFailed             AUTH_FAILED        401
│   ├── PermissionDenied       PERMISSION_DENIED  403
│   ├── ConnectionLimit        CONNECTION_LIMIT   429
│   ├── RateLimited            RATE_LIMITED       429
│   ├── BadRequest             BAD_REQUEST        400
│   └── Internal               INTERNAL           500
├── InvalidEvent           what a backend sent: the event goes to a dead-letter queue with the reason
├── ConfigurationError     what an operator must mend: the message names the setting
├── Unavailable            what AWS did not do this time: the caller's trigger tries again
├── Rejected               what AWS will never do, as an item is too large: nobody tries again
├── Unforeseen             a fault of ours, named by its kind and place: each handler's last resort
├── ConditionsFailed       (transactions) a transaction was not made, for a condition of it does not hold
└── Unreadable             (outbox) an item that no function of ours writes: it goes to a dead-letter queue
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from realtime.text import make_storable


class RealtimeError(Exception):
    """The root of this service's own errors."""


class ClientError(RealtimeError):
    """A refusal that the client hears, with a stable `code`; `retry_after` (seconds) is set where waiting helps."""

    code: ClassVar[str]
    status: ClassVar[int]  # of the handshake, with RejectionMode=handshake
    default_message: ClassVar[str]

    def __init__(self, message: str | None = None, *, retry_after: int | None = None, reason: str = "") -> None:
        """Take the words for the client, and a `reason` that is for the log alone."""
        self.message = make_storable(message or self.default_message)  # it may repeat what the client sent
        super().__init__(self.message)
        self.retry_after = retry_after
        self.reason = make_storable(reason)

    def __str__(self) -> str:
        return f"{self.code}: {self.reason or self.message}"


class AuthFailed(ClientError):
    """The token is absent, malformed, wrongly signed or expired; the client is not told which."""

    code = "AUTH_FAILED"
    status = 401
    default_message = "Invalid or expired token"


class PermissionDenied(ClientError):
    """The token is good, but not for this endpoint."""

    code = "PERMISSION_DENIED"
    status = 403
    default_message = "Insufficient permissions"


class ConnectionLimit(ClientError):
    """The user has as many connections as one user may have."""

    code = "CONNECTION_LIMIT"
    status = 429
    default_message = "Maximum connections reached"


class RateLimited(ClientError):
    """The client sends faster than it may."""

    code = "RATE_LIMITED"
    status = 429
    default_message = "Too many requests"


class BadRequest(ClientError):
    """The client sent what the service cannot read; the message says what it should be."""

    code = "BAD_REQUEST"
    status = 400
    default_message = "Malformed message"


class Internal(ClientError):
    """The service failed; the client did nothing wrong and may try again."""

    code = "INTERNAL"
    status = 500
    default_message = "Something went wrong on our side; try again"


class InvalidEvent(RealtimeError):
    """A backend's event breaks its schema."""

    def __init__(self, reason: str) -> None:
        """Take the reason in words that let the backend's author mend the event."""
        self.reason = make_storable(reason)  # it may repeat what the backend sent, and goes into an attribute of SQS
        super().__init__(self.reason)


class ConfigurationError(RealtimeError):
    """A setting is missing or wrong; the message names it."""


class Unavailable(RealtimeError):
    """An AWS service refused or failed for now."""


class Rejected(RealtimeError):
    """An AWS service will never do what it was asked for: an item is too large, or a text is none that it takes."""


class Unforeseen(RealtimeError):
    """An exception that nobody foresaw; the message names its kind and place, and nothing of what was worked on."""

    def __init__(self, problem: BaseException) -> None:
        """Take the exception; its own words may hold part of an event or a token, and are left out."""
        super().__init__(reason_of(problem))


@contextmanager
def last_resort() -> Iterator[None]:
    """Let what nobody foresaw leave as Unforeseen: a handler then does with it what it does with our own errors."""
    try:
        yield
    except RealtimeError:
        raise
    except Exception as problem:  # noqa: BLE001  # it is raised again, under a name that may be logged
        raise Unforeseen(problem) from None


def reason_of(problem: BaseException) -> str:
    """Return what is logged of a problem: our own errors' words; of any other its kind and place, never its text."""
    if isinstance(problem, RealtimeError):
        return str(problem)
    place = traceback.extract_tb(problem.__traceback__)[-1:] if problem.__traceback__ else ()
    return "".join([type(problem).__name__, *(f" at {Path(at.filename).name}:{at.lineno}" for at in place)])
