"""Erases a person: closes the user's connections, then deletes whatever tables and queues of failures hold of them.

Everything is scanned: history names a user in others' items, too. What is deleted may cause writes that name the user
again (others are told that they went offline), so it is done until a whole scan finds nothing, twice.
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from operate.errors import CommandError
from operate.mentions import Mentions
from operate.redrive import receive_all
from realtime.audiences import is_watching
from realtime.tables import TableNames, Tables
from realtime.tables.calls import OpenCall
from realtime.tables.dynamodb import item, plain, update_if
from realtime.tables.events import call_id_of
from realtime.tables.watched import WATCHED
from realtime.watch_state import WatchState

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

PAUSE_SECONDS = 3.0
"""Between two scans: a change passes two streams in about a second."""
MOST_SCANS = 20
LEAVES_WITHIN_SECONDS = 90.0
"""In which a user whose connections are closed is offline: posts, `$disconnect` and the grace period."""
FAILURES = (
    "FailedEvents",
    "RejectedEvents",
    "UndeliveredEvents",
    "StreamFailures",
    "DeadlinesDeadLetter",
    "LateDeadLetter",
)
_SETS = ("hidden_from", "shown_to", "participants")
_TEXTS = ("message", "presence_message", "feed_message", "progress")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trace:
    """Something that names the user: what it is, and what erases it."""

    what: str
    erase: Callable[[], object]


class Erasure:
    """Finds and erases what the tables and queues hold of one user."""

    def __init__(
        self, dynamodb: DynamoDBClient, sqs: SQSClient, names: TableNames, failures: Mapping[str, str], user_id: str
    ) -> None:
        """Take the clients, the tables' names, and the URLs of the queues of failures."""
        self._dynamodb, self._sqs, self._names, self._failures = dynamodb, sqs, names, failures
        self._tables = Tables(dynamodb, names)
        self._user_id = user_id
        self._mentions = Mentions(user_id)

    def wait_until_offline(self, within_s: float = LEAVES_WITHIN_SECONDS) -> None:
        """Wait until the user has no connection and is offline; what is left by then is ended from here."""
        until = time.monotonic() + within_s
        while (user := self._tables.users.get(self._user_id)) and (user.connection_ids or user.is_online):
            if time.monotonic() >= until:
                for connection_id in user.connection_ids:  # a ghost, which no `$disconnect` will end
                    self._tables.registry.forget(connection_id, _now_ms())
                if user := self._tables.users.get(self._user_id):
                    self._tables.users.set_offline(self._user_id, user.left_at_ms, _now_ms())
                return
            time.sleep(0.5)

    def find(self) -> Counter[str]:
        """Count what names the user, and change nothing."""
        return Counter(trace.what for trace in (*self._in_tables(), *self._in_queues(count_only=True)))

    def erase(self) -> Counter[str]:
        """Erase until nothing names the user; return what was erased.

        Raises:
            CommandError: the user is named again and again.
        """
        erased: Counter[str] = Counter()
        clean = 0
        for _ in range(MOST_SCANS):
            found = _erase(self._in_tables())
            erased += found
            clean = 0 if found else clean + 1
            if clean == 2:
                return erased + _erase(self._in_queues())
            time.sleep(PAUSE_SECONDS)
        raise CommandError(
            f"Something names user {self._user_id} again and again: have the backends stop, and refuse the user new "
            "tokens; then run this again."
        )

    def _in_tables(self) -> Iterator[Trace]:
        """Yield all that names the user. Calls come before users: to end an open one writes its participants."""
        sessions = [_names(row)[0] for row in self._rows(self._names.connections) if self._is_own(row)]
        user = self._tables.users.get(self._user_id)
        known = self._mentions.connection_ids.union(sessions, user.connection_ids if user else ())
        self._mentions = Mentions(self._user_id, known)
        yield from self._in_events()
        yield from self._in_connections()
        yield from self._in_users()
        yield from self._in_blocks()

    def _is_own(self, row: Row) -> bool:
        return bool(row.get("user_id") == self._user_id)

    def _in_events(self) -> Iterator[Trace]:
        views: dict[str, list[Row]] = {}
        for row in self._rows(self._names.events):
            if "rows" in row:
                views.setdefault(row["audience"].rpartition("/")[0], []).append(row)
            elif row["audience"] == "stragglers":
                yield from self._in_stragglers(row)
            elif self._names_user(row):
                yield self._of_call(row) if "participants" in row else self._deleted("events", self._names.events, row)
        for parts in views.values():
            if self._view_shows(parts):
                yield from (self._deleted("views", self._names.events, row) for row in parts)

    def _names_user(self, row: Row) -> bool:
        mentions = self._mentions
        return (
            mentions.in_name(row["audience"])
            or row.get("subject") == self._user_id
            or any(mentions.in_set(row.get(name)) for name in _SETS)
            or any(mentions.in_json(row[name]) for name in _TEXTS if name in row)
        )

    def _of_call(self, row: Row) -> Trace:
        call = OpenCall(call_id_of(row["audience"]), row["participants"])

        def erase() -> None:
            if "open_shard" in row:  # or the other participant would stay busy
                self._tables.calls.end(call, _now_ms())
            self._delete(self._names.events, row)

        return Trace("calls", erase)

    def _in_stragglers(self, row: Row) -> Iterator[Trace]:
        ids = self._mentions.connection_ids
        for name in ("late", "skipped"):
            if found := frozenset(mark for mark in row.get(name, ()) if mark.partition(" ")[0] in ids):
                yield self._taken_out("events", self._names.events, row, name, found)

    def _view_shows(self, parts: list[Row]) -> bool:
        """Return whether a view shows the user; one that is not whole counts: it is made anew when it is needed."""
        in_order = sorted(parts, key=lambda row: int(row["audience"].rpartition("/")[2]))
        try:
            text = zlib.decompress(b"".join(bytes(row["rows"]) for row in in_order)).decode()
        except zlib.error:
            return True
        return f'"{self._user_id}"' in text

    def _in_connections(self) -> Iterator[Trace]:
        table = self._names.connections
        for row in self._rows(table):
            connection_id, audience = _names(row)
            if self._is_own(row) or connection_id in self._mentions.connection_ids:
                yield self._deleted("connections", table, row)
            elif self._mentions.in_name(audience):
                yield self._deleted("others' watching", table, row)
            elif row["audience"] == WATCHED:
                state = WatchState.from_text(row["state"])
                if self._user_id in state.settled or self._user_id in state.recent:
                    yield self._unwatched(row, state)

    def _unwatched(self, row: Row, state: WatchState) -> Trace:
        recent = {user_id: kept for user_id, kept in state.recent.items() if user_id != self._user_id}
        values = item({":state": replace(state, settled=state.settled - {self._user_id}, recent=recent).as_text()})
        update = {
            "TableName": self._names.connections,
            "Key": _key(row, ("connection_id", "audience")),
            "UpdateExpression": "SET #state = :state ADD version :one",
            "ConditionExpression": "version = :version",  # otherwise the next scan finds it again
            "ExpressionAttributeNames": {"#state": "state"},
            "ExpressionAttributeValues": {**values, **item({":one": 1, ":version": row["version"]})},
        }
        return Trace("others' watching", lambda: update_if(self._dynamodb, "changing what is watched", update))

    def _in_users(self) -> Iterator[Trace]:
        for row in self._rows(self._names.users):
            if self._is_own(row):
                yield self._deleted("user", self._names.users, row)
                continue
            for name in _SETS:
                if self._mentions.in_set(row.get(name)):
                    own = frozenset({self._user_id})
                    yield self._taken_out("others' blocks", self._names.users, row, name, own)

    def _in_blocks(self) -> Iterator[Trace]:
        lists = {f"blockers-of/{self._user_id}", f"blocked-by/{self._user_id}"}
        table = self._names.blocks
        for row in self._rows(table):
            if row["list_name"] in lists or (row["part"] == self._user_id and "user_ids" not in row):
                yield self._deleted("blocks", table, row)
            elif self._mentions.in_set(row.get("user_ids")):
                yield self._taken_out("others' blocks", table, row, "user_ids", frozenset({self._user_id}))

    def _in_queues(self, *, count_only: bool = False) -> Iterator[Trace]:
        urls = list(self._failures.values())
        for url, received in zip(urls, receive_all(self._sqs, *urls), strict=True):
            for receipt, body in received:
                is_named = self._mentions.in_json(body)
                if count_only or not is_named:
                    self._sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)
                if is_named:
                    yield Trace("messages of failures", self._deleting(url, receipt))

    def _deleting(self, url: str, receipt: str) -> Callable[[], object]:
        return lambda: self._sqs.delete_message(QueueUrl=url, ReceiptHandle=receipt)

    def _rows(self, table: str | None) -> Iterator[Row]:
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=str(table), ConsistentRead=True)
        for page in pages:
            yield from map(plain, page["Items"])

    def _deleted(self, what: str, table: str | None, row: Row) -> Trace:
        return Trace(what, lambda: self._delete(table, row))

    def _delete(self, table: str | None, row: Row) -> None:
        self._dynamodb.delete_item(TableName=str(table), Key=_key(row, self._keys(table)))

    def _taken_out(self, what: str, table: str | None, row: Row, name: str, members: frozenset[str]) -> Trace:
        update: Any = {
            "TableName": table,
            "Key": _key(row, self._keys(table)),
            "UpdateExpression": "DELETE #set :members",
            "ConditionExpression": "attribute_exists(#set)",  # otherwise the update might create an item
            "ExpressionAttributeNames": {"#set": name},
            "ExpressionAttributeValues": item({":members": members}),
        }
        return Trace(what, lambda: update_if(self._dynamodb, "forgetting a user", update))

    def _keys(self, table: str | None) -> tuple[str, ...]:
        return {
            self._names.users: ("user_id",),
            self._names.blocks: ("list_name", "part"),
            self._names.events: ("audience", "event_id"),
        }.get(table, ("connection_id", "audience"))


def _erase(traces: Iterable[Trace]) -> Counter[str]:
    erased: Counter[str] = Counter()
    for trace in traces:
        trace.erase()
        erased[trace.what] += 1
    return erased


def _key(row: Row, names: tuple[str, ...]) -> Any:
    return item({name: row[name] for name in names})


def _now_ms() -> int:
    return int(time.time() * 1000)


def _names(row: Row) -> tuple[str, str]:
    """Return the connection and the audience of an item; of a watched user the keys are the other way round."""
    connection_id, audience = row["connection_id"], row["audience"]
    return (audience, connection_id) if is_watching(connection_id) else (connection_id, audience)
