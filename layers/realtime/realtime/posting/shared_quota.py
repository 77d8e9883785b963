"""A quota that all instances share: each claims posts of the budget before it needs them, and never waits for a claim.

Time is cut into slots by the wall clock. A claim takes posts of one slot; what is not used by its end lapses. While a
slot passes, an instance claims for the next one what this one has needed, or twice that if it was not enough: an
instance alone may use the whole budget, and several divide it, an eighth of a slot at a time.
docs/decisions/0040-one-budget-of-posts.md
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, NamedTuple

from realtime.log import logger
from realtime.posting.pacing import Pace, TokenBucket
from realtime.posting.uses import ALLOWED, Use

SLOT_MS: Final = 200
_SLOT_S = SLOT_MS / 1000
_ALLOWED_AT_ONCE = 20.0  # posts; a call reaches the devices of two users
# Claims for the next slot begin in the middle of this one. An instance that got something waits up to this much longer.
_LEAD, _COURTESY = 0.5, 0.1
# Claims of one instance, if there are others: an eighth of a slot at a time. Before a slot begins, an instance alone
# leaves an eighth too: that another one can claim it is how they learn of each other.
_CHUNK = 1 / 8
_SHARED_SLOTS = 25  # for so long others are expected to come again
_LATEST = 0.9  # of a slot; later, a claim for it would come too late
_FIRST_CLAIM = 4
_POLL_S = 0.002  # how often to look whether a claim was answered
# After a failed claim, or one without an answer for so long, an instance uses a share for which it need not ask. s
_TOO_LONG_S, _UNASKED_S = 0.4, 1.0
# These may post at the same time: two readers of eight shards, late 10, farewell 5, sweep 1; the rest is for default.
SHARES: Final = 64


class Claim(NamedTuple):
    """The answer to a claim: how many posts were granted, and how many of the slot are claimed by all instances."""

    granted: int
    claimed: int


# Claims posts of the slot that begins at a time (ms since the epoch), as long as all claims stay within a limit.
ClaimPosts = Callable[[int, int, int], Claim]
# Runs a claim elsewhere.
Submit = Callable[[Callable[[], Claim]], "Future[Claim]"]


@dataclass(slots=True)
class _Slot:
    number: int
    left: float = 0.0  # posts that were claimed and are not used
    mine: int = 0  # claimed by this instance
    claimed: int = 0  # by all, as far as is known
    used: float = 0.0
    is_short: bool = False  # a request had to wait


class SharedQuota:
    """A Quota out of a budget of `posts_per_second`, which all instances share; `wall` is in s since the epoch."""

    def __init__(
        self,
        claim: ClaimPosts,
        submit: Submit,
        *,
        posts_per_second: float,
        use: Use,
        wall: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.tokens = 0.0
        self._claim = claim
        self._submit = submit
        self._wall = wall
        self._jitter = jitter
        of_slot = posts_per_second * (1 - ALLOWED) * _SLOT_S
        self._limit = max(1, int(of_slot * use.part))
        self._chunk = math.ceil(self._limit * _CHUNK)
        allowance = posts_per_second * use.allowed / use.instances
        self._allowance = TokenBucket(allowance, _ALLOWED_AT_ONCE) if allowance else None
        share = posts_per_second / SHARES
        self._share = TokenBucket(share, max(1.0, share * _SLOT_S))
        self._pace = Pace(posts_per_second * use.most, use.tolerated)
        self._offered = 0.0  # the tokens after the last refill
        self._now = 0.0
        self._at = 0.0  # the wall clock, in slots
        self._this, self._next = _Slot(0), _Slot(1)
        self._lead = _LEAD
        self._asked: tuple[int, float, Future[Claim]] | None = None  # the slot's number, and when
        self._unasked_until = -math.inf  # monotonic
        self._shared_until = 0  # the number of a slot

    def refill(self, now: float) -> int:
        """Bring the tokens up to date, and claim ahead; return how many whole tokens there are."""
        used = self._offered - self.tokens
        if used > 0:
            self._use(used)
        self._now, self._at = now, self._wall() / _SLOT_S
        if int(self._at) != self._this.number:
            self._turn(int(self._at))
        if self._asked is not None:
            self._take_answer(*self._asked)
        if self._asked is None:
            if self._at - self._this.number >= self._lead:
                self._claim_ahead()
            elif self._allowance is not None and self._allowance.tokens + self._this.left < _ALLOWED_AT_ONCE / 2:
                self._claim_now()
        self._pace.refill(now)
        self.tokens = self._offered = min(self._available(), self._pace.tokens)
        return int(self.tokens)

    def seconds_to_next(self) -> float:
        """Return how long to wait before `refill` may find another token; a request waits for one."""
        if self._pace.tokens < 1:
            return self._pace.seconds_to_next()
        self._this.is_short = True
        if self._asked is None:
            self._claim_now()
        if self._asked is not None:
            return _POLL_S
        into = self._at - self._this.number
        seconds = ((self._lead if into < self._lead else 1.0) - into) * _SLOT_S
        spare = [bucket.seconds_to_next() for bucket in (self._allowance, self._unasked()) if bucket is not None]
        return min(seconds, *spare) if spare else seconds

    def answered(self, now: float, first: int, throttled: int, later: int, accepted: int) -> None:
        """Note answers: claim and post less while others press on the account."""
        self._pace.answered(now, first, throttled, later, accepted)

    def _available(self) -> float:
        found = self._this.left
        for bucket in (self._allowance, self._unasked()):
            if bucket is not None:
                bucket.refill(self._now)
                found += bucket.tokens
        return found

    def _use(self, posts: float) -> None:
        """Note that posts were made: of those that would lapse first."""
        self._pace.tokens -= posts
        self._this.used += posts
        of_slot = min(posts, self._this.left)
        self._this.left -= of_slot
        posts -= of_slot
        for bucket in (self._allowance, self._unasked()):
            if bucket is not None and posts > 0:
                taken = min(posts, bucket.tokens)
                bucket.tokens -= taken
                posts -= taken

    def _unasked(self) -> TokenBucket | None:
        """Return the share for which this instance need not ask, if the budget cannot be asked now."""
        return self._share if self._now < self._unasked_until else None

    def _turn(self, number: int) -> None:
        """Begin another slot."""
        self._lead = _LEAD + (_COURTESY * self._jitter() if self._this.mine else 0.0)
        self._this = self._next if self._next.number == number else _Slot(number)
        self._next = _Slot(number + 1)

    def _claim_now(self) -> None:
        """Claim more of this slot, because it was not enough; twice as much each time."""
        this = self._this
        if self._at - this.number <= _LATEST:
            self._ask(this, int(max(_FIRST_CLAIM, this.used)), self._limit)
        if self._asked is None and self._at - this.number >= self._lead:
            self._claim_ahead()

    def _claim_ahead(self) -> None:
        """Claim of the next slot what this one needed."""
        this = self._this
        if this.is_short:
            need = max(_FIRST_CLAIM, 2 * this.used)
        else:
            need = 1.25 * this.used / (self._at - this.number)
            if self._allowance is not None and need <= self._allowance.tokens:
                return
        self._ask(self._next, math.ceil(need) - self._next.mine, self._limit - self._chunk)

    def _ask(self, slot: _Slot, posts: int, limit: int) -> None:
        if self._now < self._unasked_until:
            return
        is_shared = slot.number <= self._shared_until
        room = self._limit if is_shared else limit
        most = self._chunk if is_shared else self._limit
        posts = min(posts, most, room - slot.claimed, math.ceil(self._pace.rate * _SLOT_S) - slot.mine)
        if posts > 0:
            future = self._submit(lambda: self._claim(slot.number * SLOT_MS, posts, room))
            self._asked = slot.number, self._now, future

    def _take_answer(self, number: int, asked_at: float, future: Future[Claim]) -> None:
        """Note the answer to the last claim, if it has come."""
        if not future.done():
            if self._now - asked_at > _TOO_LONG_S:
                self._unasked_until = self._now + _UNASKED_S
            return
        self._asked = None
        try:
            claim = future.result()
        except Exception as problem:  # noqa: BLE001  # whatever it is, the posts must go on
            self._unasked_until = self._now + _UNASKED_S
            logger().warning("the budget of posts cannot be asked", extra={"reason": str(problem)})
            return
        slot = self._this if number == self._this.number else self._next
        if slot.number != number:
            return  # it has passed
        slot.left += claim.granted
        slot.mine += claim.granted
        slot.claimed = max(claim.claimed, slot.mine)
        if slot.claimed > slot.mine:
            self._shared_until = number + _SHARED_SLOTS
