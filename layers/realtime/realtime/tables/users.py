"""The Users table: each user's connections and the state that others see.

Every write that may change what others see also raises `version` and sets `changed_at`, from which the stream's
reader makes the messages' ids and times, and `trace_id`. Methods called `*_write` return a write for the
caller's transaction.
The writes by which connections come and go are in `membership`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Set
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from realtime.aws.clients import aws_errors
from realtime.tables import membership
from realtime.tables.dynamodb import Cursor, Value, attribute, item, pages, plain, read_all, sharded_page, update_if
from realtime.tables.membership import CHANGED, UPDATING, Membership
from realtime.tables.transactions import ConditionFailed, Write

ONLINE_INDEX = "OnlineIndex"
# Blocks in a user's item. They are copied into each of the user's changes and into the view of everyone online, so that
# it costs no read to heed them. With more, the item would grow past one write unit.
FEW_BLOCKS = 20


# What others see of a user, and what decides who may see it.
_SEEN = (
    "user_id",
    "username",
    "role",
    "is_online",
    "busy_calls",
    "is_busy_manual",
    "is_away",
    "last_seen",
    "hidden_from",
    "listed_blocks",
    "version",
)


class ManyBlocks(ConditionFailed):
    """A user has too many blocks for their item: they belong on the list in the Blocks table."""


@dataclass(frozen=True, slots=True)
class User:
    """A user as stored; times since the epoch, 0 if there was none."""

    user_id: str
    username: str | None
    role: str | None
    connection_ids: frozenset[str]
    is_online: bool
    is_busy: bool  # by calls, or by hand
    last_seen_ms: int
    left_at_ms: int
    version: int
    changed_at_ms: int
    hidden_from: frozenset[str]  # users whom this one has blocked: all of them, if `listed_blocks` is 0
    listed_blocks: int = 0  # how many blocks and ends of blocks the list in the Blocks table was given
    shown_to: frozenset[str] = frozenset()  # whom the last change of that list took from it
    revoked_before_s: int = 0  # tokens that were issued before it are refused
    trace_id: str = ""  # of what changed it last
    is_away: bool = False  # by their own setting, which makes them busy, too


def read_user(image: dict[str, Any]) -> User:
    """Read a user from an item or a stream's image."""
    values = plain(image)
    trace_id = values.get("trace_id")
    return User(
        user_id=values["user_id"],
        username=values.get("username"),
        role=values.get("role"),
        connection_ids=values.get("connection_ids", frozenset()),
        is_online=values.get("is_online", False),
        is_busy=bool(values.get("busy_calls")) or values.get("is_busy_manual", False),
        last_seen_ms=values.get("last_seen", 0),
        left_at_ms=values.get("left_at", 0),
        version=values.get("version", 0),
        changed_at_ms=values.get("changed_at", 0),
        hidden_from=values.get("hidden_from", frozenset()),
        listed_blocks=values.get("listed_blocks", 0),
        shown_to=values.get("shown_to", frozenset()),
        revoked_before_s=values.get("revoked_before", 0),
        trace_id=trace_id if isinstance(trace_id, str) else "",  # only a log needs it, so it makes no user unreadable
        is_away=values.get("is_away", False),
    )


