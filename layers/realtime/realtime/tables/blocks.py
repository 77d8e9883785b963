"""The Blocks table: who has blocked whom, without bound.

    list_name               part              holds
    blockers-of/{user id}   a blocker's id    that this user was blocked by them
    blocked-by/{user id}    0 to 255          `user_ids`: those that this user has blocked, spread by a hash

The first kind has every block: it decides what one user may see of others. The second has the blocks that found no room
in the blocker's own item (users.py): it decides who may see a user whom thousands may not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence, Set
from itertools import chain
from typing import TYPE_CHECKING, Any
from zlib import crc32

from realtime.aws.clients import aws_errors
from realtime.tables.dynamodb import attribute, item, pages, plain, read_all
from realtime.tables.transactions import TRANSACTION_LIMIT, Write

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PARTS = 256  # of a list; a part with 10,000 ids is near the limit of 400 KB of an item
_BLOCKS_AT_ONCE = (TRANSACTION_LIMIT - 1) // 2  # two writes each, and the mark
_BLOCKERS_READ = 500  # at most, to learn who has blocked a user: some 10 read units


class Blocks:
    """The Blocks table. The writes are for transactions; each has the same effect when it is made again."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def writes(self, blocker: str, others: Iterable[str], *, blocked: bool) -> list[Write]:
        """Return the writes that note a user's blocks, or their end, at those whom they concern."""
        keys = [_blocker_key(other, blocker) for other in others]
        if blocked:
            return [Write("Put", {"TableName": self._table, "Item": key}) for key in keys]
        return [Write("Delete", {"TableName": self._table, "Key": key}) for key in keys]

    def list_writes(self, blocker: str, others: Iterable[str], *, blocked: bool) -> list[Write]:
        """Return the writes that add others to the list of those whom a user has blocked, or take them from it."""
        verb = "ADD" if blocked else "DELETE"
        return [
            Write(
                "Update",
                {
                    "TableName": self._table,
                    "Key": _part_key(blocker, part),
                    "UpdateExpression": f"{verb} user_ids :others",
                    "ExpressionAttributeValues": {":others": attribute(ids)},
                },
            )
            for part, ids in _by_part(others).items()
        ]

    def groups_of_writes(self, blocker: str, others: Sequence[str], *, blocked: bool) -> list[list[Write]]:
        """Return the writes that note and list blocks, or their end, in groups that fit into a transaction."""
        groups = [others[start : start + _BLOCKS_AT_ONCE] for start in range(0, len(others), _BLOCKS_AT_ONCE)]
        return [
            [*self.writes(blocker, each, blocked=blocked), *self.list_writes(blocker, each, blocked=blocked)]
            for each in groups
        ]

    def blockers(self, user_id: str, candidates: Collection[str]) -> frozenset[str]:
        """Return which of these users have blocked a user, as of now.

        It costs a read unit, some if dozens have blocked the user, and one for each candidate more if hundreds have.
        """
        wanted = frozenset(candidates)
        if not wanted:
            return wanted
        if len(wanted) > 1:
            known, are_all = self.all_blockers(user_id)
            if are_all:
                return wanted & known
        keys = [_blocker_key(user_id, candidate) for candidate in sorted(wanted)]
        return frozenset(plain(row)["part"] for row in read_all(self._client, self._table, keys))

    def all_blockers(self, user_id: str) -> tuple[frozenset[str], bool]:
        """Return who has blocked a user, and whether these are all: more than some hundreds are not read."""
        with aws_errors("reading blocks"):
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression="list_name = :name",
                ExpressionAttributeValues={":name": attribute(_blockers_of(user_id))},
                ConsistentRead=True,
                Limit=_BLOCKERS_READ,
            )
        return frozenset(plain(row)["part"] for row in answer["Items"]), "LastEvaluatedKey" not in answer

    def listed_among(self, blocker: str, others: Collection[str]) -> frozenset[str]:
        """Return which of these users are on the list of those whom a user has blocked: a read for each, as of now."""
        keys = [_part_key(blocker, part) for part in _by_part(others)]
        return _ids(read_all(self._client, self._table, keys)) & frozenset(others)

    def listed(self, blocker: str) -> frozenset[str]:
        """Return the list of those whom a user has blocked, as of now; 100,000 short ids cost 175 read units."""
        found = pages(
            self._client,
            "reading blocks",
            TableName=self._table,
            KeyConditionExpression="list_name = :name",
            ExpressionAttributeValues={":name": attribute(_blocked_by(blocker))},
            ConsistentRead=True,
        )
        return _ids(chain.from_iterable(found))


def _ids(rows: Iterable[dict[str, Any]]) -> frozenset[str]:
    return frozenset(chain.from_iterable(plain(row).get("user_ids", ()) for row in rows))


def _by_part(user_ids: Iterable[str]) -> dict[str, Set[str]]:
    """Return the ids that belong to each part of a list."""
    found: dict[str, set[str]] = {}
    for user_id in user_ids:
        found.setdefault(str(crc32(user_id.encode()) % PARTS), set()).add(user_id)
    return dict(found)


def _blockers_of(user_id: str) -> str:
    return f"blockers-of/{user_id}"


def _blocked_by(user_id: str) -> str:
    return f"blocked-by/{user_id}"


def _blocker_key(user_id: str, blocker: str) -> dict[str, Any]:
    return item({"list_name": _blockers_of(user_id), "part": blocker})


def _part_key(blocker: str, part: str) -> dict[str, Any]:
    return item({"list_name": _blocked_by(blocker), "part": part})
