"""Sweeping: what a lost message, a crash or a silent network left behind is found and set right, minute by minute.

Connections whose lease ran out are suspects, no more: API Gateway is asked about each, and only a 410 forgets it. Those
whose token has expired are ended, and those that API Gateway is about to end are told to move in time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from realtime import messages
from realtime.audiences import direct
from realtime.errors import AuthFailed, ConfigurationError, RealtimeError, Unavailable
from realtime.ids import make_event_id
from realtime.posting.delivery import Delivery, Outcome
from realtime.posting.poster import Poster
from realtime.refusals import close, refuse
from realtime.tables.calls import Calls
from realtime.tables.connections import Connections, Cursor, Due, Session
from realtime.tables.outbox import Entry, Outbox
from realtime.tables.registry import Registry
from realtime.tables.transactions import transact
from realtime.tables.users import Users

SEGMENTS = 8  # of the table, scanned at the same time
MAX_SESSIONS = 2_500  # a segment and sweep; more are left to the next sweep, so that memory and time stay bounded
SESSION_SECONDS = 2 * 3600  # API Gateway ends a connection after so long
MOVE_AFTER_SECONDS = 110 * 60  # how old a connection is when it is told
MOVE_WITHIN_SECONDS = 300  # over which clients spread their moves
_MOVE_SWEEPS_SECONDS = 180  # for so long a sweep tells it, to the same effect: one of them may fail
_SLACK_SECONDS = 300  # for a $disconnect to arrive, and for clocks


@dataclass(frozen=True, slots=True)
class Policy:
    """What a deployment may choose; times in s."""

    lease_seconds: int
    grace_seconds: int
    call_seconds: int  # a call whose end never came is let go after so long


class Sweeper:
    """Looks for what should not be there."""

    def __init__(
        self,
        client: Any,
        connections: Connections,
        users: Users,
        registry: Registry,
        calls: Calls,
        outbox: Outbox,
        poster: Poster,
        policy: Policy,
    ) -> None:
        self._client = client
        self._connections = connections
        self._users = users
        self._registry = registry
        self._calls = calls
        self._outbox = outbox
        self._poster = poster
        self._policy = policy

    def sweep(self, now: int, until: float) -> Counter[str]:
        """Sweep once and return what was found and done; `now` in ms, `until` on the monotonic clock.

        What fails keeps nothing else from being done; the first such problem is raised in the end, so that it is seen,
        and the next sweep finds it again. Raises ConfigurationError if API Gateway may not be asked at all.
        """
        found: Counter[str] = Counter()
        problems: list[RealtimeError] = []
        found["calls_let_go"] = self._let_calls_go(now, problems)
        found["users_set_offline"] = self._set_stranded_offline(now, problems)
        when = _when(now)
        with ThreadPoolExecutor(SEGMENTS) as threads:
            sessions = self._due(threads, when, now, until, problems)
            expired = list(filter(when.has_expired, sessions))
            old = list(filter(when.is_old, sessions))
            suspects = {each.connection.connection_id: each for each in filter(when.has_lapsed, sessions)}
            found.update(expired=len(expired), told_to_move=len(old), suspects=len(suspects))
            done: list[Future[object]] = [threads.submit(self._end, each, now) for each in expired]
            done += [threads.submit(self._tell_to_move, each) for each in old]
            for result in self._poster.deliver(map(_question, suspects.values()), until=until):
                outcome, session = result.outcome, suspects[result.delivery.connection_id]
                found[outcome.value] += 1
                if outcome is Outcome.GONE:
                    done.append(threads.submit(self._registry.forget, session.connection.connection_id, now))
                elif outcome is Outcome.DELIVERED:
                    done.append(threads.submit(self._spare, session, now))
                elif outcome is Outcome.FORBIDDEN:
                    raise ConfigurationError(f"the role of sweep may not ask: {self._poster.refusal}")
        for each in done:
            with _noted(problems):
                each.result()
        if problems:
            raise problems[0]
        return found

    def _due(
        self, threads: ThreadPoolExecutor, when: Due, now: int, until: float, problems: list[RealtimeError]
    ) -> list[Session]:
        """Scan the table, from where the last sweep had to stop, for the sessions that must be looked at."""
        cursors = self._outbox.cursors(SEGMENTS)
        scans = threads.map(
            lambda segment: self._scan(segment, when, cursors[segment], until, problems), range(SEGMENTS)
        )
        found: list[Session] = []
        stopped: list[Cursor] = []
        for sessions, cursor in scans:
            found += sessions
            stopped.append(cursor)
        if stopped != cursors:
            self._outbox.keep_cursors(stopped, now)
        return found

    def _scan(
        self, segment: int, when: Due, cursor: Cursor, until: float, problems: list[RealtimeError]
    ) -> tuple[list[Session], Cursor]:
        """Scan a segment as far as time suffices, or pages can be read; the next sweep goes on from there."""
        sessions: list[Session] = []
        while True:
            try:
                page, cursor = self._connections.due(segment, SEGMENTS, when, cursor)
            except Unavailable as problem:
                problems.append(problem)
                return sessions, cursor
            sessions += page
            if cursor is None or len(sessions) >= MAX_SESSIONS or monotonic() >= until:
                return sessions, cursor

    def _end(self, session: Session, now: int) -> None:
        """Tell a connection that its token has expired, and close it."""
        refuse(self._outbox, session.connection, AuthFailed(), now)

    def _tell_to_move(self, session: Session) -> None:
        """Have a connection told to open another; the outbox shows the same entry but once."""
        connection = session.connection
        at = connection.connected_at + MOVE_AFTER_SECONDS * 1000
        self._outbox.put(
            Entry(
                audience=direct(connection.connection_id),
                event_id=make_event_id(at, "reconnect", connection.connection_id),
                kind="reconnect",
                message=messages.encode("reconnect", {"within_seconds": MOVE_WITHIN_SECONDS}, at),
                expires_at=at // 1000 + SESSION_SECONDS,
                endpoint=connection.endpoint,
                connected_at=connection.connected_at,
            )
        )

    def _spare(self, session: Session, now: int) -> None:
        """Believe in a connection for another lease, unless it has outlived what API Gateway allows."""
        connection = session.connection
        if connection.connected_at // 1000 + SESSION_SECONDS + _SLACK_SECONDS < now // 1000:
            farewell = messages.encode("reconnect", {"within_seconds": 0}, now)
            close(self._outbox, connection, "reconnect", farewell, now)
        self._connections.renew_lease(connection.connection_id, now // 1000 + self._policy.lease_seconds)

    def _set_stranded_offline(self, now: int, problems: list[RealtimeError]) -> int:
        """Set those offline whose last connection went without the check that should have followed."""
        patience = (self._policy.grace_seconds + _SLACK_SECONDS) * 1000
        longest = (SESSION_SECONDS + _SLACK_SECONDS) * 1000
        done = 0
        with _noted(problems):
            for user in self._users.stranded(left_before=now - patience, seen_before=now - longest):
                with _noted(problems):
                    for connection_id in user.connection_ids:  # each is older than a connection can be
                        self._users.leave(user.user_id, connection_id, now)
                    if not user.connection_ids:
                        done += self._users.set_offline(user.user_id, user.left_at, now)
        return done

    def _let_calls_go(self, now: int, problems: list[RealtimeError]) -> int:
        """End the calls whose end never came."""
        done = 0
        with _noted(problems):
            for call in self._calls.open_since(now // 1000 - self._policy.call_seconds):
                parts = self._calls.changing(self._users, call.call_id, call.participants, now, ongoing=False)
                with _noted(problems):
                    transact(self._client, parts, "letting a call go")
                    done += 1
        return done


@contextmanager
def _noted(problems: list[RealtimeError]) -> Iterator[None]:
    """Go on where something fails, and note the problem."""
    try:
        yield
    except RealtimeError as problem:
        problems.append(problem)


def _when(now: int) -> Due:
    """Say which sessions must be looked at; `now` in ms."""
    old = now - MOVE_AFTER_SECONDS * 1000
    return Due(
        lease_before=now // 1000,
        token_before=now // 1000,
        connected_from=old - _MOVE_SWEEPS_SECONDS * 1000,
        connected_to=old,
    )


def _question(session: Session) -> Delivery:
    connection = session.connection
    return Delivery(connection.endpoint, connection.connection_id, (), connection.connected_at / 1000, ask=True)
