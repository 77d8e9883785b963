"""Register and forget connections in both tables that store them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from realtime.audiences import direct
from realtime.errors import ConnectionLimit, RealtimeError
from realtime.eviction import deadest
from realtime.tables.connections import Connection, Connections, Session
from realtime.tables.dynamodb import BATCH_WRITE_LIMIT
from realtime.tables.membership import LimitReached, Newcomer, NotConnected
from realtime.tables.transactions import TRANSACTION_LIMIT, Transaction, Write
from realtime.tables.users import Users

_REPLACEMENTS = 40  # tries; each that fails means that another newcomer of the same user has got in
_ITEMS_IN_TRANSACTION = TRANSACTION_LIMIT - 1  # the other one writes the user

FORGOTTEN_TOGETHER = BATCH_WRITE_LIMIT  # connections; they usually have two items each, which two batches delete


@dataclass(frozen=True, slots=True)
class Gone:
    """A connection that has ended; without `user_id`, its user and its other audiences must be looked up."""

    connection_id: str
    user_id: str | None = None
    # With `user_id` all of them, including the one of its session. Without, those that led to it, in case that nothing
    # else does any more.
    audiences: Sequence[str] = ()
    may_live: bool = False  # it may be alive, because it could be neither served nor closed


@dataclass(frozen=True, slots=True)
class _Place:
    """A connection that is to go, the audiences of its items, and the writes that delete these, in the same order."""

    connection_id: str
    session: Session | None
    audiences: Sequence[str]
    delete_writes: Sequence[Write]


class Registry:
    """The Connections and Users tables, kept in step."""

    def __init__(self, connections: Connections, users: Users, begin: Callable[[], Transaction]) -> None:
        self._connections = connections
        self._users = users
        self._begin = begin

    def register(
        self,
        connection: Connection,
        audiences: Sequence[str],
        *,
        issued_at_s: int,
        username: str | None,
        role: str | None,
        now_ms: int,
        lease_seconds: int,
        limit: int,
        dismiss: Callable[[Connection], Write] | None,
    ) -> Session | None:
        """Store a connection and set its user online, both or neither.

        If the user has `limit` connections already, it takes the place of the one that is most likely to be dead, in
        the same transaction; return the session of that one, which is forgotten. `dismiss` makes the write that tells
        and closes it; without `dismiss` nobody has to go. Raises ConnectionLimit if it does not get in, and AuthFailed
        if its token was issued (`issued_at_s`) before the user's sessions were revoked.

        What the transaction leaves out is written after it. The client is not let in, and misses nothing, before all is
        written; if this fails, so does its handshake, and `sweep` finds the session.
        """
        newcomer = Newcomer(connection.user_id, connection.connection_id, issued_at_s, username, role)
        writes = self._connections.registration_writes(connection, audiences, now_ms // 1000 + lease_seconds)
        join_write = self._users.join_write(newcomer, now_ms, limit=limit)
        place: _Place | None = None
        for _ in range(_REPLACEMENTS):
            leave = place.delete_writes[: TRANSACTION_LIMIT - 2 - len(writes)] if place else []
            told = [dismiss(place.session.connection)] if dismiss and place and place.session else []
            try:
                self._begin().add(join_write, *writes, *leave, *told).commit("registering a connection")
            except LimitReached as reached:
                others = reached.connection_ids
            else:
                self._connections.subscribe_rest(connection, audiences)
                return self._vacated(place, len(leave))
            if dismiss is None:
                break
            place = None
            join_write = self._users.join_write(newcomer, now_ms, limit=limit)
            if len(others) >= limit:
                place = self._place(others, connection.stage, now_ms // 1000, lease_seconds)
                join_write = self._users.replace_write(newcomer, now_ms, among=others, victim=place.connection_id)
        raise ConnectionLimit(
            reason=f"user {connection.user_id} has {limit} connections", retry_after=1 if dismiss else None
        )

    def _place(self, others: frozenset[str], stage: str, now_s: int, lease_seconds: int) -> _Place:
        """Choose which of a user's connections is to go."""
        sessions = {each.connection.connection_id: each for each in self._connections.sessions(others)}
        victim = deadest(others, sessions, stage, now_s, lease_seconds)
        # As of now: a session that a batch did not show may have been registered at that moment.
        session = sessions.get(victim) or next(iter(self._connections.sessions([victim])), None)
        audiences = _session_first(victim, self._connections.subscriptions(victim).stored)
        return _Place(victim, session, audiences, self._connections.delete_writes(victim, audiences))

    def _vacated(self, place: _Place | None, deleted: int) -> Session | None:
        """Delete what of a replaced connection did not fit into the transaction; return its session."""
        if place is None:
            return None
        self._connections.delete((place.connection_id, audience) for audience in place.audiences[deleted:])
        return place.session

    def forget(self, connection_id: str, now_ms: int, seen_ms: int | None = None) -> str | None:
        """Remove every trace of a connection; return its user, or None if it was forgotten already.

        `seen_ms` is its last sign of life, if that was not just now.
        """
        found = self._look_up(Gone(connection_id))
        if found.user_id is None:
            return None
        for problem in self._remove([found], now_ms, seen_ms).values():
            raise problem
        return found.user_id

    def forget_all(self, gone: Sequence[Gone], now_ms: int) -> dict[str, Exception]:
        """Remove every trace of connections; return those that may not be removed completely, with the reason.

        A connection that may be alive is forgotten as a whole or not at all, because it must never continue with only a
        part of its audiences.
        """
        failed: dict[str, Exception] = {}
        known: list[Gone] = []
        for each in gone:
            try:
                found = self._look_up(each)
                if found.may_live and found.user_id is not None:
                    found = self._expel(found, found.user_id, now_ms)
                known.append(found)
            except RealtimeError as problem:
                failed[each.connection_id] = problem
        return failed | self._remove(known, now_ms)

    def _look_up(self, gone: Gone) -> Gone:
        if gone.user_id is not None:
            return gone
        found = self._connections.subscriptions(gone.connection_id)
        led = (audience for audience in gone.audiences if audience not in found.stored)
        return replace(gone, user_id=found.user_id, audiences=[*led, *found.stored])

    def _expel(self, gone: Gone, user_id: str, now_ms: int) -> Gone:
        """Forget a connection in one transaction; return what did not fit into it and is left to be deleted."""
        audiences = _session_first(gone.connection_id, gone.audiences)
        within, beyond = audiences[:_ITEMS_IN_TRANSACTION], audiences[_ITEMS_IN_TRANSACTION:]
        leave_write = self._users.leave_write(user_id, gone.connection_id, now_ms)
        deletes = self._connections.delete_writes(gone.connection_id, within)
        try:
            self._begin().add(leave_write, *deletes).commit("giving up a connection")
        except NotConnected:  # another function is forgetting it as well
            return gone
        return replace(gone, user_id=None, audiences=beyond)

    def _remove(self, gone: Iterable[Gone], now_ms: int, seen_ms: int | None = None) -> dict[str, Exception]:
        """Take connections from their users, and then delete their items; return those for which that failed.

        In this order something always leads to what is not done: a connection that its user still has keeps all its
        items, and of one that is taken from them, the next post finds a subscription and `sweep` finds the session.
        """
        failed: dict[str, Exception] = {}
        left: list[Gone] = []
        for each in gone:
            try:
                if each.user_id is not None:
                    self._users.leave(each.user_id, each.connection_id, now_ms, seen_ms)
                left.append(each)
            except RealtimeError as problem:
                failed[each.connection_id] = problem
        items = [(each.connection_id, audience) for each in left for audience in each.audiences]
        try:
            self._connections.delete(items)
        except RealtimeError as problem:
            failed |= {connection_id: problem for connection_id, _ in items}
        return failed


def _session_first(connection_id: str, audiences: Iterable[str]) -> list[str]:
    """Return audiences with the one of the session first, and otherwise as they were: `watched` stays last."""
    return sorted(audiences, key=lambda audience: audience != direct(connection_id))
