"""How fast to post: a quota, two limits that adapt to 429s (in flight, a second), and the account's congestion."""

from __future__ import annotations

import math
from typing import Protocol


class Quota(Protocol):
    """Says how many requests a Poster may make. Times are on the monotonic clock.

    Who makes requests takes them off `tokens`.
    """

    tokens: float

    def refill(self, now: float) -> int:
        """Bring the tokens up to date; return how many whole tokens there are."""
        ...

    def seconds_to_next(self) -> float:
        """Return how long to wait for a token, at the most; called when a request waits for one."""
        ...

    def answered(self, now: float, first: int, throttled: int, later: int, accepted: int) -> None:
        """Note answers, as `Congestion.answered` does."""
        ...


class TokenBucket:
    """A quota: `rate` tokens a second, of which up to `burst` can be saved up. Times are on the monotonic clock."""

    def __init__(self, rate: float, burst: float) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError("a token bucket needs a rate above 0 and room for one token")
        self.tokens = burst
        self._rate = rate
        self._burst = burst
        self._filled_at: float | None = None

    def refill(self, now: float) -> int:
        """Add the tokens that have accrued since the last call; return how many whole tokens there are."""
        if self._filled_at is not None:
            self.tokens = min(self._burst, self.tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        return int(self.tokens)

    def seconds_to_next(self) -> float:
        """Return how long it takes until there is one whole token."""
        return max(0.0, (1 - self.tokens) / self._rate)

    def answered(self, now: float, first: int, throttled: int, later: int, accepted: int) -> None:
        """Heed no answers: the rate is fixed."""


class Window:
    """A limit on requests in flight, adapted the way TCP adapts its congestion window.

    It doubles with each round until the first congested round; after that it grows by one with each round. A congested
    round halves it.

    A round consists of as many answers as requests may be in flight, so it takes about one round trip. A 429 may also
    mean that the buffer of one slow client is full, which is no reason to slow down for all. Therefore a round counts
    as congested only if more than a tenth of its requests got their first 429. The limit grows only in rounds in which
    it held requests back.
    """

    CONGESTED = 0.1
    _SHORTEST_ROUND = 10

    def __init__(self, start: int, limit: int) -> None:
        self.size = min(start, limit)
        self._limit = limit
        self._answers = self._throttled = 0
        self._held_back = False
        self._congested_once = False

    def held_back(self) -> None:
        """Note that a request had to wait because the limit was reached."""
        self._held_back = True

    def answered(self, answers: int, throttled: int) -> None:
        """Note answers, and how many of them were a connection's first 429; adapt the limit at the end of a round."""
        self._answers += answers
        self._throttled += throttled
        if self._answers < max(self.size, self._SHORTEST_ROUND):
            return
        if self._throttled > self._answers * self.CONGESTED:
            self.size = max(1, self.size // 2)
            self._congested_once = True
        elif self._held_back:
            self.size = min(self._limit, self.size + 1 if self._congested_once else self.size * 2)
        self._answers = self._throttled = 0
        self._held_back = False


class Pace:
    """A limit on requests a second while others press on the account: it shrinks with 429s that hit everyone.

    There is none at first. If more than a part (`tolerated`) of the requests of 0.2 s get a 429, it becomes seven
    tenths of what was sent, and then seven tenths of itself. From there it returns to what it was, stays near it, and
    then goes beyond faster and faster: CUBIC (RFC 9438), which finds the rate that another party leaves free, and takes
    all of it back within half a minute. Slow clients are no reason: only first tries count where there are enough, and
    either most of them got a 429, or many later ones were accepted, which those of slow clients are not. Times are on
    the monotonic clock.
    """

    LEAST = 2.0  # requests a second, by which the end of the congestion is found
    _CUT = 0.7
    _BACK_S = 2.0  # until the rate is again what it was when it was cut
    _ROUND_S, _ROUND = 0.2, 10  # the least duration of a round, and the fewest answers

    def __init__(self, most: float, tolerated: float) -> None:
        self.rate = most
        self.tokens = math.inf
        self._tolerated = tolerated
        self._most = most
        # Set when the rate is cut: before, there are infinitely many tokens.
        self._before: float  # the rate that was cut
        self._cut_at: float
        self._filled_at: float
        self._since: float | None = None
        self._first = self._throttled = self._tries = self._refused = self._accepted = 0

    def refill(self, now: float) -> None:
        """Bring the tokens up to date: infinitely many, as long as there is no limit."""
        if self.tokens == math.inf:
            return
        self.rate = self._before * (1 + (1 - self._CUT) * ((now - self._cut_at) / self._BACK_S - 1) ** 3)
        if self.rate >= self._most:
            self.rate, self.tokens = self._most, math.inf
            return
        self.tokens = min(max(1.0, self.rate * self._ROUND_S), self.tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now

    def seconds_to_next(self) -> float:
        """Return how long it takes until there is one whole token."""
        return max(0.0, (1 - self.tokens) / self.rate)

    def answered(self, now: float, first: int, throttled: int, later: int, accepted: int) -> None:
        """Note answers, as `Congestion.answered` does; shrink the rate at the end of a congested round."""
        if self._since is None:
            self._since = now
        self._first += first
        self._throttled += throttled
        self._tries += first + later
        self._refused += throttled + later - accepted
        self._accepted += accepted
        seconds = now - self._since
        if self._tries < self._ROUND or seconds < self._ROUND_S:
            return
        tries, refused = self._first, self._throttled
        if tries < self._ROUND:
            tries, refused = self._tries, self._refused
        hits_everyone = 2 * refused > tries or 3 * self._accepted > refused
        if refused > self._tolerated * tries and hits_everyone:
            self._before = min(self.rate, max(self.LEAST / self._CUT, self._tries / seconds))
            self.rate = max(self.LEAST, self._CUT * self._before)
            self.tokens = min(self.tokens, 1.0)
            self._cut_at = self._filled_at = now
        self._since = None
        self._first = self._throttled = self._tries = self._refused = self._accepted = 0


class Congestion:
    """Whether the whole account is throttled, and for how long. In that case a 429 says nothing about its connection.

    Congestion begins when most first tries of a round get a 429, or four in a row: only few clients are slow, but
    throttling affects all. So a lane that posts to two connections at a time sees it as well. It ends when four of five
    tries of a round are accepted; all tries of a round are first tries, or all are later ones. Times are on the
    monotonic clock.

    Short of that, some first tries may meet the account's limit. Their later ones are accepted, which those of slow
    clients are not, so these tell how many it refuses, and whether a connection's 429s may be chance (`explains`).
    """

    _ROUND = 10  # tries
    _IN_A_ROW = 4  # of a hundred slow clients in ten thousand, four meet by chance once in a hundred million posts
    _HALF_S = 2.0  # after which an answer counts half
    _FEWEST = 2.0  # accepted later tries; fewer may be those of a client that was slow for a moment
    _DOUBT = 10.0  # first tries that are added, as if all had been accepted, for where there are few
    _CHANCE = 1e-7
    _KEPT_S = 5.0  # if there is no try for this long, congestion is assumed to be over

    def __init__(self) -> None:
        self._began: float | None = None
        self._ended_after = 0.0  # s; the length of all earlier congestion
        self._first = self._throttled = self._later = self._accepted = 0
        self._in_a_row = 0  # 429s of first tries since the last that was answered otherwise
        self._answered_at = 0.0
        self._recent_first = self._recent_throttled = self._recent_accepted = 0.0

    @property
    def is_on(self) -> bool:
        """Whether there is congestion."""
        return self._began is not None

    def explains(self, failures: int) -> bool:
        """Return whether the account's limit may be why a connection got so many 429s in a row."""
        if self.is_on:
            return True
        unlucky = min(self._recent_throttled, self._recent_accepted)
        return unlucky >= self._FEWEST and (unlucky / (self._recent_first + self._DOUBT)) ** failures > self._CHANCE

    def seconds(self, now: float) -> float:
        """Return the total time of congestion so far (s); the difference of two values is the time between them."""
        return self._ended_after + (0.0 if self._began is None else now - self._began)

    def resume(self, now: float) -> None:
        """Continue after a pause of unknown length."""
        if now - self._answered_at > self._KEPT_S:
            self._end(self._answered_at)

    def answered(self, now: float, first: int, throttled: int, later: int, accepted: int) -> None:
        """Note first tries, how many of them got a 429, later tries, and how many of the later ones were accepted."""
        weight = 0.5 ** ((now - self._answered_at) / self._HALF_S)
        self._recent_first = self._recent_first * weight + first
        self._recent_throttled = self._recent_throttled * weight + throttled
        self._recent_accepted = self._recent_accepted * weight + accepted
        self._answered_at = now
        self._first += first
        self._throttled += throttled
        self._later += later
        self._accepted += accepted
        if first:
            self._in_a_row = self._in_a_row + throttled if throttled == first else 0
            if self._in_a_row >= self._IN_A_ROW:
                self._begin(now)
        if self._first >= self._ROUND:
            if 2 * self._throttled > self._first:
                self._begin(now)
            elif 5 * self._throttled <= self._first:
                self._end(now)
            self._first = self._throttled = self._later = self._accepted = 0
        elif self._later >= self._ROUND:
            if 5 * self._accepted >= 4 * self._later:
                self._end(now)
            self._later = self._accepted = 0

    def _begin(self, now: float) -> None:
        if self._began is None:
            self._began = now

    def _end(self, now: float) -> None:
        self._in_a_row = 0
        if self._began is not None:
            self._ended_after += max(0.0, now - self._began)
            self._began = None
