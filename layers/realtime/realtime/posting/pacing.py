"""How fast to post: a quota, a limit on posts in flight that adapts to 429s, and the account's congestion."""

from __future__ import annotations


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


class Congestion:
    """Whether the whole account is throttled, and for how long. In that case a 429 says nothing about its connection.

    Congestion begins when most first tries of a round get a 429: only few clients are slow, but throttling affects all.
    It ends when four of five tries of a round are accepted; all tries of a round are first tries, or all are later
    ones. Times are on the monotonic clock.
    """

    _ROUND = 10  # tries
    _KEPT_S = 5.0  # if there is no try for this long, congestion is assumed to be over

    def __init__(self) -> None:
        self._began: float | None = None
        self._ended_after = 0.0  # s; the length of all earlier congestion
        self._first = self._throttled = self._later = self._accepted = 0
        self._answered_at = 0.0

    @property
    def is_on(self) -> bool:
        """Whether there is congestion."""
        return self._began is not None

    def seconds(self, now: float) -> float:
        """Return the total time of congestion so far (s); the difference of two values is the time between them."""
        return self._ended_after + (0.0 if self._began is None else now - self._began)

    def resume(self, now: float) -> None:
        """Continue after a pause of unknown length."""
        if now - self._answered_at > self._KEPT_S:
            self._end(self._answered_at)

    def answered(self, now: float, first: int, throttled: int, later: int, accepted: int) -> None:
        """Note first tries, how many of them got a 429, later tries, and how many of the later ones were accepted."""
        self._answered_at = now
        self._first += first
        self._throttled += throttled
        self._later += later
        self._accepted += accepted
        if self._first >= self._ROUND:
            if 2 * self._throttled > self._first:
                if self._began is None:
                    self._began = now
            elif 5 * self._throttled <= self._first:
                self._end(now)
            self._first = self._throttled = self._later = self._accepted = 0
        elif self._later >= self._ROUND:
            if 5 * self._accepted >= 4 * self._later:
                self._end(now)
            self._later = self._accepted = 0

    def _end(self, now: float) -> None:
        if self._began is not None:
            self._ended_after += max(0.0, now - self._began)
            self._began = None
