"""What backends and operators ask the function `admin`, and what it answers."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta

from realtime.backend_events import Id, Name
from realtime.contract.to_clients import User
from realtime.contract.values import Timestamp

_CONNECTION_ID = {"pattern": "^[\\x01-\\x7f]*$"}
ConnectionId = Annotated[
    str,
    Meta(
        min_length=1, max_length=128, description="API Gateway's id of a connection.", extra_json_schema=_CONNECTION_ID
    ),
]
Count = Annotated[int, Meta(ge=0)]


class WhoRequest(TypedDict):
    """Ask for the presence of users as it is now."""

    action: Literal["who"]
    user_ids: Annotated[list[Id], Meta(min_length=1, max_length=1000, description="The users that you mean.")]


class ConnectionsRequest(TypedDict):
    """Ask for a user's connections."""

    action: Literal["connections"]
    user_id: Id


class DisconnectRequest(TypedDict):
    """Close all connections of a user, or one: with `error` `AUTH_FAILED` as the last frame."""

    action: Literal["disconnect"]
    user_id: NotRequired[Id]
    connection_id: NotRequired[ConnectionId]
    reason: NotRequired[Annotated[Name, Meta(description="The `message` of that frame, for people.")]]
    revoke: NotRequired[Annotated[bool, Meta(description="With `user_id`: also refuse the tokens issued until now.")]]


class CountsRequest(TypedDict):
    """Ask for counts of users and connections. All connections are read: a read unit for each 8 KB."""

    action: Literal["counts"]


class UserNow(User):
    """A user as they are now. Whoever is not known is offline, with the version 0."""

    role: Annotated[str | None, Meta(description="From the newest token that had a role; null: none had.")]
    connections: Annotated[Count, Meta(description="How many connections the user has.")]


class UsersNow(TypedDict):
    """The answer to `who`: each user once, in the order asked for."""

    users: list[UserNow]


class ConnectionNow(TypedDict):
    """A connection. Its token is stored nowhere."""

    connection_id: ConnectionId
    stage: Annotated[str, Meta(description="An endpoint, or `live`.")]
    endpoints: Annotated[list[str], Meta(description="What it hears.")]
    connected_at: Timestamp
    alive_at: Annotated[Timestamp, Meta(description="Its last sign of life, to half a lease.")]
    lease_until: Annotated[Timestamp, Meta(description="Until when it counts as alive if it sends nothing.")]
    token_expires_at: Timestamp


class UserConnections(TypedDict):
    """The answer to `connections`, the oldest first."""

    user_id: Id
    connections: list[ConnectionNow]


class Disconnected(TypedDict):
    """The answer to `disconnect`: the connections that get their last frame now, if there are any."""

    connection_ids: list[ConnectionId]


class Counts(TypedDict):
    """The answer to `counts`."""

    users_online: Count
    listeners_online: Count
    listeners_busy: Annotated[Count, Meta(description="How many of the listeners online are busy.")]
    connections: Annotated[dict[str, Count], Meta(description="By stage: `live` and each endpoint.")]


class FailureData(TypedDict):
    """What is wrong."""

    code: Annotated[
        Literal["BAD_REQUEST", "UNAVAILABLE", "INTERNAL"],
        Meta(description="Mend the request; try again; or look into the log of the function."),
    ]
    message: Annotated[str, Meta(min_length=1, description="For people; it may change.")]


class AdminFailure(TypedDict):
    """The answer to a request that was refused or failed."""

    error: FailureData


REQUESTS: list[type] = [WhoRequest, ConnectionsRequest, DisconnectRequest, CountsRequest]
ANSWERS: list[type] = [UsersNow, UserConnections, Disconnected, Counts, AdminFailure]
