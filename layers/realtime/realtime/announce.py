"""Announce changes of users: record messages for clients, order offline checks, and send events to the backends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from realtime import trace
from realtime.aws.bus import Bus
from realtime.aws.queues import Queue
from realtime.dead_letters import OF_EVERYTHING
from realtime.deadlines import offline_check
from realtime.errors import RealtimeError
from realtime.ids import event_time_ms, make_event_id
from realtime.presence import Consequences, Rules, consequences
from realtime.tables.entries import LateMark
from realtime.tables.outbox import Outbox
from realtime.tables.users import User, read_user

# A change that is recorded so much later than it was made is marked, for its id has the earlier time. It is less than
# LATEST_MS of `realtime.positions`, for the write itself takes its time.
LATE_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Change:
    """A user's state before and after a write; None if the user did not exist."""

    old: User | None
    new: User | None


def read_change(record: Mapping[str, Any]) -> Change:
    """Read the change from a record of the Users stream."""
    images = record["dynamodb"]
    old, new = (images.get(name) for name in ("OldImage", "NewImage"))
    return Change(read_user(old) if old else None, read_user(new) if new else None)


@dataclass(frozen=True, slots=True)
class AnnounceReport:
    """The outcome of a batch of records."""

    messages: int  # how many changes were recorded for clients, one for each shard
    done: int  # how many records, from the first, are done; the stream must go on from the next one
    problem: RealtimeError | None = None  # why that next record is not done
    given_up: Mapping[int, Exception] = field(default_factory=dict)  # records that would fail every time, by index
    trace_ids: Sequence[str] = field(default_factory=list)  # of the changes that were done and had consequences


@dataclass(frozen=True, slots=True)
class _Work:
    """What must be done for one record."""

    index: int
    user: User
    follows: Consequences


class Announcer:
    """Announce changes of users."""

    def __init__(
        self,
        outbox: Outbox,
        bus: Bus,
        deadlines: Queue,
        rules: Rules,
        *,
        grace_seconds: int,
        clock: Callable[[], float],
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._bus = bus
        self._deadlines = deadlines
        self._rules = rules
        self._grace_seconds = grace_seconds

    def announce(self, records: Sequence[Mapping[str, Any]]) -> AnnounceReport:
        """Announce a batch of changes: to clients first, to backends last.

        After a failed step everything may be tried again: messages are recorded under the same ids, a second offline
        check finds nothing to do, and only backends may receive an event twice, with the same id.

        The batch is announced as a whole. If that fails, its records are announced one by one to find the one at fault.
        A record that would fail every time is given up and the others are announced; after any other failure the stream
        must go on from that record.
        """
        given_up: dict[int, Exception] = {}
        batch: list[_Work] = []
        for index, record in enumerate(records):
            try:
                batch += self._work(index, record)
            except Exception as error:  # noqa: BLE001  # no other system took part, so the record itself is at fault
                given_up[index] = error
        messages = sum(len(each.follows.changes) for each in batch)
        try:
            for step in self._steps(batch):
                step()
        except Exception:  # noqa: BLE001  # it comes again below, from the record that is at fault
            return self._one_by_one(batch, given_up, len(records))
        return AnnounceReport(messages, len(records), given_up=given_up, trace_ids=_traces(batch))

    def _one_by_one(self, batch: Sequence[_Work], given_up: dict[int, Exception], count: int) -> AnnounceReport:
        messages = 0
        for place, each in enumerate(batch):
            for step in self._steps([each]):  # backends get the event even if clients cannot get the message
                try:
                    step()
                except OF_EVERYTHING as problem:
                    return AnnounceReport(messages, each.index, problem, given_up, _traces(batch[:place]))
                except Exception as error:  # noqa: BLE001  # any other error is the fault of this record
                    given_up[each.index] = error
            messages += len(each.follows.changes)
        return AnnounceReport(messages, count, given_up=given_up, trace_ids=_traces(batch))

    def _work(self, index: int, record: Mapping[str, Any]) -> list[_Work]:
        change = read_change(record)
        if change.new is None:
            return []  # an operator deleted the user, so there is nothing to announce
        return [_Work(index, change.new, consequences(change.old, change.new, self._rules))]

    def _steps(self, batch: Sequence[_Work]) -> list[Callable[[], None]]:
        return [
            lambda: self._record_messages(batch),
            lambda: self._order_offline_checks(batch),
            lambda: self._send_bus_events(batch),
        ]

    def _record_messages(self, batch: Sequence[_Work]) -> None:
        changes = [change for each in batch for change in each.follows.changes]
        now_ms = int(self._clock() * 1000)
        late = {each.audience for each in changes if event_time_ms(each.event_id) < now_ms - LATE_MS}
        if late:  # before the changes, so that whoever reads them late finds the mark as well
            expires_at_s = now_ms // 1000 + self._rules.history_seconds
            self._outbox.put_all(
                [LateMark(audience, make_event_id(now_ms, "late"), expires_at_s) for audience in sorted(late)]
            )
        self._outbox.put_all(changes)

    def _order_offline_checks(self, batch: Sequence[_Work]) -> None:
        left = [each.user for each in batch if each.follows.may_have_left]
        orders: list[tuple[dict[str, Any], dict[str, str]]] = [
            (offline_check(user.user_id, user.left_at_ms, user.trace_id), {}) for user in left
        ]
        self._deadlines.send_all(orders, delay_seconds=self._grace_seconds)

    def _send_bus_events(self, batch: Sequence[_Work]) -> None:
        self._bus.put_all([event for each in batch for event in each.follows.bus_events])


def _traces(batch: Iterable[_Work]) -> list[str]:
    return trace.distinct(each.user.trace_id for each in batch if each.follows)
