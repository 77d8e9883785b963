"""From the Users stream: what changed is recorded for clients, told to the backends, and looked at again in time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from realtime.aws.bus import Bus
from realtime.aws.queues import Queue
from realtime.dead_letters import OF_EVERYTHING
from realtime.deadlines import stayed_away
from realtime.errors import RealtimeError
from realtime.presence import Consequences, Rules, consequences
from realtime.tables.outbox import Outbox
from realtime.tables.users import User, from_image


@dataclass(frozen=True, slots=True)
class Change:
    """A user's state before and after a write; None where there was none."""

    old: User | None
    new: User | None


def read_change(record: Mapping[str, Any]) -> Change:
    """Read a record of the Users stream."""
    images = record["dynamodb"]
    old, new = (images.get(name) for name in ("OldImage", "NewImage"))
    return Change(from_image(old) if old else None, from_image(new) if new else None)


@dataclass(frozen=True, slots=True)
class AnnounceReport:
    """What became of a batch of records."""

    messages: int  # made for clients
    done: int  # records, from the first on: with the next one the stream is to go on
    problem: RealtimeError | None = None  # why that one is not done, if there is one
    given_up: Mapping[int, Exception] = field(default_factory=dict)  # records that no try will mend, by their places


@dataclass(frozen=True, slots=True)
class _Due:
    """What follows from one record."""

    place: int
    user: User
    follows: Consequences


class Announcer:
    """Draws the consequences of changes."""

    def __init__(self, outbox: Outbox, bus: Bus, deadlines: Queue, rules: Rules, *, grace_seconds: int) -> None:
        self._outbox = outbox
        self._bus = bus
        self._deadlines = deadlines
        self._rules = rules
        self._grace_seconds = grace_seconds

    def announce(self, records: Sequence[Mapping[str, Any]]) -> AnnounceReport:
        """Make the consequences of changes true.

        Clients first, backends last. When a step fails, all may be tried again: messages are recorded under the same
        ids, a second look at a leaver finds nothing to do, and only a backend may hear an event twice, with one id.

        The batch goes through as one. Where that fails, its records go through one by one, so that the one at fault is
        known: if it fails for its own sake it is given up and the others are told; if not, the stream goes on with it.
        """
        given_up: dict[int, Exception] = {}
        due: list[_Due] = []
        for place, record in enumerate(records):
            try:
                due += self._due(place, record)
            except Exception as error:  # noqa: BLE001  # nothing outside the record was asked: it is the record's own
                given_up[place] = error
        messages = sum(len(each.follows.entries) for each in due)
        try:
            for step in self._steps(due):
                step()
        except Exception:  # noqa: BLE001  # it is met again below, by the record that is at fault
            return self._one_by_one(due, given_up, len(records))
        return AnnounceReport(messages, len(records), given_up=given_up)

    def _one_by_one(self, due: Iterable[_Due], given_up: dict[int, Exception], count: int) -> AnnounceReport:
        messages = 0
        for each in due:
            for step in self._steps([each]):  # what clients cannot be told, backends can
                try:
                    step()
                except OF_EVERYTHING as problem:
                    return AnnounceReport(messages, each.place, problem, given_up)
                except Exception as error:  # noqa: BLE001  # whatever it is, it is this record's own
                    given_up[each.place] = error
            messages += len(each.follows.entries)
        return AnnounceReport(messages, count, given_up=given_up)

    def _due(self, place: int, record: Mapping[str, Any]) -> list[_Due]:
        change = read_change(record)
        if change.new is None:
            return []  # an operator deleted the user: there is nobody to speak of
        return [_Due(place, change.new, consequences(change.old, change.new, self._rules))]

    def _steps(self, due: Sequence[_Due]) -> list[Callable[[], None]]:
        return [lambda: self._tell_clients(due), lambda: self._look_again(due), lambda: self._tell_backends(due)]

    def _tell_clients(self, due: Sequence[_Due]) -> None:
        self._outbox.put_all([entry for each in due for entry in each.follows.entries])

    def _look_again(self, due: Sequence[_Due]) -> None:
        for each in due:
            if each.follows.may_have_left:
                order = stayed_away(each.user.user_id, each.user.left_at)
                self._deadlines.send(order, delay_seconds=self._grace_seconds)

    def _tell_backends(self, due: Sequence[_Due]) -> None:
        self._bus.put_all([told for each in due for told in each.follows.bus_events])
