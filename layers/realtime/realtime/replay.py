"""Replay: send a client what it missed while it was away; the outbox has it, and the frames are as `broadcast`'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING

from realtime import messages, metrics, positions
from realtime.audiences import endpoint_of, heard_through, is_wide, log_of
from realtime.batch import Batch, EventSet, numbers_of
from realtime.errors import BadRequest
from realtime.hiding import HistoryHiding
from realtime.ids import event_time_ms, is_event_id, make_event_id
from realtime.positions import LATEST_MS, SINCE, Position
from realtime.posted import Posted
from realtime.tables.connections import Connection, Connections, Subscriber
from realtime.tables.entries import Entry
from realtime.tables.outbox import Outbox
from realtime.watched_states import WatchedStates

if TYPE_CHECKING:
    from realtime.contract.to_clients import ResumedData

MAX_REPLAYED = 250  # messages of one answer: the client waits for the last
# Items of each audience's partition, after the last that the client received, that are read for one answer. Most may
# have no entry for the audience: a partition of presence has the changes of all users, and feed shows listeners only.
MAX_READ = 1_000
# Without a position nobody knows how far each audience is. Each gets its messages in order, but one may be behind
# another: usually by a batch, by minutes if more events for everyone are recorded than the quota lets us post.
OVERLAP_OF_SEVERAL_MS = 300_000


@dataclass(slots=True)
class _Log:
    """What the outbox has of one audience, and what of it a client has received."""

    names: set[str]  # under which a client knows the audience
    known: Position
    oldest: Position  # of the history
    since: str  # the id before which nothing is missing, whatever the position says
    entries: list[Entry]  # those that may be missing, and those that tell which are, oldest first
    end: str | None  # the id up to which it was read; None: there is nothing later
    late_mark: str = ""  # the id of the last LateMark: before it, something may have come too late to be found
    missing: set[str] = field(init=False)  # ids

    def __post_init__(self) -> None:
        missing = self.known.missing(entry.event_id for entry in self.entries)
        self.missing = {event_id for event_id in missing if event_id > self.since}

    def position(self, through: str | None) -> Position:
        """Return the position after the missing events up to an id were sent; None: after all were."""
        if through is not None and any(through < event_id <= self.known.highest for event_id in self.missing):
            # Of the events up to the highest that the client received, some are still missing. Go back to before them.
            return Posted.of(
                through, (entry.event_id for entry in self.entries if entry.event_id <= through)
            ).position()
        received = [
            entry.event_id
            for entry in self.entries
            if through is None or entry.event_id <= through or entry.event_id not in self.missing
        ]
        if through is None and not received and not self.late_mark:
            return self.known
        reached = self.late_mark if through is None else through
        return Posted.of(max(self.known.highest, reached, *received), received).position()

    @property
    def is_complete(self) -> bool:
        """Whether all that the client may have missed is found: the history has it, and it was recorded in time."""
        return self.known.highest >= self.oldest.highest and self.known.highest >= self.late_mark


class Replay:
    """Replay to connections what they missed."""

    def __init__(
        self,
        connections: Connections,
        outbox: Outbox,
        states: WatchedStates,
        hiding: HistoryHiding,
        *,
        history_seconds: int,
        presence_history_seconds: int,
    ) -> None:
        self._connections = connections
        self._outbox = outbox
        self._states = states
        self._hiding = hiding
        self._history_seconds = {
            "feed": presence_history_seconds,
            "presence": presence_history_seconds,
            "calls": history_seconds,
            "notifications": history_seconds,
        }

    def since_position(
        self, connection: Connection, subscribed: Sequence[str], position: object, now_ms: int
    ) -> list[str]:
        """Return frames with what a connection's subscriptions got after a client's position, and a `resumed` frame.

        These frames are arrays, whether the connection takes arrays otherwise or not: so they are few. If more messages
        are missing than one answer has, the oldest are sent first, and `resumed` says where to go on. Raises BadRequest
        if the position is none.
        """
        try:
            given = positions.parse_all(position)
        except ValueError as error:
            raise BadRequest(f"position: {error}") from error
        # The outbox is read after `broadcast` can see the connection, so it posts every later event.
        self._connections.wait_until_indexed(subscribed, connection.connection_id)
        audiences = list(heard_through(subscribed, connection.endpoints))
        logs = [
            self._log(audience, given, Position.at(self._oldest_ms(audience, now_ms)))
            for audience in audiences
            if log_of(audience) is not None
        ]
        states = self._changed([audience for audience in audiences if log_of(audience) is None], given)
        missing, through = _missing(logs, states, now_ms)
        missing = self._hiding.as_now(missing, connection.user_id)
        batch, due, through = _next_due(missing, through, _as_subscriber(connection))
        frames = batch.frames(due, packed=True)
        metrics.count(metrics.REPLAYED, due.bit_count())
        resumed: ResumedData = {
            "recovered": all(log.is_complete for log in logs),
            "replayed": due.bit_count(),
            "complete": through is None,
        }
        reached = {} if through else positions.floor(connection.connected_at_ms, now_ms)
        for log in logs:
            if log.entries or log.late_mark or through is not None:
                reached |= dict.fromkeys(log.names, log.position(through).text)
        for entry in states:
            if through is None or entry.event_id <= through:
                reached[entry.audience] = Position(entry.event_id).text
        last = messages.encode("resumed", resumed, now_ms, position=reached)
        return [*(frame.body.decode() for frame in frames), last]

    def since_id(self, connection: Connection, subscribed: Sequence[str], last_id: object, now_ms: int) -> list[str]:
        """Return what a connection's subscriptions got after the message `last_id`, and then a `resumed` frame.

        Raises BadRequest if `last_id` is not the id of a message.
        """
        try:
            last_ms = event_time_ms(last_id)
        except ValueError as error:
            raise BadRequest(f"last_id: {error}") from error
        self._connections.wait_until_indexed(subscribed, connection.connection_id)
        audiences = list(heard_through(subscribed, connection.endpoints))
        overlap_ms = LATEST_MS if len(audiences) == 1 else OVERLAP_OF_SEVERAL_MS
        missed, is_complete = self._newest(audiences, str(last_id), make_event_id(max(0, last_ms - overlap_ms)), now_ms)
        batch = Batch(self._hiding.as_now(missed, connection.user_id))
        due = batch.due(_as_subscriber(connection), batch.every)
        frames = batch.frames(due, packed=connection.batch)
        recovered = is_complete and all(last_ms >= self._oldest_ms(each, now_ms) for each in audiences)
        metrics.count(metrics.REPLAYED, due.bit_count())
        resumed: ResumedData = {"recovered": recovered, "replayed": due.bit_count()}
        position = positions.floor(connection.connected_at_ms, now_ms)
        return [
            *(frame.body.decode() for frame in frames),
            messages.encode("resumed", resumed, now_ms, position=position),
        ]

    def _oldest_ms(self, audience: str, now_ms: int) -> int:
        """Return the time since which the history of an audience is kept."""
        return now_ms - self._history_seconds[endpoint_of(audience)] * 1000

    def _log(self, audience: str, given: Mapping[str, Position], oldest: Position) -> _Log:
        """Read what an audience got after a client's position, but not what is older than the history.

        A client may come back to another shard of everyone than the one that it knows. An event is recorded for each,
        but not for all at once. So the history of both is read.
        """
        since = given[SINCE]
        name = _name(audience, given)
        known = since if name is None else max(since, given[name], key=lambda each: each.highest)
        after = max(known, oldest, key=lambda each: each.highest)
        names = {audience, name or audience}
        read = [self._read(each, after) for each in names]
        entries = {entry.event_id: entry for found, _, _ in read for entry in found}
        # What is beyond the end of a history that was not read to its end may have gaps.
        end = min((end for _, end, _ in read if end is not None), default=None)
        in_order = [entries[each] for each in sorted(entries) if end is None or each <= end]
        return _Log(names, known, oldest, since.highest, in_order, end, max(mark for _, _, mark in read))

    def _read(self, audience: str, known: Position) -> tuple[list[Entry], str | None, str]:
        """Return an audience's entries from the slices of a position on, and up to which id; None: to the end.

        And the id of the last LateMark that was found.
        """
        found: list[Entry] = []
        unknown = 0
        end: str | None = None
        late_mark = ""
        for event_id, entries, is_late_mark in self._outbox.since(audience, known.begin):
            unknown += event_id > known.highest
            if unknown > MAX_READ:
                return found, end, late_mark
            if is_event_id(event_id):
                end = event_id
                found += entries
                late_mark = event_id if is_late_mark else late_mark
        return found, None, late_mark

    def _changed(self, watched: Sequence[str], given: Mapping[str, Position]) -> list[Entry]:
        """Return the states of watched users that changed after a client's position, in the order of their ids.

        A state is several messages, with the whole state in each: a client that received one of them knows it.
        """
        if not watched:
            return []
        since = given[SINCE]
        known = {audience: given[audience] for audience in watched if audience in given}
        # The clocks of two writers differ, and a write may be tried again: a later state may have an earlier id.
        after_ms = {
            audience: max(since.at_ms, known[audience].at_ms - LATEST_MS) if audience in known else since.at_ms
            for audience in watched
        }
        of_audience: dict[str, list[Entry]] = {}
        for entry in self._states.since(watched, min(after_ms.values())):
            of_audience.setdefault(entry.audience, []).append(entry)
        changed = [
            entry
            for audience, entries in of_audience.items()
            if audience not in known or known[audience].highest not in {entry.event_id for entry in entries}
            for entry in entries
            if event_time_ms(entry.event_id) >= after_ms[audience]
        ]
        return sorted(changed, key=lambda entry: entry.event_id)

    def _newest(self, audiences: Sequence[str], last_id: str, after: str, now_ms: int) -> tuple[list[Entry], bool]:
        """Return the newest entries after an id, oldest first, and whether they are complete."""
        newest = [self._newest_of(audience, last_id, after) for audience in audiences if log_of(audience) is not None]
        watched = [audience for audience in audiences if log_of(audience) is None]
        states = self._states.since(watched, event_time_ms(after)) if watched else ()
        entries = {
            entry.event_id: entry
            for entry in chain(*(found for found, _ in newest), states)
            if entry.event_id != last_id and entry.is_worth_sending(now_ms // 1000)
        }
        in_order = [entries[each] for each in sorted(entries)]
        is_complete = len(in_order) <= MAX_REPLAYED and all(is_whole for _, is_whole in newest)
        return in_order[-MAX_REPLAYED:], is_complete

    def _newest_of(self, audience: str, last_id: str, after: str) -> tuple[list[Entry], bool]:
        """Return the newest entries of an audience after an id, and whether nothing is missing after `last_id`.

        Something may be if too many items have no entry for it, or if there is a LateMark.
        """
        found: list[Entry] = []
        is_whole = True
        for number, (event_id, entries, is_late_mark) in enumerate(
            self._outbox.newest(audience, after, MAX_REPLAYED + 1)
        ):
            if number == MAX_READ:
                return found, False
            is_whole = is_whole and not (is_late_mark and event_id > last_id)
            found += entries
            if len(found) > MAX_REPLAYED:
                break
        return found, is_whole


def _name(audience: str, given: Mapping[str, Position]) -> str | None:
    """Return under which name a client knows the position of an audience; of several shards, the one heard last."""
    names = [audience]
    if is_wide(audience):
        everyone = f"{endpoint_of(audience)}/*/"
        names = [name for name in given if name.startswith(everyone) and name.removeprefix(everyone).isdecimal()]
    return max((name for name in names if name in given), key=lambda name: given[name].highest, default=None)


def _missing(logs: Sequence[_Log], states: Sequence[Entry], now_ms: int) -> tuple[list[Entry], str | None]:
    """Return what is missing, oldest first, and the id up to which this is all; None: it is all."""
    through = min((log.end for log in logs if log.end is not None), default=None)
    missing = {
        entry.event_id: entry
        for log in logs
        for entry in log.entries
        if entry.event_id in log.missing
        and (through is None or entry.event_id <= through)
        and entry.is_worth_sending(now_ms // 1000)
    }
    missing |= {entry.event_id: entry for entry in states if through is None or entry.event_id <= through}
    return [missing[each] for each in sorted(missing)], through


def _next_due(
    missing: Sequence[Entry], through: str | None, subscriber: Subscriber
) -> tuple[Batch, EventSet, str | None]:
    """Return what is missing, which of it to send now, and the id up to which this is all; None: it is all."""
    batch = Batch(missing)
    due = batch.due(subscriber, batch.every)
    if due.bit_count() > MAX_REPLAYED:
        numbers = list(islice(numbers_of(due), MAX_REPLAYED))
        due = EventSet(sum(1 << number for number in numbers))
        through = batch.entries[numbers[-1]].event_id
    return batch, due, through


def _as_subscriber(connection: Connection) -> Subscriber:
    return Subscriber(
        connection.connection_id, connection.user_id, connection.connected_at_ms, connection.types, connection.batch
    )