class Users(Membership):
    """The Users table."""

    def get(self, user_id: str) -> User | None:
        """Return a user as of now, or None if nothing is known of them."""
        key = item({"user_id": user_id})
        with aws_errors("reading a user"):
            answer = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        return read_user(answer["Item"]) if "Item" in answer else None

    def get_many(self, user_ids: Collection[str]) -> list[User]:
        """Return users as of now; users of whom nothing is known are left out."""
        keys = [item({"user_id": user_id}) for user_id in user_ids]
        return [read_user(row) for row in read_all(self._client, self._table, keys)]

    def online(self) -> Iterator[User]:
        """Yield all users who are online, as others see them, by the index: it lags behind the table.

        What others do not see is left out, such as their connections: of thousands it takes seconds to parse.
        """
        for shard in range(membership.ONLINE_SHARDS):
            found = pages(
                self._client,
                "reading the users who are online",
                TableName=self._table,
                IndexName=ONLINE_INDEX,
                KeyConditionExpression="online_shard = :shard",
                ProjectionExpression=", ".join(f"#{name}" for name in _SEEN),
                ExpressionAttributeNames={f"#{name}": name for name in _SEEN},  # `role` is reserved
                ExpressionAttributeValues={":shard": attribute(str(shard))},
            )
            yield from map(read_user, chain.from_iterable(found))

    def stranded(self, after: Cursor, *, left_before_ms: int, seen_before_ms: int) -> tuple[list[User], Cursor]:
        """Read a page of OnlineIndex: users who are online wrongly, and where to go on.

        They have no connection, or only connections older than any can be.
        """
        has_left = "attribute_not_exists(connection_ids) AND left_at < :left"
        is_older_than_any_connection = "attribute_exists(connection_ids) AND last_seen < :seen"
        rows, cursor = sharded_page(
            self._client,
            "reading the users who are online",
            "online_shard",
            membership.ONLINE_SHARDS,
            after,
            values={":left": left_before_ms, ":seen": seen_before_ms},
            TableName=self._table,
            IndexName=ONLINE_INDEX,
            KeyConditionExpression="online_shard = :shard",
            FilterExpression=f"({has_left}) OR ({is_older_than_any_connection})",
        )
        return list(map(read_user, rows)), cursor

    def set_offline(self, user_id: str, left_at_ms: int, now_ms: int) -> bool:
        """Set a user offline if no connection has come since `left_at_ms`; return whether it was done.

        If the answer is lost and the update made again, it may return False although it was done: a count in a log.
        """
        has_not_returned = "attribute_not_exists(connection_ids) AND left_at = :left_at"
        update = self._update(
            user_id,
            f"SET is_online = :false, {CHANGED} REMOVE online_shard",
            condition=f"is_online = :true AND {has_not_returned}",
            values={":true": True, ":false": False, ":left_at": left_at_ms, ":now": now_ms},
        )
        return update_if(self._client, UPDATING, update.request)

    def call_write(self, user_id: str, call_id: str, now_ms: int, *, ongoing: bool) -> Write:
        """Return the write that starts or ends a call of a user; made twice, it has the same effect."""
        verb = "ADD" if ongoing else "DELETE"
        return self._update(
            user_id,
            f"SET {CHANGED} {verb} busy_calls :calls",
            values={":calls": frozenset({call_id}), ":now": now_ms},
        )

    def busy_write(self, user_id: str, now_ms: int, *, busy: bool) -> Write:
        """Return the write that sets a user busy or available by hand; then they are not away."""
        change = f"SET is_busy_manual = :busy, {CHANGED} REMOVE is_away"
        return self._update(user_id, change, values={":busy": busy, ":now": now_ms})

    def set_status(self, user_id: str, status: Literal["online", "busy", "away"], now_ms: int) -> bool:
        """Set a user's own status; return False if they have it already, or nothing is known of them.

        If the answer is lost and the update made again, it may return False although it was done.
        """
        condition = {
            "online": "is_busy_manual = :true OR attribute_exists(is_away)",
            "busy": "NOT is_busy_manual = :true OR attribute_not_exists(is_busy_manual) OR attribute_exists(is_away)",
            "away": "attribute_not_exists(is_away)",
        }[status]
        setting = "is_busy_manual = :busy" + (", is_away = :true" if status == "away" else "")
        update = self._update(
            user_id,
            f"SET {setting}, {CHANGED}" + ("" if status == "away" else " REMOVE is_away"),
            condition=f"attribute_exists(user_id) AND ({condition})",
            values={":busy": status != "online", ":now": now_ms, ":true": True},
        )
        return update_if(self._client, UPDATING, update.request)

    def block_write(self, user_id: str, others: Set[str], now_ms: int, *, blocked: bool) -> Write:
        """Return the write that hides a user's presence from others, or shows it to them again.

        It fails with ManyBlocks if not all of the user's blocks have room in their item.
        """
        if not blocked:
            return self._update(
                user_id,
                f"SET {CHANGED} DELETE hidden_from :others",
                condition="attribute_not_exists(listed_blocks)",
                values={":others": others, ":now": now_ms},
                failure=ManyBlocks("blocks are listed"),
            )
        # A set that became empty is gone, and size() of a missing attribute is no number: hence the first condition.
        return self._update(
            user_id,
            f"SET {CHANGED} ADD hidden_from :others",
            condition="attribute_not_exists(hidden_from) OR size(hidden_from) <= :room",
            values={":others": others, ":now": now_ms, ":room": FEW_BLOCKS - len(others)},
            failure=ManyBlocks("no room for more blocks"),
        )

    def listed_block_write(self, user_id: str, others: Set[str], now_ms: int, *, blocked: bool) -> Write:
        """Return the write that says that others were put on the list of a user's blocks, or taken from it.

        It must not be made before that list's own change, which `broadcast` reads when it is told by this write.
        """
        values: dict[str, Value] = {":now": now_ms, ":count": len(others)}
        if blocked:
            return self._update(user_id, f"SET {CHANGED} ADD listed_blocks :count REMOVE shown_to", values=values)
        return self._update(
            user_id,
            f"SET {CHANGED}, shown_to = :others ADD listed_blocks :count DELETE hidden_from :others",
            values={**values, ":others": others},
        )
