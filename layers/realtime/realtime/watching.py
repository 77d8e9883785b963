"""Watching: a client may name the users it shows, and then receives the presence of these users alone.

Presence then costs in proportion to what clients show. What a connection watches is one item, changed under a condition
(watch_state says in which order); its subscriptions, through which `broadcast` finds it, follow that item. `broadcast`
reads them as of now.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from realtime import audiences
from realtime.audiences import LIVE, beside_watched, brings_presence, is_wide
from realtime.aws import retries
from realtime.aws.retries import Passing
from realtime.errors import BadRequest, Unavailable
from realtime.ids import parse_id
from realtime.tables.connections import Connection, Connections
from realtime.tables.subscriptions import Subscriptions
from realtime.tables.watched import Watched
from realtime.watch_state import MAX_WATCHED, WatchState

WATCHABLE = frozenset({"feed", "presence"})


def parse_user_ids(values: object) -> list[str]:
    """Return the ids of the users that a client names, each once.

    Raises BadRequest, whose message says what is wrong with them.
    """
    if not isinstance(values, list) or not 0 < len(values) <= MAX_WATCHED:
        raise BadRequest(f"user_ids: must be a list of 1 to {MAX_WATCHED} user ids")
    try:
        return list(dict.fromkeys(parse_id(value) for value in values))
    except ValueError as error:
        raise BadRequest(f"user_ids: each {error}") from error


def check_watchable(endpoints: Collection[str]) -> None:
    """Raise BadRequest unless one of a connection's endpoints carries presence."""
    if WATCHABLE.isdisjoint(endpoints):
        names = " and ".join(sorted(endpoints))
        raise BadRequest(f"{names} tell{'s' * (len(endpoints) == 1)} no presence; connect to feed or presence")


class Watching:
    """Read and change the audiences that a connection subscribes to."""

    def __init__(self, connections: Connections, watched: Watched) -> None:
        self._connections = connections
        self._watched = watched

    def subscriptions(self, connection: Connection) -> list[str]:
        """Return the audiences that a connection subscribes to."""
        return _heard(connection, self._connections.subscriptions(connection.connection_id))

    def watch(self, connection: Connection, user_ids: Sequence[str], revision: str, now_ms: int) -> list[str]:
        """Subscribe a connection to these users instead of to everyone; return those whom it watches then.

        That is all of them, unless a later frame was faster. `broadcast` can see the subscriptions. Raises BadRequest
        if the connection would watch too many users, and Unavailable if others change it for too long, or forget it.
        """
        watched = self._change(connection, user_ids, revision, watch=True, now_ms=now_ms)
        return [each for each in user_ids if each in watched]

    def unwatch(self, connection: Connection, user_ids: Sequence[str], revision: str, now_ms: int) -> None:
        """Unsubscribe a connection from these users, except from those whom a later frame watches again."""
        self._change(connection, user_ids, revision, watch=False, now_ms=now_ms)

    def _change(
        self, connection: Connection, user_ids: Sequence[str], revision: str, *, watch: bool, now_ms: int
    ) -> frozenset[str]:
        """Change what is watched, and the subscriptions; return what is watched then."""
        with retries.rounds() as tries:
            while True:
                before, version = self._watched.read(connection.connection_id)
                before = before or self._initial(connection)
                state = before.changed(revision, user_ids, watch=watch, now_ms=now_ms)
                if self._watched.write(connection, state, version):
                    break
                if not tries.wait(Passing.CONFLICT):
                    raise Unavailable("changing what is watched: other frames of the connection are in the way")
        # What is settled needs no write; what changed lately does, in case that its own frame failed midway.
        changed = [each for each in user_ids if each in before.recent or (each in before.settled) is not watch]
        state = self._follow(connection, changed, state)
        if watch and before.wide and not connection.has_left_everyone:
            self._leave(connection, before.wide)
        return state.watched

    def _leave(self, connection: Connection, wide: Sequence[str]) -> None:
        """Unsubscribe a connection from everyone, now that it is subscribed to those whom it watches.

        The new subscriptions come first: in between the client may receive a message twice, but it misses none. The
        note in the session comes last: if anything before it fails, the next `watch` does all of this again.
        """
        is_live = connection.stage == LIVE
        others = [each for audience in wide if is_live for each in beside_watched(audience, connection.endpoints)]
        self._connections.subscribe(connection, others)
        self._connections.delete((connection.connection_id, audience) for audience in wide)
        self._connections.note_left(connection, others)

    def _initial(self, connection: Connection) -> WatchState:
        """Return the state of a connection that has not watched anybody yet."""
        found = self._connections.subscriptions(connection.connection_id)
        if found.user_id is None:
            raise _forgotten()
        heard = _heard(connection, found)
        return WatchState(wide=tuple(each for each in heard if brings_presence(each) and is_wide(each)))

    def _follow(self, connection: Connection, user_ids: Sequence[str], state: WatchState) -> WatchState:
        """Make the subscriptions to these users as the state says; return the state as it was when they were so.

        Another frame may change the state between its reading and our writes, and make its own before ours. Then the
        state has changed when we are done, so we look again. Raises Unavailable if the connection was forgotten
        meanwhile; then it has none of them.
        """
        names = {each: audiences.watching(connection.stage, each) for each in user_ids}
        while True:
            watched = state.watched
            self._connections.subscribe(connection, [names[each] for each in user_ids if each in watched])
            self._connections.delete(
                (connection.connection_id, names[each]) for each in user_ids if each not in watched
            )
            now, _ = self._watched.read(connection.connection_id)
            if now is None:
                self._connections.delete((connection.connection_id, audience) for audience in names.values())
                raise _forgotten()
            user_ids = [each for each in user_ids if (each in now.watched) is not (each in watched)]
            state = now
            if not user_ids:
                return state


def _heard(connection: Connection, found: Subscriptions) -> list[str]:
    if connection.stage == LIVE:
        kinds = "live/", "watched/", "live-notifications/"
        own = audiences.own_live(connection.user_id, connection.endpoints)  # in the index by its session's item
        return [*own, *(audience for audience in found.audiences if audience.startswith(kinds))]
    return [audience for audience in found.audiences if audience.startswith(connection.stage + "/")]


def _forgotten() -> Unavailable:
    return Unavailable("changing what is watched: the connection was forgotten")


def read_watch_parameter(parameters: Mapping[str, Any], endpoints: Collection[str]) -> list[str]:
    """Return the users that the query parameter `watch` names; none if it is absent."""
    text = parameters.get("watch")
    if not text:
        return []
    check_watchable(endpoints)
    return parse_user_ids([each.strip(" ") for each in text.split(",") if each.strip(" ")])
