"""The part of a sweep that is about connections: scan for those to check, ask API Gateway, and do what follows.

It is bounded and paced in every part, and whatever it cannot do now, the next sweep does: a scan goes on where it
stopped, and the connections that were not asked about, or not settled in time, are still suspects.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager
from dataclasses import replace

from realtime import messages
from realtime.audiences import direct
from realtime.errors import AuthFailed, ConfigurationError, RealtimeError, Unavailable
from realtime.ids import make_event_id
from realtime.liveness import Judge, read_last_active
from realtime.posting.delivery import Delivery, Outcome, Result
from realtime.posting.poster import Poster
from realtime.refusals import close, refuse
from realtime.tables import Tables
from realtime.tables.entries import Entry
from realtime.tables.session_scan import Pass, Progress, SweepWindow
from realtime.tables.sessions import Session
from realtime.threads import submit

SESSION_SECONDS = 2 * 3600  # API Gateway ends a connection after this time
SLACK_SECONDS = 300  # for a $disconnect to arrive, and for differences between clocks
RECONNECT_AFTER_SECONDS = 110 * 60  # the age at which a connection is told to reconnect
RECONNECT_WITHIN_SECONDS = 300  # clients spread their new connections over this time
_LATEST_ADVICE_SECONDS = SESSION_SECONDS - RECONNECT_AFTER_SECONDS - RECONNECT_WITHIN_SECONDS
_MAX_HEARD = 100  # audiences that a filter can name

MAX_FOUND = 2_500  # per segment: connections to close or to tell; so memory and time stay bounded
MAX_ASKED = 10_000  # connections to ask about in a sweep, the most suspicious; 250 a second, by default
PAGE_SECONDS = 0.33  # per segment: 8 segments read 24 MB a second, a quarter of what a new table can give


class _Segment:
    """What was found in a segment, and how far the pass over it has come."""

    def __init__(self, last: Pass | None, now_ms: int, *, room: int) -> None:
        """Go on with the last pass, or begin another one; there is room for so many suspects."""
        earliest_ms = now_ms - _LATEST_ADVICE_SECONDS * 1000
        since_ms = last.begun_ms if last else earliest_ms
        self.progress = last if last and last.cursor else Pass(since_ms, begun_ms=now_ms)
        self.room = room
        self.expired: list[Session] = []
        self.old: list[Session] = []
        self.suspects: list[tuple[bool, int, str, Session]] = []  # a heap, the least suspicious first
        self.lapsed = 0


class SessionChecks:
    """Checks connections, at one moment."""

    def __init__(
        self,
        tables: Tables,
        poster: Poster,
        judge: Judge,
        problems: list[RealtimeError],
        *,
        now_ms: int,
        clock: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:
        """Take what it works with; it appends to `problems`. `clock` is monotonic."""
        self._tables = tables
        self._poster = poster
        self._judge = judge
        self._problems = problems
        self._clock = clock
        self._pause = pause
        self._now_ms = now_ms
        self._begun: list[Future[object]] = []

    def check(
        self, last: Progress, segments: int, threads: Executor, scan_until: float, until: float
    ) -> tuple[Counter[str], Progress]:
        """Go on with the passes over all segments; return what was found, and how far they have come.

        What follows from it is begun; `finish` waits for it.
        """
        passes: dict[int, Pass] = dict(enumerate(last.passes))
        asking = last.asking or segments
        turns = {(last.first + each) % segments for each in range(asking)}  # the segments with the silent to ask about

        def scan(segment: int) -> _Segment:
            found = _Segment(passes.get(segment), self._now_ms, room=MAX_ASKED // asking)
            return self._scan(found, segment, segments, scan_until, silent=segment in turns)

        scans = [submit(threads, scan, segment) for segment in range(segments)]
        found = [each.result() for each in scans]
        expired = [session for each in found for session in each.expired]
        old = [session for each in found for session in each.old]
        by_suspicion = sorted((suspect for each in found for suspect in each.suspects), reverse=True)
        suspects = {connection_id: session for *_, connection_id, session in by_suspicion}
        lapsed = sum(each.lapsed for each in found)
        counts: Counter[str] = Counter(expired=len(expired), told_to_reconnect=len(old), suspects=lapsed)
        self._begun = [submit(threads, self._end, each) for each in expired]
        self._begun += [submit(threads, self._tell_to_reconnect, each) for each in old]
        for result in self._poster.deliver(map(_question, suspects.values()), until=until):
            counts[result.outcome.value] += 1
            if result.outcome is Outcome.FORBIDDEN:
                self._problems.append(ConfigurationError(f"the role of sweep may not ask: {self._poster.refusal}"))
                break
            if result.outcome in {Outcome.GONE, Outcome.DELIVERED}:
                self._begun.append(submit(threads, self._settle, suspects[result.delivery.connection_id], result))
        progress = Progress([each.progress for each in found], _asking_next(asking, segments, lapsed))
        return counts, replace(progress, first=(last.first + asking) % segments)

    def finish(self, until: float) -> Counter[str]:
        """Wait until everything is done, or the time is up; return what was done, and how much was not."""
        _, left = wait(self._begun, max(0.0, until - self._clock()))
        counts: Counter[str] = Counter(unsettled=len(left))
        for each in self._begun:
            if each not in left:
                with noted(self._problems):
                    counts["closed_as_silent"] += each.result() is True
        return counts

    def _scan(self, segment: _Segment, number: int, segments: int, until: float, *, silent: bool) -> _Segment:
        """Scan a segment until the time is up or a page cannot be read; the next sweep goes on from there."""
        earliest_ms = self._now_ms - _LATEST_ADVICE_SECONDS * 1000
        window = replace(self._window(max(earliest_ms, segment.progress.since_ms)), silent=silent)
        cursor = segment.progress.cursor
        while True:
            try:
                page, cursor = self._tables.session_scan.sessions_to_check(number, segments, window, cursor)
            except RealtimeError as problem:
                self._problems.append(problem)
                cursor = cursor if isinstance(problem, Unavailable) else None
                break
            for session in page:
                self._sort(session, window, segment)
            if cursor is None or len(segment.expired) + len(segment.old) >= MAX_FOUND or self._clock() >= until:
                break
            self._pause(PAGE_SECONDS)
        segment.progress = replace(segment.progress, cursor=cursor)
        return segment

    def _window(self, since_ms: int) -> SweepWindow:
        judge, old_ms = self._judge, RECONNECT_AFTER_SECONDS * 1000
        recent = {
            name: each.served_at_s
            for name, each in judge.served.items()
            if each.served_at_s > judge.now_s - judge.lease_seconds
        }
        heard = sorted(recent)[:_MAX_HEARD]
        return SweepWindow(
            lease_before_s=judge.now_s,
            token_before_s=judge.now_s,
            connected_from_ms=since_ms - old_ms,
            connected_to_ms=self._now_ms - old_ms,
            heard=heard,
            heard_from_ms=self._now_ms - (SESSION_SECONDS + SLACK_SECONDS) * 1000,
            heard_to_ms=min((recent[name] * 1000 for name in heard), default=0) - 1,
        )

    def _sort(self, session: Session, window: SweepWindow, segment: _Segment) -> None:
        """Keep a session if there is something to do about it."""
        if window.has_expired(session):
            segment.expired.append(session)
        if window.is_old(session):
            segment.old.append(session)
        if not window.has_lapsed(session) or (self._judge.is_explained(session) and not self._is_too_old(session)):
            return
        segment.lapsed += 1
        # A heartbeat that stopped is asked about first; then the lease that ran out first, so that all have their turn.
        suspect = (session.has_heartbeat, -session.lease_until_s, session.connection.connection_id, session)
        push = heapq.heappush if len(segment.suspects) < segment.room else heapq.heappushpop
        push(segment.suspects, suspect)

    def _settle(self, session: Session, result: Result[Delivery]) -> bool:
        """Do what follows from API Gateway's answer; return whether a connection was closed for its silence."""
        connection, judge = session.connection, self._judge
        if result.outcome is Outcome.GONE:
            self._forget(session)
            return False
        active_at_s = read_last_active(result.reason)
        lease_until_s = judge.spared_until_s(session, active_at_s)
        if lease_until_s is None:
            self._reconnect_now(session)
            self._forget(session)
            return True
        if self._is_too_old(session):
            self._reconnect_now(session)
        is_newer = active_at_s is not None and active_at_s > session.alive_at_s
        self._tables.connections.renew_lease(
            connection.connection_id, lease_until_s, heard_at_s=active_at_s if is_newer else None
        )
        return False

    def _forget(self, session: Session) -> None:
        """Forget a connection; its user was last seen when it gave its last sign of life."""
        seen_ms = min(self._now_ms, self._judge.last_sign_s(session) * 1000)
        self._tables.registry.forget(session.connection.connection_id, self._now_ms, seen_ms)

    def _is_too_old(self, session: Session) -> bool:
        """Return whether a connection is older than API Gateway allows."""
        age_s = self._judge.now_s - session.connection.connected_at_ms // 1000
        return age_s > SESSION_SECONDS + SLACK_SECONDS

    def _reconnect_now(self, session: Session) -> None:
        """Tell a client to connect again at once, and close its connection."""
        frame = messages.encode("reconnect", {"within_seconds": 0}, self._now_ms)
        close(self._tables.outbox, session.connection, "reconnect", frame, self._now_ms)

    def _end(self, session: Session) -> None:
        """Tell a connection that its token has expired, and close it."""
        refuse(self._tables.outbox, session.connection, AuthFailed(), self._now_ms)

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
                stage=connection.stage,
                connected_at_ms=connection.connected_at_ms,
                trace_id="",  # that of this sweep would make it another entry, which is posted again
            )
        )


@contextmanager
def noted(problems: list[RealtimeError]) -> Iterator[None]:
    """Go on after a failure, and note the problem."""
    try:
        yield
    except RealtimeError as problem:
        problems.append(problem)


def _asking_next(asking: int, segments: int, lapsed: int) -> int:
    """Return in how many segments the next sweep asks about the silent.

    With more than four times as many suspects as can be asked about, reading them all would be of no use.
    """
    if lapsed > 4 * MAX_ASKED:
        return max(1, asking // 2)
    return min(segments, asking * 2) if lapsed < MAX_ASKED else asking


def _question(session: Session) -> Delivery:
    connection = session.connection
    return Delivery(connection.stage, connection.connection_id, (), connection.connected_at_ms / 1000, ask=True)
