"""A delivery, which is what one connection is to receive, and its outcome."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Generic, NamedTuple, TypeVar


class Outcome(enum.Enum):
    """How a delivery ended."""

    DELIVERED = "delivered"  # every frame that had not expired, and then the DELETE or GET if `close` or `ask` is set
    EXPIRED = "expired"  # all frames were past their `not_after`
    TOO_LARGE = "too_large"  # a frame was larger than API Gateway accepts; the others were delivered
    GONE = "gone"  # the connection does not exist any more
    NOT_YET_OPEN = "not_yet_open"  # always a 410, but its handshake may not be complete, so do not forget it
    THROTTLED = "throttled"  # 429 until its patience or the function's time ran out
    FAILED = "failed"  # no answer, or an error, until its patience or the function's time ran out
    LATE = "late"  # a straggler that left the lane: its last request was abandoned or failed
    FORBIDDEN = "forbidden"  # the role may not do this; `Poster.refusal` names the request
    NOT_TRIED = "not_tried"  # the time ran out before its last frame was answered

    __hash__ = object.__hash__  # runs in C; Enum's own, in Python, would take 1/40 of the time of a delivery


class Frame:
    """A message in the form that is posted; all its recipients share one Frame, so it is hashed once."""

    __slots__ = ("body", "not_after_s", "sha256")

    def __init__(self, body: bytes, not_after_s: float | None = None) -> None:
        self.body = body
        self.sha256 = sha256(body).hexdigest()
        self.not_after_s = not_after_s
        """s since the epoch; after it the frame is left out."""


@dataclass(slots=True, eq=False)  # mypy keeps it immutable; `frozen` would triple the time to make one
class Delivery:
    """The frames that one connection is to receive, in order.

    Make one delivery per connection if the order of its frames matters: deliveries do not wait for each other.
    """

    stage: Final[str]  # of the API, where its connection is
    connection_id: Final[str]  # opaque
    frames: Final[Sequence[Frame]]
    connected_at_s: Final[float]  # s since the epoch
    close: Final[bool] = False  # close the connection after the frames
    ask: Final[bool] = False  # needs no frames: ask whether the connection exists; the outcome is DELIVERED if it does


D = TypeVar("D", bound=Delivery)


class Result(NamedTuple, Generic[D]):
    """A delivery with its outcome."""

    delivery: D
    outcome: Outcome
    sent: int = 0  # frames that are finished: delivered, expired or too large
    reason: str = ""  # the last failure, for the log; the body of the answer, if an `ask` was DELIVERED
