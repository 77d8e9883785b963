"""The progress of one delivery, and what each answer to its requests means. It uses no clock and does no I/O.

    2xx                  the connection's next frame follows
    410                  GONE; but if the connection is so young that its handshake may not be complete, the request is
                         tried again, and the outcome is NOT_YET_OPEN if it never succeeds
    413                  this frame is left out and the others are sent; TOO_LARGE
    429, 5xx, no answer  the request is tried again with full jitter, for this connection alone, until its patience runs
                         out; THROTTLED or FAILED. While the whole account gets 429s, the patience is extended, by 10 s
                         at most
    403                  FORBIDDEN; after three in a row, no more such requests are made to the stage
    any other            FAILED at once: another request would not change it

With `close_unserved`, a connection whose outcome would be THROTTLED or FAILED is closed. The same rules hold for the
DELETE that closes it:
    2xx                  CLOSED
    410, 403             as above
    any other            STUCK, after the tries that the status allows
docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeAlias

from realtime.messages import MAX_FRAME_BYTES
from realtime.posting.delivery import D, Frame, Outcome
from realtime.posting.pacing import Congestion

# $connect may take 29 s, and until it has answered, a post to its connection gets a 410. s
HANDSHAKE_S = 30.0
# Once a connection is registered, the rest of its handshake takes milliseconds. A connection that gets 410s for longer
# will usually never open, and the whole batch waits for it. s
OPENING_PATIENCE_S = 2.0
# The longest extra patience for a connection that is throttled together with all others. If four of five posts are
# refused, one connection in 400 is closed despite this patience; without it, one in seven would be. s
CONGESTED_PATIENCE_S = 10.0
# The longest wait after the first, second … consecutive failure; the last value holds for all further ones. s
BACK_OFF_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)

Step: TypeAlias = "Outcome | float"  # how a delivery ended, or when it may go on (monotonic)
AT_ONCE: Final = 0.0

_NO_BODY = Frame(b"")
_NOT_TRIED, _DELIVERED = Outcome.NOT_TRIED, Outcome.DELIVERED  # looking up a member of an Enum takes 15 times as long


@dataclass(frozen=True, slots=True)
class Patience:
    """For how long a connection may fail without a success before it is given up, and whether it is then closed."""

    seconds: float
    close_unserved: bool
    congestion: Congestion


class Progress(Generic[D]):
    """One delivery under way: get its next request, report the answer, and do what the returned Step says."""

    __slots__ = (
        "_accepted_any",
        "_congested_before",
        "_due_at",
        "_give_up_at",
        "_patience",
        "_too_large",
        "closing",
        "delivery",
        "failures",
        "method",
        "reason",
        "sent",
        "throttled",
        "unfinished",
    )

    # Set by the first failure.
    _give_up_at: float  # monotonic
    _congested_before: float  # s; the total congestion before the first of the consecutive failures
    _due_at: float  # monotonic; the end of its back-off

    def __init__(self, delivery: D, patience: Patience) -> None:
        self.delivery = delivery
        self.method = "POST"  # of the request that `next_request` returned last
        self.sent = 0  # frames that are finished: delivered, expired or too large
        self.reason = ""  # the last failure
        self.throttled = False  # the last failure was a 429
        self.failures = 0  # consecutive
        self.closing = False  # it was given up and is being closed
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
        if not self.closing:
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
        if delivery.close or self.closing:
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
        self._give_up_at += now - self._due_at  # quota or window held it back, which is not the connection's fault

    def accepted(self) -> Step:
        """Note a 2xx."""
        if self.closing:
            return Outcome.CLOSED
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
            return Outcome.FORBIDDEN
        if status == 413 and self.method == "POST":
            self._too_large = True
            self.sent += 1
            return AT_ONCE
        if status in {0, 429} or status >= 500:
            return self._retry(Outcome.THROTTLED if self.throttled else Outcome.FAILED, now, jitter)
        return self._give_up(Outcome.FAILED)

    def _retry(self, outcome: Outcome, now: float, jitter: float) -> Step:
        """Wait for a random time, which grows with each consecutive failure, or give up with this outcome."""
        patience = self._patience
        congestion = patience.congestion
        if not self.failures:
            is_opening = outcome is Outcome.NOT_YET_OPEN
            seconds = min(OPENING_PATIENCE_S, patience.seconds) if is_opening else patience.seconds
            self._give_up_at = now + seconds
            self._congested_before = congestion.seconds(now)
        back_off = BACK_OFF_S[min(self.failures, len(BACK_OFF_S) - 1)]
        due = now + back_off * jitter  # "full jitter": Brooker, Exponential Backoff And Jitter
        give_up_at = self._give_up_at
        if self.throttled:
            give_up_at += min(CONGESTED_PATIENCE_S, congestion.seconds(due) - self._congested_before)
        if due >= give_up_at:
            return self._give_up(outcome)
        self.failures += 1
        if not self.closing:
            self.unfinished = outcome
        self._due_at = due
        return due

    def _give_up(self, outcome: Outcome) -> Step:
        if self.closing:
            return Outcome.STUCK
        if not self._patience.close_unserved or outcome is Outcome.NOT_YET_OPEN:
            return outcome
        self.failures = 0
        self.closing = True
        self.unfinished = Outcome.STUCK
        return AT_ONCE
