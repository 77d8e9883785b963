"""The connections that are behind: one small item, which `broadcast` reads before it posts a batch.

Its string set `late` has a mark for each message of the late queue that holds frames for a connection: the id and the
message's token. Its string set `skipped` has the connections that missed further events meanwhile: their clients must
connect again, and resume. A connection in either gets nothing from `broadcast`.

Each change is one conditional update of the one item, so `late` and `broadcast` never both believe that a connection is
theirs: if it is healed first, the condition of `skip` fails; if it is skipped first, that of `heal` fails.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from realtime.aws.clients import aws_errors
from realtime.tables.dynamodb import attribute, plain, update_if
from realtime.tables.events import STRAGGLERS_TTL_SECONDS, stragglers_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# So many marks and skipped connections make an item of 100 KB, which costs 25 read units for each batch. No batch adds
# marks to more; whoever adds at the same time may exceed it by one write.
CAPACITY = 3500
SKIPPED_TOGETHER = 50  # connections; DynamoDB takes conditions of 4 KB


@dataclass(frozen=True, slots=True)
class Behind:
    """The connections that were behind when the item was read."""

    marks: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by connection
    skipped: Collection[str] = frozenset()
    count: int = 0  # marks and skipped connections

    @property
    def connection_ids(self) -> frozenset[str]:
        """Return all of them."""
        return frozenset(self.marks).union(self.skipped)


def mark_of(connection_id: str, token: str) -> str:
    """Return the mark for a message; ids have no spaces."""
    return f"{connection_id} {token}"


class Stragglers:
    """The item of the connections that are behind."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def read(self) -> Behind:
        """Return who is behind, as of now."""
        with aws_errors("reading the stragglers"):
            answer = self._client.get_item(TableName=self._table, Key=stragglers_key(), ConsistentRead=True)
        found = plain(answer.get("Item") or {})
        late, skipped = found.get("late", frozenset()), found.get("skipped", frozenset())
        marks: dict[str, list[str]] = {}
        for mark in sorted(late):
            marks.setdefault(mark.partition(" ")[0], []).append(mark)
        return Behind(marks, skipped, len(late) + len(skipped))

    def add(self, marks: Sequence[str], now_s: int) -> bool:
        """Note that messages of the late queue hold frames for connections; return False if there is no place for them.

        Who adds may have read the item long ago: without the condition, several could fill it beyond the 400 KB that
        DynamoDB takes. A mark of these that is there already was written by this same call, whose answer was lost.
        """
        values = {
            ":marks": frozenset(marks),
            ":ttl": now_s + STRAGGLERS_TTL_SECONDS,
            ":capacity": CAPACITY,
            ":mark": marks[0],
        }
        has_place = "attribute_not_exists(late) OR size(late) < :capacity OR contains(late, :mark)"
        return self._update("ADD late :marks SET expires_at = :ttl", values, has_place)

    def skip(self, marks: Mapping[str, Sequence[str]]) -> bool:
        """Note that connections miss events; return False, and change nothing, if one of them has none of its marks.

        `marks` are those that were read, by connection, for 1 to 50 connections.
        """
        names = {mark: f":m{number}" for number, mark in enumerate(mark for each in marks.values() for mark in each)}
        conditions = (" OR ".join(f"contains(late, {names[mark]})" for mark in each) for each in marks.values())
        values = {":skipped": frozenset(marks), **{name: mark for mark, name in names.items()}}
        return self._update("ADD skipped :skipped", values, " AND ".join(f"({each})" for each in conditions))

    def heal(self, connection_id: str, token: str) -> bool:
        """Note that the frames of a message were delivered; return False if the connection missed events meanwhile."""
        values = {":marks": frozenset({mark_of(connection_id, token)}), ":id": connection_id}
        return self._update("DELETE late :marks", values, "NOT contains(skipped, :id)")

    def remove(self, connection_id: str, marks: Collection[str]) -> None:
        """Forget a connection that was closed or is gone, and its marks."""
        values = {":skipped": frozenset({connection_id}), ":marks": frozenset(marks)}
        self._update("DELETE skipped :skipped, late :marks" if marks else "DELETE skipped :skipped", values)

    def _update(self, change: str, values: Mapping[str, Any], condition: str | None = None) -> bool:
        """Change the item; a change that is made twice, after a lost answer, has the same effect and answer."""
        update = {
            "TableName": self._table,
            "Key": stragglers_key(),
            "UpdateExpression": change,
            "ExpressionAttributeValues": {name: attribute(value) for name, value in values.items() if value},
        }
        if condition:
            update["ConditionExpression"] = condition
        return update_if(self._client, "noting stragglers", update)
