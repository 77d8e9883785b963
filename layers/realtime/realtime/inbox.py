"""The inbox: pages of a user's own history, calls and notifications, as far back as the outbox keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from realtime import messages, positions
from realtime.audiences import personal, wide
from realtime.errors import BadRequest
from realtime.ids import event_time_ms, make_event_id
from realtime.messages import MAX_FRAME_BYTES
from realtime.tables.connections import Connection
from realtime.tables.entries import Entry
from realtime.tables.outbox import Outbox
from realtime.text import describe_value

if TYPE_CHECKING:
    from realtime.contract.to_clients import HistoryPageData

OWN = ("calls", "notifications")
MOST, USUAL = 100, 50  # messages of a page
_LAST = "f" * 28  # the highest id
_MOST_READ = 1000  # messages of an audience for one page: very many may have expired
_EVERYONES_SHARD = "0"  # an event for everyone is recorded for each shard


class Wanted(NamedTuple):
    """Which page: the messages between two ids, and how many; the newest first unless only `after` is given."""

    after: str | None
    before: str | None
    limit: int

    @property
    def newest_first(self) -> bool:
        """Return whether the newest messages come first."""
        return self.after is None or self.before is not None


class Inbox:
    """Answer `history`."""

    def __init__(self, outbox: Outbox, *, history_seconds: int) -> None:
        self._outbox = outbox
        self._history_seconds = history_seconds

    def answer(self, data: Mapping[str, Any], connection: Connection, now_ms: int) -> list[str]:
        """Answer the frame with one page.

        Raises BadRequest, whose message says what is wrong.
        """
        wanted = parse_wanted(data)
        endpoints = [each for each in OWN if each in connection.endpoints]
        if not endpoints:
            raise BadRequest("history: this connection has none; connect to calls, notifications or live")
        audiences = [personal(each, connection.user_id) for each in endpoints]
        if "notifications" in endpoints:
            audiences.append(wide("notifications", _EVERYONES_SHARD))
        read = [self._read(audience, wanted, now_ms) for audience in audiences]
        found = {entry.event_id: entry for entry in chain.from_iterable(entries for entries, _ in read)}
        in_order = [found[each] for each in sorted(found, reverse=wanted.newest_first)]
        ends = [end for _, end in read if end is not None]
        if not ends:
            return [_page(in_order, wanted.limit, connection, now_ms)]
        # What is beyond the end of a partition that was not read to its end may have gaps.
        if wanted.newest_first:
            end = max(ends)
            in_order = [each for each in in_order if each.event_id >= end]
        else:
            end = min(ends)
            in_order = [each for each in in_order if each.event_id <= end]
        return [_page(in_order, wanted.limit, connection, now_ms, end)]

    def _read(self, audience: str, wanted: Wanted, now_ms: int) -> tuple[Sequence[Entry], str | None]:
        """Return one message more than a page has, so that it is known whether there are more.

        If it read many that are of no use any more, it returns fewer, and the id of the last one that it read.
        """
        oldest = make_event_id(now_ms - self._history_seconds * 1000)
        after, before = max(oldest, wanted.after or ""), wanted.before or _LAST
        if before <= after:
            return [], None  # DynamoDB refuses to look between two ids in the wrong order
        items = self._outbox.between(audience, after, before, newest_first=wanted.newest_first, limit=wanted.limit + 1)
        found: list[Entry] = []
        for number, (event_id, entries, _) in enumerate(items, start=1):
            found += (each for each in entries if each.is_worth_sending(now_ms // 1000))
            if len(found) > wanted.limit:
                break
            if number == _MOST_READ:
                return found, event_id
        return found, None


def parse_wanted(data: Mapping[str, Any]) -> Wanted:
    """Return which page a frame asks for.

    Raises BadRequest.
    """
    for name in ("after", "before"):
        if name in data:
            try:
                event_time_ms(data[name])
            except ValueError as error:
                raise BadRequest(f"{name}: {error}") from error
    limit = data.get("limit", USUAL)
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 < limit <= MOST:
        raise BadRequest(f"limit: must be a whole number from 1 to {MOST}; not {describe_value(limit)}")
    return Wanted(data.get("after"), data.get("before"), limit)


def _page(entries: Sequence[Entry], limit: int, connection: Connection, now_ms: int, end: str | None = None) -> str:
    """Return the frame with as many messages as it and the page hold; one that fits into no page is named.

    `end` is the id up to which there are no others, if there may be more after it.
    """
    position = positions.floor(connection.connected_at_ms, now_ms)
    room = MAX_FRAME_BYTES - 1000  # for the envelope
    shown: list[Any] = []
    left_out: list[str] = []
    last: str | None = None
    for entry in entries:
        size = len(entry.message.encode()) + 1
        if len(shown) + len(left_out) == limit or (size > room and shown):
            break
        if size > room:
            left_out.append(entry.event_id)
            room -= len(entry.event_id) + 3  # two quotes and a comma
        else:
            shown.append(json.loads(entry.message))
            room -= size
        last = entry.event_id
    else:
        last = end
    data: HistoryPageData = {"messages": shown, "left_out": left_out, "next": last}
    return messages.encode("history_page", data, now_ms, position=position)
