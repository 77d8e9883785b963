"""Which deliveries leave a lane: the connections that cannot be served while all others wait for them.

A lane is one call of `Poster.deliver` whose caller has more to post afterwards. Times are in s, on the monotonic clock.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

from realtime.posting.delivery import Delivery, Frame
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
# How often it tries a connection that does not exist, if it waits only because the account seems to be throttled, or
# because the API seems to answer nobody. If the account is not throttled after all, one try follows the other at once.
# If it is, the next try waits twice as long: the tries of all lanes take what others would get.
PROBE_S, LONGEST_PROBE_S = 0.1, 0.8
# Unless something was answered that was requested later than a delivery, and within this time, a missing answer is not
# the connection's fault …
SOUND_S = 0.1
# … but only for so long in each lane.
SILENCE_S = 2.0
# For how long such a request is waited for.
PROBING_S = 0.5
PROBED_ID, _PROBE = "AAAAAAAAAAAAAAA=", (Frame(b"{}"),)  # the id of no connection


def probe_of(stage: str, method: str = "POST") -> Any:
    """Return a delivery that nobody gets; its answer shows how the account and the API are, and what the role may."""
    frames = _PROBE if method == "POST" else ()
    return Delivery(stage, PROBED_ID, frames, connected_at_s=0.0, close=method == "DELETE", ask=method == "GET")


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

    def unusual_s(self) -> float:
        """Return how long an answer seldom takes, at least HANGING_S."""
        return HANGING_S if self._mean_s is None else max(HANGING_S, self._mean_s + 2 * self._deviation_s)


class Unserved(Protocol):
    """What a lane must know of a delivery under way."""

    since: float
    throttled: bool
    failures: int

    @property
    def delivery(self) -> Delivery: ...


class Lane:
    """Tells which deliveries have to leave.

    What is not the connection's fault does not count: the time in which nothing could be sent or received, a 429 that
    the account's `congestion` explains, and that nothing comes from an API that answers nobody else either.
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
        self._checked_at = now
        self._probe_at, self._probe_s = now, PROBE_S
        self._probed_at = -math.inf
        self._sound_since = -math.inf  # the latest `since` of a delivery that was answered
        self._silent_s = 0.0  # for how long deliveries have stayed because the API answered nobody
        self._is_silent = False
        self._doubted = ""  # the stage of a delivery whose answer is missing, if no other answer shows how the API is

    def is_late(self, delivery: Unserved, due: float) -> bool:
        """Return whether a delivery that cannot be served before `due` has to leave now.

        If the account explains that it is not served, the time until then does not count, now or later.
        """
        due -= self.stalled_s
        if delivery.throttled and self._congestion.explains(max(1, delivery.failures)):
            delivery.since = due
            return False
        return due - delivery.since >= (self._latency.longest_s() if self.is_ending else LANE_S)

    def answered(self, delivery: Unserved, status: int, now: float) -> None:
        """Note an answer, which shows that the API works, and if it is a success, how long one takes."""
        if not 0 < status < 500:
            return
        self._sound_since = max(self._sound_since, delivery.since)
        if status < 300 and not delivery.failures:
            self._latency.note(now - self.stalled_s - delivery.since)

    def probed(self, status: int, now: float) -> None:
        """Note the answer of a connection that does not exist."""
        if status == 429:
            self._probe_s = min(2 * self._probe_s, LONGEST_PROBE_S)
            self._probe_at = now + self._probe_s
        elif 0 < status < 500:
            self._probe_at, self._probe_s = now, PROBE_S

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
        if now < self._checked_at + CHECK_S:
            return False
        if self._is_silent:
            self._silent_s += now - self._checked_at
        self._checked_at = now
        self.hanging, self._is_silent, self._doubted = 0, False, ""
        return True

    def lets_leave(self, delivery: Unserved, now: float) -> bool:
        """Return whether a delivery with a request under way has to leave now; if not, see whether it hangs."""
        unserved_s = now - self.stalled_s - delivery.since
        if delivery.delivery.connection_id is PROBED_ID:
            return unserved_s >= PROBING_S
        is_late = self.is_late(delivery, now)
        if is_late or unserved_s >= self._latency.unusual_s():  # before it is late, so that the answer has come by then
            is_sound = self._is_sound(delivery, now)
            if is_late and (is_sound or self._silent_s >= SILENCE_S):
                return True
            self._is_silent = self._is_silent or is_late
        self.hanging += unserved_s >= HANGING_S
        return False

    def _is_sound(self, delivery: Unserved, now: float) -> bool:
        """Return whether the API answers what was requested later; if nothing shows that, let a connection be tried."""
        if self._sound_since > delivery.since and now - self.stalled_s - self._sound_since <= SOUND_S:
            return True
        self._doubted = delivery.delivery.stage
        return False

    def stage_to_probe(self, now: float, throttled: Unserved | None) -> str:
        """Return the stage of the connection to try now that does not exist; "" if there is nothing to find out.

        `throttled` is a delivery that waits for the account, if nothing else is left to be done.
        """
        is_throttled = throttled is not None and self._congestion.is_on
        stage = throttled.delivery.stage if throttled is not None and is_throttled else self._doubted
        if not stage or now < (self._probe_at if is_throttled else min(self._probe_at, self._probed_at + PROBE_S)):
            return ""
        self._probed_at, self._probe_at = now, now + self._probe_s
        return stage
