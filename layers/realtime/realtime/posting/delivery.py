"""What is posted to a connection, and what became of it."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Generic, NamedTuple, TypeVar


class Outcome(enum.Enum):
    """What became of a delivery."""

    DELIVERED = "delivered"  # every frame that had not expired; then the closing or the question, if that was wanted
    EXPIRED = "expired"  # all frames were past their time
    TOO_LARGE = "too_large"  # a frame was larger than API Gateway takes; the others were delivered
    GONE = "gone"  # the connection does not exist any more
    NOT_YET_OPEN = "not_yet_open"  # 410 each time, but its handshake may not be done: not to be forgotten
    THROTTLED = "throttled"  # 429 for as long as its patience or the time lasted
    FAILED = "failed"  # no answer or an error for as long as its patience or the time lasted
    CLOSED = "closed"  # could not be served, so it was closed: its client will connect again
    STUCK = "stuck"  # could be neither served nor closed
    FORBIDDEN = "forbidden"  # the role may not do this; `Poster.refusal` names the request
    NOT_TRIED = "not_tried"  # the time ran out before its last frame was answered

    __hash__ = object.__hash__  # in C; Enum's own, in Python, is a fortieth of what a delivery costs


class Frame:
    """A message as it is posted: made once for all its recipients, so that it is hashed once."""

    __slots__ = ("body", "not_after_s", "sha256")

    def __init__(self, body: bytes, not_after_s: float | None = None) -> None:
        self.body = body
        self.sha256 = sha256(body).hexdigest()
        self.not_after_s = not_after_s
        """s since the epoch; after it the frame is left out."""


@dataclass(slots=True, eq=False)  # mypy keeps it immutable: `frozen` would triple the time that it takes to make one
class Delivery:
    """What one connection is to be sent, in order.

    Make one delivery a connection where the order between its frames matters: deliveries do not wait for each other.
    """

    endpoint: Final[str]  # and so the API's stage
    connection_id: Final[str]  # opaque
    frames: Final[Sequence[Frame]]
    connected_at_s: Final[float]  # s since the epoch
    close: Final[bool] = False  # close the connection after the frames
    ask: Final[bool] = False  # with no frames: ask whether the connection exists; DELIVERED if it does


D = TypeVar("D", bound=Delivery)


class Result(NamedTuple, Generic[D]):
    """A delivery with its outcome."""

    delivery: D
    outcome: Outcome
    sent: int = 0  # frames done with: delivered, expired or too large
    reason: str = ""  # the last failure, for the log
    throttled: bool = False  # the last failure was a 429
