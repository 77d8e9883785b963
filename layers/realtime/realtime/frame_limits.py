"""Limit how fast a connection and a user may send, over all function instances, for next to nothing a frame.

Three lines, each behind the last (docs/decisions/0038):

1. Each instance has a bucket of its own for each connection, which costs nothing.
2. All instances share one, in the connection's session. While a connection is quiet, which its session shows, one
   frame in `counted` (6 by default) is counted there; from the first counted one on, each frame is, by a conditional
   write. So a count is never too high, and too low by a handful of frames. With `counted` = 1 it is exact.
3. The frames of a busy connection are counted for its user as well.

Of refused frames one in six costs a write, and is counted for all six. Like a bucket, this count falls again, at the
connection's rate. When it is at a hundred, the connection is closed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from realtime.errors import ClientError, RateLimited, Unavailable
from realtime.log import logger
from realtime.messages import encode_error
from realtime.rate_limit import Rate, RateLimit
from realtime.refusals import Addressee
from realtime.tables.connections import Session
from realtime.tables.rates import Bucket, Rates

COUNTED_REFUSALS = 6  # one refusal in so many is counted
CLOSED_AFTER = 100  # refused frames
_REST_SECONDS = 10  # that a client is asked to stay away


class FrameLimits:
    """Admit or refuse the frames of connections."""

    def __init__(
        self,
        rates: Rates,
        here: RateLimit,
        *,
        of_connection: Rate,
        of_user: Rate,
        counted: int,
        close: Callable[[Addressee, str, int], None],
        chance: Callable[[], float] | None = None,
    ) -> None:
        """Take the buckets that all share and those of this instance.

        One frame in `counted` of a quiet connection is counted; `close` sends a connection away with a frame.
        """
        self._rates = rates
        self._here = here
        self._of_connection = of_connection
        self._of_user = of_user
        self._counted = counted
        self._close = close
        self._chance = chance or random.random

    def check_here(self, connection: Addressee, tokens: float, now_ms: int) -> bool:
        """Admit a frame as far as this instance knows; return whether it saw the connection lately.

        Raises RateLimited.
        """
        taken = self._here.take(connection.connection_id, tokens)
        if taken.wait_s:
            raise self._refuse(connection, taken.wait_s, now_ms)
        return not taken.was_full

    def check(self, session: Session, tokens: float, now_ms: int, *, is_known: bool) -> None:
        """Admit a frame as far as all instances know.

        `is_known` is what `check_here` returned. Raises RateLimited.
        """
        connection = session.connection
        wait_s = self._of_connection.wait_s(session.full_at_ms, now_ms)
        if wait_s:
            raise self._refuse_everywhere(connection, wait_s, now_ms)
        full_since_ms = now_ms - session.full_at_ms
        is_quiet = not is_known and full_since_ms > self._of_connection.room_ms
        if is_quiet and self._chance() * self._counted >= tokens:
            return
        try:
            problem = self._count(session, tokens, now_ms)
        except Unavailable as failure:  # what cannot be counted refuses nobody; this instance counts all the same
            _log_uncounted(connection.connection_id, failure)
            return
        if problem is not None:
            raise problem

    def charge(self, connection_id: str, tokens: float, now_ms: int) -> None:
        """Charge an admitted frame with what its answer takes beyond its tokens.

        As with frames, a charge of less than `counted` tokens is counted by all instances only now and then, by chance.
        """
        self._here.charge(connection_id, tokens)
        if self._chance() * self._counted < tokens:
            try:
                self._rates.charge_connection(connection_id, self._of_connection.cost_ms(tokens), now_ms)
            except Unavailable as failure:
                _log_uncounted(connection_id, failure)

    def _count(self, session: Session, tokens: float, now_ms: int) -> ClientError | None:
        connection, rate = session.connection, self._of_connection
        cost_ms = rate.cost_ms(tokens)
        bucket = self._rates.take_of_connection(
            connection.connection_id, cost_ms, rate.room_ms, now_ms, seen_ms=session.full_at_ms
        )
        if bucket is None:
            return None
        if not bucket.is_granted:
            return self._refuse_everywhere(connection, rate.wait_s(bucket.full_at_ms, now_ms), now_ms)
        is_busy = bucket.before_ms > now_ms - rate.cost_ms(1)  # the last frame came less than two frames' time ago
        return self._count_for_user(session, tokens, now_ms) if is_busy else None

    def _count_for_user(self, session: Session, tokens: float, now_ms: int) -> ClientError | None:
        connection, rate = session.connection, self._of_user
        bucket = self._rates.take_of_user(connection.user_id, rate.cost_ms(tokens), rate.room_ms, now_ms)
        if bucket.is_granted:
            return None
        # The other instances learn it from the connection's own bucket, which is emptied.
        own = self._of_connection
        emptied = self._rates.charge_connection(connection.connection_id, own.cost_ms(own.burst), now_ms)
        full_at_ms = emptied.full_at_ms if emptied else now_ms
        wait_s = max(rate.wait_s(bucket.full_at_ms, now_ms), own.wait_s(full_at_ms, now_ms))
        return self._refuse_everywhere(connection, wait_s, now_ms)

    def _refuse_everywhere(self, connection: Addressee, wait_s: int, now_ms: int) -> ClientError:
        self._here.refuse(connection.connection_id, wait_s)
        return self._refuse(connection, wait_s, now_ms)

    def _refuse(self, connection: Addressee, wait_s: int, now_ms: int) -> ClientError:
        """Return the refusal of a frame, and close a connection whose count of them is at a hundred."""
        if self._chance() * COUNTED_REFUSALS < 1:
            try:
                self._count_refusal(connection, now_ms)
            except Unavailable as failure:
                _log_uncounted(connection.connection_id, failure)
        return RateLimited("Too many messages; wait before you send more", retry_after=wait_s)

    def _count_refusal(self, connection: Addressee, now_ms: int) -> None:
        cost_ms = self._of_connection.cost_ms(COUNTED_REFUSALS)
        bucket = self._rates.count_refusals(connection.connection_id, cost_ms, now_ms)
        if bucket is not None and self._has_to_go(bucket, now_ms):
            logger().warning("closed for its flood", extra={"connection_id": connection.connection_id})
            problem = RateLimited("Too many messages, for too long", retry_after=_REST_SECONDS)
            self._close(connection, encode_error(problem, now_ms), now_ms)

    def _has_to_go(self, bucket: Bucket, now_ms: int) -> bool:
        """Return whether this refusal is the hundredth; or the 200th, the 400th …, in case that closing it failed."""
        limit_ms = self._of_connection.cost_ms(CLOSED_AFTER)
        before, after = (max(0, at_ms - now_ms) // limit_ms for at_ms in (bucket.before_ms, bucket.full_at_ms))
        return before.bit_length() < after.bit_length()


def make_frame_limits(
    rates: Rates,
    per_second: float,
    burst: float,
    per_second_of_user: float,
    counted: int,
    close: Callable[[Addressee, str, int], None],
) -> FrameLimits:
    """Return the limits of connections and users; a user's burst lasts as long as a connection's, each at its rate."""
    of_connection = Rate(per_second, burst)
    of_user = Rate(per_second_of_user, max(1, burst * per_second_of_user / per_second))
    here = RateLimit(of_connection, time.time)
    return FrameLimits(rates, here, of_connection=of_connection, of_user=of_user, counted=counted, close=close)


def _log_uncounted(connection_id: str, failure: Unavailable) -> None:
    logger().warning("cannot count", extra={"connection_id": connection_id, "reason": str(failure)})
