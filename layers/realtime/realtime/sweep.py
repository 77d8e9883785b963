"""Sweep: every minute, find what a lost message, a crash or a silent network left behind, and set it right.

Connections are checked by `session_checks`. Users and calls are read from indexes, a page at a time. Each part has its
share of the time; what it does not come to, the next sweep goes on with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from realtime.errors import RealtimeError, Unavailable
from realtime.liveness import Judge
from realtime.posting.poster import Poster
from realtime.session_checks import SESSION_SECONDS, SLACK_SECONDS, SessionChecks, noted
from realtime.tables import Tables
from realtime.tables.calls import OpenCall
from realtime.tables.dynamodb import Cursor
from realtime.tables.session_scan import Progress
from realtime.tables.users import User

SEGMENTS = 8  # of the table, which are scanned in parallel
# When each part has to stop, as a part of a sweep's time; API Gateway may be asked until its end.
_CALLS_UNTIL, _USERS_UNTIL, _SCAN_UNTIL = 0.1, 0.35, 0.75

# How long to wait for what follows from API Gateway's answers, once it may not be asked any more.
SETTLING_SECONDS = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Policy:
    """The times that a deployment may choose; in s."""

    lease_seconds: int
    grace_seconds: int
    call_seconds: int  # a call whose end has not come after this long is ended


class Sweeper:
    """Find leftover connections, users and calls, and end them."""

    def __init__(
        self,
        tables: Tables,
        poster: Poster,
        policy: Policy,
        *,
        clock: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:
        """Take what it works with; `clock` is monotonic, and `pause` waits."""
        self._tables = tables
        self._poster = poster
        self._policy = policy
        self._clock = clock
        self._pause = pause

    def sweep(self, now_ms: int, until: float) -> Counter[str]:
        """Sweep once; return what was found and done.

        `until` is on the monotonic clock; SETTLING_SECONDS after it, nothing is waited for any more.
        After a failure everything else is still done. The first problem is raised at the end, so that an operator sees
        it, and the next sweep tries again. Raises ConfigurationError if this function's role may not ask API Gateway.
        """
        problems: list[RealtimeError] = []
        begun = self._clock()
        calls_until, users_until, scan_until = (
            begun + part * (until - begun) for part in (_CALLS_UNTIL, _USERS_UNTIL, _SCAN_UNTIL)
        )
        last, served = Progress(), {}
        with noted(problems):
            last = self._tables.session_scan.progress(SEGMENTS)
        with noted(problems):
            served = self._tables.served.all()
        found: Counter[str] = Counter(calls_expired=0, users_set_offline=0)
        calls = self._end_expired_calls(last.calls, found, now_ms, calls_until, problems)
        users = self._set_stranded_offline(last.users, found, now_ms, users_until, problems)
        judge = Judge(now_ms // 1000, self._policy.lease_seconds, served)
        checks = SessionChecks(
            self._tables, self._poster, judge, problems, now_ms=now_ms, clock=self._clock, pause=self._pause
        )
        threads = ThreadPoolExecutor(SEGMENTS)
        try:
            counts, progress = checks.check(last, SEGMENTS, threads, scan_until, until)
            with noted(problems):  # before anything is waited for: it must not be lost with the function's time
                self._tables.session_scan.keep(replace(progress, users=users, calls=calls), now_ms)
            counts.update(checks.finish(until + SETTLING_SECONDS))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
        if problems:
            raise problems[0]
        found.update(counts)
        return found

    def _set_stranded_offline(
        self, after: Cursor, found: Counter[str], now_ms: int, until: float, problems: list[RealtimeError]
    ) -> Cursor:
        """Set users offline whose last connection ended without the check that should have followed."""
        patience_ms = (self._policy.grace_seconds + SLACK_SECONDS) * 1000
        longest_ms = (SESSION_SECONDS + SLACK_SECONDS) * 1000
        users = self._tables.users

        def read(cursor: Cursor) -> tuple[list[User], Cursor]:
            return users.stranded(cursor, left_before_ms=now_ms - patience_ms, seen_before_ms=now_ms - longest_ms)

        def set_right(user: User) -> None:
            for connection_id in user.connection_ids:  # each is older than a connection can be
                users.leave(user.user_id, connection_id, now_ms, user.last_seen_ms)
            if not user.connection_ids:
                found["users_set_offline"] += users.set_offline(user.user_id, user.left_at_ms, now_ms)

        return self._each(read, set_right, after, until, problems)

    def _end_expired_calls(
        self, after: Cursor, found: Counter[str], now_ms: int, until: float, problems: list[RealtimeError]
    ) -> Cursor:
        """End the calls whose end never came."""
        started_before_s = now_ms // 1000 - self._policy.call_seconds

        def read(cursor: Cursor) -> tuple[list[OpenCall], Cursor]:
            return self._tables.calls.open_since(started_before_s, cursor)

        def end(call: OpenCall) -> None:
            self._tables.calls.end(call, now_ms)
            found["calls_expired"] += 1

        return self._each(read, end, after, until, problems)

    def _each(
        self,
        read: Callable[[Cursor], tuple[list[T], Cursor]],
        act: Callable[[T], None],
        cursor: Cursor,
        until: float,
        problems: list[RealtimeError],
    ) -> Cursor:
        """Read pages, and act on each thing found, until the end or until the time is up; return where to go on."""
        while True:
            try:
                found, following = read(cursor)
            except RealtimeError as problem:
                problems.append(problem)
                return cursor if isinstance(problem, Unavailable) else None
            for each in found:
                with noted(problems):
                    act(each)
                if self._clock() >= until:
                    return cursor  # the page's rest is read again
            cursor = following
            if cursor is None or self._clock() >= until:
                return cursor
