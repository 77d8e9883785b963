"""The outbox: an entry in the Events table for everything that a client receives. It is also the history."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from realtime.audiences import log_of
from realtime.aws.clients import aws_errors, error_code
from realtime.tables.dynamodb import attribute, item, pages, plain, write_all
from realtime.tables.entries import Change, Entry, LateMark, Unreadable, is_late_mark, read_entries, read_entry
from realtime.tables.events import INGESTED_TTL_SECONDS, entry_key, first_key, ingested_key
from realtime.tables.transactions import TRANSACTION_LIMIT, ConditionFailed, Transaction, Write

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Duplicate(ConditionFailed):
    """The event of the bus was recorded before, under the id `recorded_as`; None if it had no audience."""

    def __init__(self, recorded_as: str | None) -> None:
        super().__init__("the event was recorded before")
        self.recorded_as = recorded_as


@dataclass(frozen=True, slots=True)
class Recorded:
    """The id under which an event of the bus is recorded, and whether it was recorded just now."""

    event_id: str | None  # None if it has no audience
    is_new: bool


class Item(NamedTuple):
    """An item of a partition: its id, and its entries for the audience that was asked for, perhaps none.

    A partition may hold thousands that have none. Who reads it has to count the items, each of which costs.
    """

    event_id: str
    entries: Sequence[Entry]
    is_late_mark: bool = False


class Outbox:
    """The entries of the Events table."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def put_write(self, entry: Entry) -> Write:
        """Return the write that records one entry."""
        return Write("Put", {"TableName": self._table, "Item": entry.as_item()})

    def put(self, entry: Entry) -> None:
        """Record one entry; the same entry again changes nothing, and the stream does not show it again."""
        with aws_errors("recording an event"):
            self._client.put_item(TableName=self._table, Item=entry.as_item())

    def put_all(self, entries: Iterable[Entry | Change | LateMark]) -> None:
        """Record entries and changes, not in a transaction: after a failure the caller may record them all again.

        The states of a user are recorded in their order; a batch of DynamoDB has none, so each state has its own.
        """
        unique = {(entry.audience, entry.event_id): entry for entry in entries}  # a batch may not name a key twice
        earlier: Counter[tuple[str, str]] = Counter()
        batches: defaultdict[int, list[Entry | Change | LateMark]] = defaultdict(list)
        for entry in unique.values():
            number = 0
            if entry.subject is not None:
                number = earlier[entry.audience, entry.subject]
                earlier[entry.audience, entry.subject] += 1
            batches[number].append(entry)
        for batch in batches.values():
            write_all(self._client, self._table, [{"PutRequest": {"Item": each.as_item()}} for each in batch])

    def put_once(
        self,
        source_id: str,
        now_ms: int,
        entries: Sequence[Entry],
        effects: Sequence[Write],
        *,
        is_marked: bool = False,
        earlier: Sequence[Sequence[Write]] = (),
    ) -> Recorded:
        """Record an event of the bus, with its effects on other items, once and in a transaction.

        `source_id` is the event's own id; with `is_marked`, an effect keeps that it was recorded. `earlier` effects are
        made before, each sequence once and in a transaction of its own. Raises the failure of an effect whose condition
        does not hold; of the event, nothing but `earlier` is recorded then.
        """
        for number, writes in enumerate(earlier):
            mark = self._mark(source_id, None, now_ms // 1000, str(number))
            with suppress(Duplicate):
                Transaction(self._client).add(mark, *writes).commit("recording a part of an event")
        event_id = entries[0].event_id if entries else None
        room = TRANSACTION_LIMIT - 1 - len(effects)
        # Only revoked sessions can be this many. They are recorded before the mark, so that none of them is missed.
        for entry in entries[room:]:
            self.put(entry)
        puts = [self.put_write(entry) for entry in entries[:room]]
        marks = [] if is_marked else [self._mark(source_id, event_id, now_ms // 1000)]
        try:
            Transaction(self._client).add(*marks, *effects, *puts).commit("recording an event")
        except Duplicate as duplicate:
            return Recorded(duplicate.recorded_as, is_new=False)
        return Recorded(event_id, is_new=True)

    def first_time_ms(self, source_id: str, at_ms: int, now_s: int) -> int:
        """Return the time of the first event with an id, which is this one's if none was seen before."""
        values = item({"at_ms": at_ms, "expires_at": now_s + INGESTED_TTL_SECONDS})
        with aws_errors("noting the time of an event"):
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item={**first_key(source_id), **values},
                    ConditionExpression="attribute_not_exists(audience)",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise
                first: Any = error.response["Item"]  # type: ignore[typeddict-item]  # what the table has
                return int(plain(first)["at_ms"])
        return at_ms

    def _mark(self, source_id: str, event_id: str | None, now_s: int, part: str = "-") -> Write:
        values = item({"expires_at": now_s + INGESTED_TTL_SECONDS, "recorded_as": event_id})
        return Write(
            "Put",
            {
                "TableName": self._table,
                "Item": {**ingested_key(source_id, part), **values},
                "ConditionExpression": "attribute_not_exists(audience)",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            },
            failure=lambda mark: Duplicate(plain(mark).get("recorded_as")),
        )

    def get(self, audience: str, event_id: str) -> Entry | None:
        """Return an entry, or None if it does not exist any more."""
        key = entry_key(audience, event_id)
        with aws_errors("reading the outbox"):
            answer = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        return read_entry(answer["Item"]) if "Item" in answer else None

    def since(self, audience: str, event_id: str) -> Iterator[Item]:
        """Yield what is recorded in the partition of an audience after an id, oldest first, as of now.

        Changes of presence have one id in the log and another on feed; only the time is the same in both. An audience
        of those who watch a user has no entries.
        """
        return self._of_audience(audience, event_id)

    def newest(self, audience: str, event_id: str, limit: int) -> Iterator[Item]:
        """Yield the same, newest first; `limit` are read at a time."""
        return self._of_audience(audience, event_id, ScanIndexForward=False, Limit=limit)

    def between(self, audience: str, after: str, before: str, *, newest_first: bool, limit: int) -> Iterator[Item]:
        """Yield what is recorded for an audience between two ids, without these, as of now.

        `limit` are read at a time.
        """
        found = self._items(
            KeyConditionExpression="audience = :audience AND event_id BETWEEN :after AND :before",
            ExpressionAttributeValues=item({":audience": audience, ":after": after, ":before": before}),
            ScanIndexForward=not newest_first,
            Limit=limit,
        )
        return (each for each in found if after < each.event_id < before)

    def changed_since(self, log: str, event_id: str) -> Iterator[tuple[str, int]]:
        """Yield the user and the version of each change of presence in a partition after an id, as of now.

        Thousands are read for one `sync`, so nothing else of them is fetched and parsed.
        """
        found = pages(
            self._client,
            "reading the outbox",
            TableName=self._table,
            KeyConditionExpression="audience = :audience AND event_id > :id",
            ProjectionExpression="subject, version",
            ExpressionAttributeValues={":audience": attribute(log), ":id": attribute(event_id)},
            ConsistentRead=True,
        )
        for image in chain.from_iterable(found):
            if "subject" in image and "version" in image:  # otherwise none of our functions wrote it
                yield image["subject"]["S"], int(image["version"]["N"])

    def _of_audience(self, audience: str, event_id: str, **options: Any) -> Iterator[Item]:
        log = log_of(audience)
        if log is None:
            return
        found = self._items(
            KeyConditionExpression="audience = :audience AND event_id > :id",
            ExpressionAttributeValues={":audience": attribute(log), ":id": attribute(event_id)},
            **options,
        )
        for each in found:
            yield each._replace(entries=[entry for entry in each.entries if entry.audience == audience])

    def _items(self, **query: Any) -> Iterator[Item]:
        found = pages(self._client, "reading the outbox", TableName=self._table, ConsistentRead=True, **query)
        for image in chain.from_iterable(found):
            entries: list[Entry] = []
            with suppress(Unreadable):  # `broadcast` gave it up, and logged the reason
                entries = read_entries(image, "wide")
            yield Item(image["event_id"]["S"], entries, is_late_mark(image))
