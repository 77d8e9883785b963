"""The progress of one delivery, and what each answer to its requests means. It uses no clock and does no I/O.

    2xx                  the connection's next frame follows
    410                  GONE; but if the connection is so young that its handshake may not be complete, the request is
                         tried again, and the outcome is NOT_YET_OPEN if it never succeeds
    413                  this frame is left out and the others are sent; TOO_LARGE
    429, 5xx, no answer  the request is tried again with full jitter, for this connection alone, until its patience runs
                         out; THROTTLED or FAILED. While the whole account gets 429s, the patience is extended, by 10 s
                         at most; while quota or window hold it back, by 2.5 s at most
    403                  FORBIDDEN if others of the stage and method show that the role lacks the right (rights.py), and
                         then no more such requests are made; otherwise FAILED
    any other            FAILED at once: another request would not change it

In a lane (lane.py), a delivery is given up much sooner, whatever it meets: instead of NOT_YET_OPEN, THROTTLED or FAILED
its outcome is LATE. A 429 is no reason while the whole account gets them: the delivery then waits for the account.
docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeAlias

from realtime.messages import MAX_FRAME_BYTES
from realtime.posting.delivery import D, Frame, Outcome
from realtime.posting.lane import Lane
from realtime.posting.pacing import Congestion

# $connect may take 29 s, and until it has answered, a post to its connection gets a 410. s
HANDSHAKE_S = 30.0
# Once a connection is registered, the rest of its handshake takes milliseconds. A connection that gets 410s for longer
# will usually never open, and the whole batch waits for it. s
OPENING_PATIENCE_S = 2.0
# The longest extra patience for a connection that is throttled together with all others. If four of five posts are
# refused, one connection in 400 is closed despite this patience; without it, one in seven would be. s
CONGESTED_PATIENCE_S = 10.0
# For how long a connection that fails may be held back by quota and window without using up its patience. Without a
# limit, a quota that lets a request through now and then would make it last for minutes. s
HELD_BACK_PATIENCE_S = 2.5
# The longest wait after the first, second … consecutive failure; the last value holds for all further ones. s
BACK_OFF_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)

Step: TypeAlias = "Outcome | float"  # how a delivery ended, or when it may go on (monotonic)
AT_ONCE: Final = 0.0

_NO_BODY = Frame(b"")
_NOT_TRIED, _DELIVERED = Outcome.NOT_TRIED, Outcome.DELIVERED  # looking up a member of an Enum takes 15 times as long


@dataclass(frozen=True, slots=True)
class Patience:
    """For how long a connection may fail without a success before it is given up; if in a lane, `lane` decides."""

    seconds: float
    congestion: Congestion
    lane: Lane | None = None

    @property
    def failed(self) -> Outcome:
        """The outcome of a delivery that another request would not change."""
        return Outcome.LATE if self.lane else Outcome.FAILED


class Progress(Generic[D]):
    """One delivery under way: get its next request, report the answer, and do what the returned Step says."""

    __slots__ = (
        "_accepted_any",
        "_congested_before",
        "_due_at",
        "_may_be_held_s",
        "_patience",
        "_too_large",
        "delivery",
        "failures",
        "method",
        "reason",
        "sent",
        "since",
        "throttled",
        "unfinished",
    )

    # Set by the first failure.
    _congested_before: float  # s; the total congestion before the first of the consecutive failures
    _due_at: float  # monotonic; the end of its back-off
    _may_be_held_s: float  # for how much longer quota and window may hold it back without using up its patience

    def __init__(self, delivery: D, patience: Patience, since: float) -> None:
        self.delivery = delivery
        self.since = since
        """From when on its patience counts: its beginning in a lane, otherwise its first failure."""
        self.method = "POST"  # of the request that `next_request` returned last
        self.sent = 0  # frames that are finished: delivered, expired or too large
        self.reason = ""  # the last failure, or the answer to a GET
        self.throttled = False  # the last failure was a 429
        self.failures = 0  # consecutive
        self.unfinished = _NOT_TRIED
        """The outcome if the time runs out now."""
        self._patience = patience
        self._accepted_any = False
        self._too_large = False

    def next_request(self, wall: float) -> Frame | None:
        """Return the body of the next request, which uses `method`; None if there is none, see `ended`.

        `wall` is in s since the epoch.
        """
        delivery = self.delivery
        frames = delivery.frames
        while self.sent < len(frames):
            frame = frames[self.sent]
            if frame.not_after_s is not None and frame.not_after_s < wall:
                self.sent += 1
            elif len(frame.body) > MAX_FRAME_BYTES:
                self._too_large = True
                self.sent += 1
            else:
                return frame
        if delivery.close:
            self.method = "DELETE"
        elif delivery.ask:
            self.method = "GET"
        else:
            return None
        return _NO_BODY

    def ended(self) -> Outcome:
        """Return the outcome of a delivery that has no request left."""
        if self._too_large:
            return Outcome.TOO_LARGE
        return _DELIVERED if self._accepted_any or not self.delivery.frames else Outcome.EXPIRED

    def resume(self, now: float) -> None:
        """Go on after a back-off; `now` is monotonic."""
        self.throttled = False  # of the request that is made now, nothing is known yet
        held_s = now - self._due_at  # by quota or window, which is not the connection's fault
        if self._patience.lane is None:
            held_s = min(held_s, self._may_be_held_s)
            self._may_be_held_s -= held_s
        self.since += held_s

    def accepted(self, text: str = "") -> Step:
        """Note a 2xx; `text` is what a GET was answered."""
        if text:
            self.reason = text
        self._accepted_any = True
        if self.failures:
            self.failures = 0
            self.unfinished = _NOT_TRIED
        if self.method == "POST":
            self.sent += 1
            delivery = self.delivery
            if self.sent < len(delivery.frames) or delivery.close:
                return AT_ONCE
        return Outcome.TOO_LARGE if self._too_large else _DELIVERED

    def failed(self, status: int, text: str, *, now: float, wall: float, jitter: float) -> Step:
        """Note any other status; 0 means that there was no answer.

        `now` is monotonic, `wall` in s since the epoch; `jitter`, from 0 to 1, is the fraction of the back-off to wait.
        """
        self.reason = f"{status} {text}".rstrip() if status else text
        self.throttled = status == 429
        if status == 410:
            if not self._accepted_any and wall - self.delivery.connected_at_s < HANDSHAKE_S:
                return self._retry(Outcome.NOT_YET_OPEN, now, jitter)
            return Outcome.GONE
        if status == 403:
            self.unfinished = Outcome.FAILED
            return Outcome.FORBIDDEN  # unless it turns out to be this connection's alone
        if status == 413 and self.method == "POST":
            self._too_large = True
            self.sent += 1
            return AT_ONCE
        if status in {0, 429} or status >= 500:
            return self._retry(Outcome.THROTTLED if self.throttled else Outcome.FAILED, now, jitter)
        return self._patience.failed

    def _retry(self, outcome: Outcome, now: float, jitter: float) -> Step:
        """Wait for a random time, which grows with each consecutive failure, or give up with this outcome."""
        back_off = BACK_OFF_S[min(self.failures, len(BACK_OFF_S) - 1)]
        due = now + back_off * jitter  # "full jitter": Brooker, Exponential Backoff And Jitter
        lane = self._patience.lane
        if lane is not None:
            if lane.is_late(self, due):
                return Outcome.LATE
        elif self._is_given_up(outcome, now, due):
            return outcome
        self.failures += 1
        self.unfinished = outcome
        self._due_at = due
        return due

    def _is_given_up(self, outcome: Outcome, now: float, due: float) -> bool:
        seconds, congestion = self._patience.seconds, self._patience.congestion
        if not self.failures:
            self.since = now
            self._congested_before = congestion.seconds(now)
            self._may_be_held_s = HELD_BACK_PATIENCE_S
        if outcome is Outcome.NOT_YET_OPEN:
            seconds = min(OPENING_PATIENCE_S, seconds)
        elif outcome is Outcome.THROTTLED:
            seconds += min(CONGESTED_PATIENCE_S, congestion.seconds(due) - self._congested_before)
        return due >= self.since + seconds
