"""The Connections table: what each connection is, and to which audiences it subscribes."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from realtime.audiences import (
    LIVE,
    direct,
    endpoint_of,
    heard_through,
    is_watching,
    is_wide,
    listing_of,
    own_live,
    stage_of,
    watched_user,
)
from realtime.aws import retries
from realtime.aws.clients import aws_errors
from realtime.errors import Unavailable
from realtime.messages import TYPES
from realtime.tables.dynamodb import Value, attribute, item, pages, read_all, update_if, write_all
from realtime.tables.sessions import CONNECTION_TTL_SECONDS, Connection, Session, read_session
from realtime.tables.subscriptions import (
    Subscriber,
    Subscriptions,
    item_key,
    make_item,
    read_subscriber,
    read_subscriptions,
    subscription,
)
from realtime.tables.transactions import Write
from realtime.tables.watched import first_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

__all__ = ["AUDIENCE_INDEX", "CONNECTION_TTL_SECONDS", "Connection", "Connections", "Session", "Subscriber"]

AUDIENCE_INDEX = "AudienceIndex"  # sparse: by `indexed_audience`, which a session's item has on `live` only
_INDEXED_WITHIN_SECONDS, _LONGEST_PAUSE_SECONDS = 5.0, 0.5  # the index lags behind its table, usually by milliseconds


class Connections:
    """The Connections table: an item for each audience of a connection. The item of its own audience is its session."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def registration_writes(self, connection: Connection, audiences: Sequence[str], lease_until_s: int) -> list[Write]:
        """Return the writes that register a connection; `subscribe_rest` must follow before its client is let in.

        They are for a transaction, where each costs twice as much. On the stage `live` they are its session alone,
        which is itself the subscription to what is for its user.
        """
        is_live = connection.stage == LIVE
        own = own_live(connection.user_id, connection.endpoints) if is_live else []
        session = make_item(
            connection,
            direct(connection.connection_id),
            {
                "lease_until": lease_until_s,
                "token_expires_at": connection.token_expires_at_s,
                "wide": _heard_whole(connection, audiences),
                "endpoints": connection.chosen,
                "may_set_status": connection.may_set_status or None,
                "indexed_audience": listing_of(own[0]) if own else None,
            },
        )
        within = () if is_live else [audience for audience in audiences if not is_watching(audience)]
        subscriptions = [subscription(connection, audience) for audience in within]
        return [Write("Put", {"TableName": self._table, "Item": each}) for each in (session, *subscriptions)]

    def subscribe_rest(self, connection: Connection, audiences: Sequence[str]) -> None:
        """Write what of a new connection's subscriptions `registration_writes` left out, and whom it watches."""
        watched = [watched_user(audience) for audience in audiences if is_watching(audience)]
        is_live = connection.stage == LIVE
        own = own_live(connection.user_id, connection.endpoints) if is_live else []
        rest = [each for each in audiences if each not in own and (is_live or is_watching(each))]
        first = [first_item(connection, watched)] if watched else []
        self._put([*first, *(subscription(connection, audience) for audience in rest)])

    def subscribe(self, connection: Connection, audiences: Collection[str]) -> None:
        """Subscribe a connection to more audiences."""
        self._put([subscription(connection, audience) for audience in audiences])

    def _put(self, items: Iterable[Mapping[str, Any]]) -> None:
        write_all(self._client, self._table, [{"PutRequest": {"Item": each}} for each in items])

    def is_indexed(self, audience: str, connection_id: str) -> bool:
        """Return whether the index shows a subscription yet: it lags behind the table."""
        with aws_errors("reading an audience"):
            answer = self._client.query(
                TableName=self._table,
                IndexName=AUDIENCE_INDEX,
                KeyConditionExpression="indexed_audience = :listing AND connection_id = :id",
                ExpressionAttributeValues=item({":listing": listing_of(audience), ":id": connection_id}),
                Select="COUNT",
            )
        return bool(answer["Count"])

    def wait_until_indexed(self, audiences: Collection[str], connection_id: str) -> None:
        """Wait until `broadcast` finds a connection by these audiences: until then it would miss their events.

        Those of watched users are not in the index; it finds them at once. Nobody waits for who has left meanwhile.
        Raises Unavailable if it takes too long.
        """
        until = min(time.monotonic() + _INDEXED_WITHIN_SECONDS, retries.latest())
        for audience in audiences:
            if is_watching(audience):
                continue
            pause_s = 0.01
            while not self.is_indexed(audience, connection_id):
                if pause_s == _LONGEST_PAUSE_SECONDS and self.session(connection_id) is None:
                    return
                if time.monotonic() >= until:
                    raise Unavailable("the index of audiences lags behind")
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_SECONDS)

    def session(self, connection_id: str) -> Session | None:
        """Return a connection's session, or None if it is not registered.

        The first read is eventually consistent, which costs half a unit. Only if it finds nothing, a consistent one
        follows, because the connection may have been registered just now.
        """
        key = _session_key(connection_id)
        for is_consistent in (False, True):
            with aws_errors("reading a connection"):
                answer = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=is_consistent)
            if "Item" in answer:
                return read_session(answer["Item"])
        return None

    def sessions(self, connection_ids: Collection[str]) -> list[Session]:
        """Return the sessions of these connections, as of now; those that are not registered are left out."""
        keys = [_session_key(connection_id) for connection_id in connection_ids]
        return [read_session(row) for row in read_all(self._client, self._table, keys)]

    def renew_lease(
        self,
        connection_id: str,
        lease_until_s: int,
        *,
        heard_at_s: int | None = None,
        pinged_at_s: int | None = None,
        has_heartbeat: bool = False,
    ) -> None:
        """Extend a connection's lease, and keep what was learned of it, unless it was forgotten meanwhile."""
        learned = {"heard_at": heard_at_s, "pinged_at": pinged_at_s, "heartbeat": has_heartbeat or None}
        self._update_session(connection_id, {"lease_until": lease_until_s, **learned})

    def extend_token(self, connection_id: str, token_expires_at_s: int, *, may_set_status: bool) -> None:
        """Keep a connection open until another token expires, with that token's right."""
        learned = {"token_expires_at": token_expires_at_s, "may_set_status": may_set_status}
        self._update_session(connection_id, learned)

    def note_left(self, connection: Connection, audiences: Collection[str]) -> None:
        """Note that a connection has left everyone's presence, and hears of wide audiences these alone."""
        wide = _heard_whole(connection, audiences)
        removed = () if wide else ("wide",)
        self._update_session(connection.connection_id, {"left_everyone": True, "wide": wide}, removed)

    def _update_session(
        self, connection_id: str, values: Mapping[str, Value | None], removed: Sequence[str] = ()
    ) -> None:
        """Change a session if it still exists; doing it twice, after a lost answer, has the same effect."""
        stored = item(values)
        update = {
            "TableName": self._table,
            "Key": _session_key(connection_id),
            "UpdateExpression": "SET "
            + ", ".join(f"{name} = :{name}" for name in stored)
            + (f" REMOVE {', '.join(removed)}" if removed else ""),
            "ConditionExpression": "attribute_exists(connection_id)",  # otherwise the write would create a ghost
            "ExpressionAttributeValues": {f":{name}": value for name, value in stored.items()},
        }
        update_if(self._client, "updating a connection", update)

    def subscribers(self, audience: str, now_s: int) -> Iterator[list[Subscriber]]:
        """Yield the connections that subscribe to a wide audience, a page at a time, without those past their time."""
        for page in self._listed(audience, now_s):
            yield [read_subscriber(row, "connection_id") for row in page]

    def about_user(self, audiences: Collection[str], now_s: int) -> dict[str, list[Subscriber]]:
        """Return the connections that subscribe to each of these audiences, which are listed together.

        Those that watch a user are shown as of now, which costs twice as much: so a client is told that it watches as
        soon as that is written.
        """
        (listing,) = set(map(listing_of, audiences))
        by_stage = {stage_of(audience): audience for audience in audiences}
        found: dict[str, list[Subscriber]] = {audience: [] for audience in audiences}
        id_name = "audience" if is_watching(listing) else "connection_id"
        for row in chain.from_iterable(self._listed(listing, now_s, "endpoint")):
            audience = by_stage.get(row["endpoint"]["S"])
            if audience is not None:
                found[audience].append(read_subscriber(row, id_name))
        return found

    def _listed(self, listing: str, now_s: int, *names: str) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a list of subscribers, with what `read_subscriber` reads and further attributes."""
        is_by_user = is_watching(listing)
        partition, id_name = ("connection_id", "audience") if is_by_user else ("indexed_audience", "connection_id")
        source = {"ConsistentRead": True} if is_by_user else {"IndexName": AUDIENCE_INDEX}
        return pages(
            self._client,
            "reading an audience",
            TableName=self._table,
            KeyConditionExpression=f"{partition} = :listing",
            FilterExpression="expires_at > :now",
            ProjectionExpression=", ".join((id_name, "user_id", "connected_at", "#types", "#batch", *names)),
            ExpressionAttributeNames={"#types": "types", "#batch": "batch"},  # reserved now, or maybe later
            ExpressionAttributeValues={":listing": attribute(listing), ":now": attribute(now_s)},
            **source,
        )

    def subscriptions(self, connection_id: str) -> Subscriptions:
        """Return what is stored of a connection, as of now."""
        found = pages(
            self._client,
            "reading a connection",
            TableName=self._table,
            KeyConditionExpression="connection_id = :id",
            ExpressionAttributeValues={":id": attribute(connection_id)},
            ProjectionExpression="audience, user_id, endpoint, #state",
            ExpressionAttributeNames={"#state": "state"},  # reserved
            ConsistentRead=True,
        )
        return read_subscriptions(chain.from_iterable(found))

    def delete_writes(self, connection_id: str, audiences: Iterable[str]) -> list[Write]:
        """Return the writes that delete a connection's items for these audiences."""
        keys = [item_key(connection_id, audience) for audience in audiences]
        return [Write("Delete", {"TableName": self._table, "Key": key}) for key in keys]

    def delete(self, subscriptions: Iterable[tuple[str, str]]) -> None:
        """Delete items by connection id and audience; each pair must be given once."""
        keys = [item_key(connection_id, audience) for connection_id, audience in subscriptions]
        write_all(self._client, self._table, [{"DeleteRequest": {"Key": key}} for key in keys])


def _heard_whole(connection: Connection, audiences: Iterable[str]) -> str | None:
    """Return a wide audience that a connection gets all entries of, preferably the busiest."""
    for audience in heard_through(filter(is_wide, audiences), connection.endpoints):
        if not connection.types or connection.types >= TYPES[endpoint_of(audience)]:
            return audience
    return None


def _session_key(connection_id: str) -> dict[str, Any]:
    return item_key(connection_id, direct(connection_id))
