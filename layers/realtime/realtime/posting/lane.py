"""Which deliveries leave a lane: the connections that cannot be served while all others wait for them.

A lane is one call of `Poster.deliver` whose caller has more to post afterwards. Times are in s, on the monotonic clock.
"""

from __future__ import annotations

from typing import Protocol

from realtime.posting.pacing import Congestion

# How long a delivery may be unserved, from its first request, while others are served.
LANE_S = 0.25
# The least time for which all others wait for it, when nothing else is left to be done.
LAST_S = 0.06
# Each frame may take this long without using it up: a delivery of many frames takes its time.
EACH_FRAME_S = 0.05
# If the Poster cannot look for answers for this long, answers may have come meanwhile: its caller read the next
# recipients, or the processor did something else. To start all requests that the window allows takes less.
STALL_S = 0.02
# From when on a delivery takes no place in the window, where a hundred that hang would slow down all others.
HANGING_S = 0.03
# How often a lane looks for deliveries that have to leave it.
CHECK_S = 0.01
# How often it tries a connection that does not exist, if it waits only because the account seems to be throttled.
PROBE_S = 0.1


class Latency:
    """How long an answer usually takes, and how much that varies, estimated as TCP does for its timeouts (RFC 6298)."""

    def __init__(self) -> None:
        self._mean_s: float | None = None
        self._deviation_s: float  # set by the first answer

    def note(self, seconds: float) -> None:
        """Note how long an answer took."""
        if self._mean_s is None:
            self._mean_s, self._deviation_s = seconds, seconds / 2
        else:
            self._deviation_s += (abs(seconds - self._mean_s) - self._deviation_s) / 4
            self._mean_s += (seconds - self._mean_s) / 8

    def longest_s(self) -> float:
        """Return after how long an answer that did not come is not expected any more; at most LANE_S."""
        if self._mean_s is None:
            return LANE_S
        return min(LANE_S, max(LAST_S, self._mean_s + 4 * self._deviation_s))


class Unserved(Protocol):
    """What a lane must know of a delivery under way."""

    since: float
    throttled: bool
    failures: int


class Lane:
    """Tells which deliveries have to leave.

    The time in which nothing could be sent or received does not count. Nor does a 429 that the account's `congestion`
    explains: it says nothing about the connection.
    """

    def __init__(self, congestion: Congestion, latency: Latency, now: float) -> None:
        self.is_ending = False
        """Whether nothing else is left to be done than to wait for deliveries under way."""
        self.stalled_s = 0.0
        """For how long nothing could be sent or received; a delivery's `since` counts without it."""
        self.hanging = 0
        """How many requests seem to hang; they take no place from others."""
        self._due_back_at = now
        self._congestion = congestion
        self._latency = latency
        self._check_at = now + CHECK_S
        self._probe_at = now

    def is_late(self, delivery: Unserved, due: float) -> bool:
        """Return whether a delivery that cannot be served before `due` has to leave now."""
        due -= self.stalled_s
        if delivery.throttled and self._congestion.explains(max(1, delivery.failures)):
            delivery.since = due
            return False
        return due - delivery.since >= (self._latency.longest_s() if self.is_ending else LANE_S)

    def answered(self, delivery: Unserved, now: float) -> None:
        """Note a success, to learn how long one takes."""
        if not delivery.failures:
            self._latency.note(now - self.stalled_s - delivery.since)

    def is_away(self, until: float) -> None:
        """Note that the Poster waits for answers, and means to be back by then."""
        self._due_back_at = until

    def is_back(self, now: float) -> None:
        """Note that the Poster is about to look for answers; a long time in which it could not do so does not count."""
        if now - self._due_back_at > STALL_S:
            self.stalled_s += now - self._due_back_at
        self._due_back_at = now

    def pause(self, delivery: Unserved, now: float) -> None:
        """Let a delivery wait for its next request, because of the quota or the window: this time does not count."""
        delivery.since -= now - self.stalled_s

    def go_on(self, delivery: Unserved, now: float) -> None:
        """Go on after `pause`."""
        delivery.since = now - self.stalled_s + min(0.0, delivery.since + EACH_FRAME_S)

    def must_check(self, now: float) -> bool:
        """Return whether it is time to ask `lets_leave` of all deliveries that have a request under way."""
        if now < self._check_at:
            return False
        self._check_at = now + CHECK_S
        self.hanging = 0
        return True

    def lets_leave(self, delivery: Unserved, now: float) -> bool:
        """Return whether a delivery has to leave now; if not, see whether it hangs."""
        if self.is_late(delivery, now):
            return True
        self.hanging += now - self.stalled_s - delivery.since >= HANGING_S
        return False

    def must_probe(self, now: float) -> bool:
        """Return whether it is time to find out whether the account is still throttled."""
        if not self._congestion.is_on or now < self._probe_at:
            return False
        self._probe_at = now + PROBE_S
        return True
