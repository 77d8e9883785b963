"""The DynamoDB tables and how they are connected. Only this folder, `aws/` and `posting/` call AWS."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from realtime.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from realtime.tables.acknowledgements import Acknowledgements
    from realtime.tables.blocks import Blocks
    from realtime.tables.budget import Budget
    from realtime.tables.calls import Calls
    from realtime.tables.census import Census
    from realtime.tables.connections import Connections
    from realtime.tables.outbox import Outbox
    from realtime.tables.posted import PostedPositions
    from realtime.tables.rates import Rates
    from realtime.tables.registry import Registry
    from realtime.tables.served import Served
    from realtime.tables.session_scan import SessionScan
    from realtime.tables.stragglers import Stragglers
    from realtime.tables.tally import Tallies
    from realtime.tables.users import Users
    from realtime.tables.views import Views
    from realtime.tables.watched import Watched


@dataclass(frozen=True, slots=True)
class TableNames:
    """The names of the tables that a function may use."""

    connections: str | None = None
    users: str | None = None
    events: str | None = None
    blocks: str | None = None


class Tables:
    """The contents of the tables. Each part is made, and its module loaded, when it is first used."""

    def __init__(self, client: DynamoDBClient, names: TableNames) -> None:
        self._client = client
        self._names = names

    @cached_property
    def connections(self) -> Connections:
        """The connections: their sessions and subscriptions."""
        from realtime.tables.connections import Connections

        return Connections(self._client, _name("connections", self._names.connections))

    @cached_property
    def users(self) -> Users:
        """The users: their connections, and the state that others see."""
        from realtime.tables.users import Users

        return Users(self._client, _name("users", self._names.users))

    @cached_property
    def blocks(self) -> Blocks:
        """The blocks: who may not see whom."""
        from realtime.tables.blocks import Blocks

        return Blocks(self._client, _name("blocks", self._names.blocks))

    @cached_property
    def registry(self) -> Registry:
        """The connections and users, kept in step."""
        from realtime.tables.registry import Registry
        from realtime.tables.transactions import Transaction

        return Registry(self.connections, self.users, lambda: Transaction(self._client))

    @cached_property
    def calls(self) -> Calls:
        """The calls."""
        from realtime.tables.calls import Calls

        return Calls(self._client, _name("events", self._names.events), self.users)

    @cached_property
    def census(self) -> Census:
        """The counts of connections and users."""
        from realtime.tables.census import Census

        names = self._names
        return Census(self._client, _name("connections", names.connections), _name("users", names.users))

    @cached_property
    def outbox(self) -> Outbox:
        """The outbox: an entry for everything that a client receives."""
        from realtime.tables.outbox import Outbox

        return Outbox(self._client, _name("events", self._names.events))

    @cached_property
    def views(self) -> Views:
        """What many clients ask for, made once for all."""
        from realtime.tables.views import Views

        return Views(self._client, _name("events", self._names.events))

    @cached_property
    def acknowledgements(self) -> Acknowledgements:
        """The acknowledgements that are awaited."""
        from realtime.tables.acknowledgements import Acknowledgements

        return Acknowledgements(self._client, _name("events", self._names.events))

    @cached_property
    def stragglers(self) -> Stragglers:
        """The connections that are behind."""
        from realtime.tables.stragglers import Stragglers

        return Stragglers(self._client, _name("events", self._names.events))

    @cached_property
    def served(self) -> Served:
        """When wide audiences were served."""
        from realtime.tables.served import Served

        return Served(self._client, _name("events", self._names.events))

    @cached_property
    def budget(self) -> Budget:
        """The budget of posts."""
        from realtime.tables.budget import Budget

        return Budget(self._client, _name("events", self._names.events))

    @cached_property
    def rates(self) -> Rates:
        """The token buckets that all function instances share."""
        from realtime.tables.rates import Rates

        return Rates(self._client, self._names.connections, _name("events", self._names.events))

    @cached_property
    def tally(self) -> Tallies:
        """The last count of who is online."""
        from realtime.tables.tally import Tallies

        return Tallies(self._client, _name("events", self._names.events))

    @cached_property
    def watched(self) -> Watched:
        """What each connection watches."""
        from realtime.tables.watched import Watched

        return Watched(self._client, _name("connections", self._names.connections))

    @cached_property
    def posted(self) -> PostedPositions:
        """The positions of the audiences that get many events."""
        from realtime.tables.posted import PostedPositions

        return PostedPositions(self._client, _name("events", self._names.events))

    @cached_property
    def session_scan(self) -> SessionScan:
        """The sweep's scan of the connections."""
        from realtime.tables.session_scan import SessionScan

        names = self._names
        return SessionScan(self._client, _name("connections", names.connections), _name("events", names.events))


def _name(kind: str, name: str | None) -> str:
    if not name:
        raise ConfigurationError(f"this function has no {kind} table")
    return name
