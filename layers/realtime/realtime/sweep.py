"""Sweep: every minute, find what a lost message, a crash or a silent network left behind, and set it right.

A connection whose lease ran out is only a suspect: API Gateway is asked about it, and it is forgotten only after a 410.
Connections whose token has expired are closed. Those that API Gateway is about to end are told to reconnect in time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from realtime import messages
from realtime.audiences import direct
from realtime.errors import AuthFailed, ConfigurationError, RealtimeError, Unavailable
from realtime.ids import make_event_id
from realtime.posting.delivery import Delivery, Outcome
from realtime.posting.poster import Poster
from realtime.refusals import close, refuse
from realtime.tables import Tables
from realtime.tables.connections import Session
from realtime.tables.outbox import Entry
from realtime.tables.session_scan import Cursor, SweepWindow

SEGMENTS = 8  # of the table, which are scanned in parallel
MAX_SESSIONS = 2_500  # per segment and sweep; the next sweep goes on, so that memory and time stay bounded
SESSION_SECONDS = 2 * 3600  # API Gateway ends a connection after this time
RECONNECT_AFTER_SECONDS = 110 * 60  # the age at which a connection is told to reconnect
RECONNECT_WITHIN_SECONDS = 300  # clients spread their new connections over this time
_RECONNECT_SWEEPS_SECONDS = 180  # for this long each sweep tells it again, because some sweeps may fail
_SLACK_SECONDS = 300  # for a $disconnect to arrive, and for differences between clocks


@dataclass(frozen=True, slots=True)
class Policy:
    """The times that a deployment may choose; in s."""

    lease_seconds: int
    grace_seconds: int
    call_seconds: int  # a call whose end has not come after this long is ended


class Sweeper:
    """Find leftover connections, users and calls, and end them."""

    def __init__(self, tables: Tables, poster: Poster, policy: Policy) -> None:
        self._tables = tables
        self._poster = poster
        self._policy = policy

    def sweep(self, now_ms: int, until: float) -> Counter[str]:
        """Sweep once; return what was found and done. `until` is on the monotonic clock.

        After a failure everything else is still done. The first problem is raised at the end, so that an operator sees
        it, and the next sweep tries again. Raises ConfigurationError if this function's role may not ask API Gateway.
        """
        found: Counter[str] = Counter()
        problems: list[RealtimeError] = []
        found["calls_expired"] = self._end_expired_calls(now_ms, problems)
        found["users_set_offline"] = self._set_stranded_offline(now_ms, problems)
        window = _window(now_ms)
        with ThreadPoolExecutor(SEGMENTS) as threads:
            sessions = self._sessions_to_check(threads, window, now_ms, until, problems)
            expired = list(filter(window.has_expired, sessions))
            old = list(filter(window.is_old, sessions))
            suspects = {each.connection.connection_id: each for each in filter(window.has_lapsed, sessions)}
            found.update(expired=len(expired), told_to_reconnect=len(old), suspects=len(suspects))
            done: list[Future[object]] = [threads.submit(self._close, each, now_ms) for each in expired]
            done += [threads.submit(self._tell_to_reconnect, each) for each in old]
            for result in self._poster.deliver(map(_question, suspects.values()), until=until):
                outcome, session = result.outcome, suspects[result.delivery.connection_id]
                found[outcome.value] += 1
                if outcome is Outcome.GONE:
                    connection_id = session.connection.connection_id
                    done.append(threads.submit(self._tables.registry.forget, connection_id, now_ms))
                elif outcome is Outcome.DELIVERED:
                    done.append(threads.submit(self._spare, session, now_ms))
                elif outcome is Outcome.FORBIDDEN:
                    raise ConfigurationError(f"the role of sweep may not ask: {self._poster.refusal}")
        for each in done:
            with _noted(problems):
                each.result()
        if problems:
            raise problems[0]
        return found

    def _sessions_to_check(
        self, threads: ThreadPoolExecutor, window: SweepWindow, now_ms: int, until: float, problems: list[RealtimeError]
    ) -> list[Session]:
        """Scan the table for sessions to check, from where the last sweep had to stop."""
        scan = self._tables.session_scan
        cursors = scan.cursors(SEGMENTS)
        scans = threads.map(
            lambda segment: self._scan(segment, window, cursors[segment], until, problems), range(SEGMENTS)
        )
        found: list[Session] = []
        stopped: list[Cursor] = []
        for sessions, cursor in scans:
            found += sessions
            stopped.append(cursor)
        if stopped != cursors:
            scan.keep_cursors(stopped, now_ms)
        return found

    def _scan(
        self, segment: int, window: SweepWindow, cursor: Cursor, until: float, problems: list[RealtimeError]
    ) -> tuple[list[Session], Cursor]:
        """Scan a segment until the time is up or a page cannot be read; the next sweep goes on from there."""
        sessions: list[Session] = []
        while True:
            try:
                page, cursor = self._tables.session_scan.sessions_to_check(segment, SEGMENTS, window, cursor)
            except Unavailable as problem:
                problems.append(problem)
                return sessions, cursor
            sessions += page
            if cursor is None or len(sessions) >= MAX_SESSIONS or monotonic() >= until:
                return sessions, cursor

    def _close(self, session: Session, now_ms: int) -> None:
        """Tell a connection that its token has expired, and close it."""
        refuse(self._tables.outbox, session.connection, AuthFailed(), now_ms)

    def _tell_to_reconnect(self, session: Session) -> None:
        """Tell a client to open another connection. Each sweep records the same entry; the stream shows it once."""
        connection = session.connection
        at_ms = connection.connected_at_ms + RECONNECT_AFTER_SECONDS * 1000
        self._tables.outbox.put(
            Entry(
                audience=direct(connection.connection_id),
                event_id=make_event_id(at_ms, "reconnect", connection.connection_id),
                kind="reconnect",
                message=messages.encode("reconnect", {"within_seconds": RECONNECT_WITHIN_SECONDS}, at_ms),
                expires_at_s=at_ms // 1000 + SESSION_SECONDS,
                endpoint=connection.endpoint,
                connected_at_ms=connection.connected_at_ms,
            )
        )

    def _spare(self, session: Session, now_ms: int) -> None:
        """Renew the lease of a connection that is alive; close it if it is older than API Gateway allows."""
        connection = session.connection
        now_s = now_ms // 1000
        if connection.connected_at_ms // 1000 + SESSION_SECONDS + _SLACK_SECONDS < now_s:
            frame = messages.encode("reconnect", {"within_seconds": 0}, now_ms)
            close(self._tables.outbox, connection, "reconnect", frame, now_ms)
        self._tables.connections.renew_lease(connection.connection_id, now_s + self._policy.lease_seconds)

    def _set_stranded_offline(self, now_ms: int, problems: list[RealtimeError]) -> int:
        """Set users offline whose last connection ended without the check that should have followed."""
        patience_ms = (self._policy.grace_seconds + _SLACK_SECONDS) * 1000
        longest_ms = (SESSION_SECONDS + _SLACK_SECONDS) * 1000
        users, done = self._tables.users, 0
        with _noted(problems):
            stranded = users.stranded(left_before_ms=now_ms - patience_ms, seen_before_ms=now_ms - longest_ms)
            for user in stranded:
                with _noted(problems):
                    for connection_id in user.connection_ids:  # each is older than a connection can be
                        users.leave(user.user_id, connection_id, now_ms)
                    if not user.connection_ids:
                        done += users.set_offline(user.user_id, user.left_at_ms, now_ms)
        return done

    def _end_expired_calls(self, now_ms: int, problems: list[RealtimeError]) -> int:
        """End the calls whose end never came."""
        done = 0
        with _noted(problems):
            for call in self._tables.calls.open_since(now_ms // 1000 - self._policy.call_seconds):
                with _noted(problems):
                    self._tables.calls.end(call, now_ms)
                    done += 1
        return done


@contextmanager
def _noted(problems: list[RealtimeError]) -> Iterator[None]:
    """Go on after a failure, and note the problem."""
    try:
        yield
    except RealtimeError as problem:
        problems.append(problem)


def _window(now_ms: int) -> SweepWindow:
    """Return which sessions a sweep must check."""
    old_ms = now_ms - RECONNECT_AFTER_SECONDS * 1000
    return SweepWindow(
        lease_before_s=now_ms // 1000,
        token_before_s=now_ms // 1000,
        connected_from_ms=old_ms - _RECONNECT_SWEEPS_SECONDS * 1000,
        connected_to_ms=old_ms,
    )


def _question(session: Session) -> Delivery:
    connection = session.connection
    return Delivery(connection.endpoint, connection.connection_id, (), connection.connected_at_ms / 1000, ask=True)
