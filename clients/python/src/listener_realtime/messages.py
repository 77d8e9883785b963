"""The frames that the service sends and receives, the details of events on the bus, and what `admin` is asked.

Written by `python -m tools.contract`: do not edit. A message may have keys that its type does not name, and has none
that its type says to be `NotRequired[None]`.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

Id = int | str
Name = str
EventId = str
Timestamp = str
Position = dict[str, str]
ErrorCode = Literal["AUTH_FAILED", "BAD_REQUEST", "CONNECTION_LIMIT", "INTERNAL", "PERMISSION_DENIED", "RATE_LIMITED"]
Status = Literal["away", "busy", "online"]
Acknowledgeable = Literal[
    "call_billing",
    "call_ended",
    "call_started",
    "favorite_added",
    "favorite_removed",
    "system_notification",
    "user_blocked",
    "user_unblocked",
]
Endpoint = Literal["feed", "presence", "calls", "notifications"]


class ListenerOnline(TypedDict):
    """A listener's first connection came."""

    type: Literal["listener_online"]
    data: ListenerState
    timestamp: Timestamp
    id: EventId
    version: int
    position: NotRequired[Position]
    ack: NotRequired[None]


class ListenerState(TypedDict):
    """The presence of a user as feed shows it: who is no listener is offline there."""

    user_id: Id
    is_online: bool
    is_busy: bool
    last_seen: Timestamp | None
    is_away: NotRequired[Literal[True]]
    username: str | None


class ListenerOffline(TypedDict):
    """A listener's last connection ended, and none came back within the grace period."""

    type: Literal["listener_offline"]
    data: ListenerState
    timestamp: Timestamp
    id: EventId
    version: int
    position: NotRequired[Position]
    ack: NotRequired[None]


class ListenerBusy(TypedDict):
    """A listener's call began, or they set themselves to busy."""

    type: Literal["listener_busy"]
    data: ListenerState
    timestamp: Timestamp
    id: EventId
    version: int
    position: NotRequired[Position]
    ack: NotRequired[None]


class ListenerAvailable(TypedDict):
    """A listener's last call ended, or they set themselves to available."""

    type: Literal["listener_available"]
    data: ListenerState
    timestamp: Timestamp
    id: EventId
    version: int
    position: NotRequired[Position]
    ack: NotRequired[None]


class PresenceUpdate(TypedDict):
    """A user came online or went offline, or shows their presence to you again."""

    type: Literal["presence_update"]
    data: UserState
    timestamp: Timestamp
    id: EventId
    version: int
    position: NotRequired[Position]
    ack: NotRequired[None]


class UserState(TypedDict):
    """The presence of a user."""

    user_id: Id
    is_online: bool
    is_busy: bool
    last_seen: Timestamp | None
    is_away: NotRequired[Literal[True]]


class StatusChanged(TypedDict):
    """A user became busy or available."""

    type: Literal["status_change"]
    data: UserState
    timestamp: Timestamp
    id: EventId
    version: int
    position: NotRequired[Position]
    ack: NotRequired[None]


class CallStarted(TypedDict):
    """A call began; sent to both participants."""

    type: Literal["call_started"]
    data: StartedCall
    timestamp: Timestamp
    id: EventId
    ack: NotRequired[Literal[True]]
    position: NotRequired[Position]
    version: NotRequired[None]


class StartedCall(TypedDict):
    """A call, as `call_started` reports it; its other keys are passed on."""

    call_id: Id
    user_id: Id
    listener_id: Id
    call_type: Name
    status: Name


class CallEnded(TypedDict):
    """A call ended; sent to both participants."""

    type: Literal["call_ended"]
    data: Call
    timestamp: Timestamp
    id: EventId
    ack: NotRequired[Literal[True]]
    position: NotRequired[Position]
    version: NotRequired[None]


class Call(TypedDict):
    """A call, as `call_ended` and `call_billing` report it; their other keys are passed on."""

    call_id: Id
    user_id: Id
    listener_id: Id


class CallBilling(TypedDict):
    """A call was billed; sent to both participants."""

    type: Literal["call_billing"]
    data: Call
    timestamp: Timestamp
    id: EventId
    ack: NotRequired[Literal[True]]
    position: NotRequired[Position]
    version: NotRequired[None]


class FavoriteAdded(TypedDict):
    """Somebody added you to their favourites."""

    type: Literal["favorite_added"]
    data: Deed
    timestamp: Timestamp
    id: EventId
    ack: NotRequired[Literal[True]]
    position: NotRequired[Position]
    version: NotRequired[None]


class Deed(TypedDict):
    """What `user_id` did to you."""

    user_id: Id
    username: Name
    action: Name | None


class FavoriteRemoved(TypedDict):
    """Somebody removed you from their favourites."""

    type: Literal["favorite_removed"]
    data: Deed
    timestamp: Timestamp
    id: EventId
    ack: NotRequired[Literal[True]]
    position: NotRequired[Position]
    version: NotRequired[None]


class UserBlocked(TypedDict):
    """Somebody blocked you: you receive nothing about their presence from now on."""

    type: Literal["user_blocked"]
    data: Deed
    timestamp: Timestamp
    id: EventId
    ack: NotRequired[Literal[True]]
    position: NotRequired[Position]
    version: NotRequired[None]


class UserUnblocked(TypedDict):
    """Somebody blocks you no more."""

    type: Literal["user_unblocked"]
    data: Deed
    timestamp: Timestamp
    id: EventId
    ack: NotRequired[Literal[True]]
    position: NotRequired[Position]
    version: NotRequired[None]


class SystemNotified(TypedDict):
    """Whatever a backend tells some users, or everyone."""

    type: Literal["system_notification"]
    data: SystemNotification
    timestamp: Timestamp
    id: EventId
    ack: NotRequired[Literal[True]]
    position: NotRequired[Position]
    version: NotRequired[None]


class SystemNotification(TypedDict):
    """Whatever a `system_notification` says: all its keys are passed on."""


class Snapshot(TypedDict):
    """The presence of users as it is now: the answer to `sync`, `watch` and `unwatch`."""

    type: Literal["snapshot"]
    data: SnapshotData
    timestamp: Timestamp
    position: NotRequired[Position]
    id: NotRequired[None]
    version: NotRequired[None]
    ack: NotRequired[None]


class SnapshotData(TypedDict):
    """Users as they are now."""

    users: list[User]
    complete: bool


class User(TypedDict):
    """A user in a snapshot."""

    user_id: Id
    is_online: bool
    is_busy: bool
    last_seen: Timestamp | None
    is_away: NotRequired[Literal[True]]
    username: str | None
    version: int


class Stale(TypedDict):
    """Presence since a time could not be sent to you: send `sync`, not more than once a minute because of
    this.
    """

    type: Literal["stale"]
    data: StaleData
    timestamp: Timestamp
    id: NotRequired[None]
    version: NotRequired[None]
    ack: NotRequired[None]
    position: NotRequired[None]


class StaleData(TypedDict):
    """Since when presence may be wrong."""

    since: Timestamp


class Occupancy(TypedDict):
    """The answer to `count`: one count serves all who ask within some seconds."""

    type: Literal["occupancy"]
    data: OccupancyData
    timestamp: Timestamp
    position: NotRequired[Position]
    id: NotRequired[None]
    version: NotRequired[None]
    ack: NotRequired[None]


class OccupancyData(TypedDict):
    """How many listeners are online."""

    listeners_online: int
    listeners_busy: int
    counted_at: Timestamp
    refresh_after: int


class HistoryPage(TypedDict):
    """The answer to `history`: calls and notifications, also to everyone, that you may have seen before."""

    type: Literal["history_page"]
    data: HistoryPageData
    timestamp: Timestamp
    position: NotRequired[Position]
    id: NotRequired[None]
    version: NotRequired[None]
    ack: NotRequired[None]


class HistoryPageData(TypedDict):
    """A page of your history."""

    messages: list[Message]
    left_out: list[EventId]
    next: EventId | None


class Pong(TypedDict):
    """The answer to `ping`."""

    type: Literal["pong"]
    data: dict[str, Any]
    timestamp: Timestamp
    position: NotRequired[Position]
    id: NotRequired[None]
    version: NotRequired[None]
    ack: NotRequired[None]


class Resumed(TypedDict):
    """The end of the answer to `resume`: the messages that you missed came before."""

    type: Literal["resumed"]
    data: ResumedData
    timestamp: Timestamp
    position: NotRequired[Position]
    id: NotRequired[None]
    version: NotRequired[None]
    ack: NotRequired[None]


class ResumedData(TypedDict):
    """What became of a `resume`."""

    recovered: bool
    replayed: int
    complete: NotRequired[bool]


class Acknowledged(TypedDict):
    """The answer to `ack`."""

    type: Literal["acknowledged"]
    data: AcknowledgedData
    timestamp: Timestamp
    id: NotRequired[None]
    version: NotRequired[None]
    ack: NotRequired[None]
    position: NotRequired[None]


class AcknowledgedData(TypedDict):
    """Which message is acknowledged."""

    id: EventId


class Authenticated(TypedDict):
    """The answer to `authenticate`: the newer token counts from now on."""

    type: Literal["authenticated"]
    data: AuthenticatedData
    timestamp: Timestamp
    position: NotRequired[Position]
    id: NotRequired[None]
    version: NotRequired[None]
    ack: NotRequired[None]


class AuthenticatedData(TypedDict):
    """How long the connection may stay."""

    expires_at: Timestamp


class StatusSet(TypedDict):
    """The answer to `status`. Those who see your presence are told, if it is another than before."""

    type: Literal["status_set"]
    data: StatusSetData
    timestamp: Timestamp
    position: NotRequired[Position]
    id: NotRequired[None]
    version: NotRequired[None]
    ack: NotRequired[None]


class StatusSetData(TypedDict):
    """The status that you have now, beside your calls."""

    status: Status


class Reconnect(TypedDict):
    """Open a new connection at a random moment within this time, `resume` there, then close this one."""

    type: Literal["reconnect"]
    data: ReconnectData
    timestamp: Timestamp
    id: NotRequired[None]
    version: NotRequired[None]
    ack: NotRequired[None]
    position: NotRequired[None]


class ReconnectData(TypedDict):
    """How soon to move."""

    within_seconds: int


class Error(TypedDict):
    """What you sent is refused, or the service failed; where the connection may not stay, it is closed
    afterwards.
    """

    type: Literal["error"]
    data: ErrorData
    timestamp: Timestamp
    id: NotRequired[None]
    version: NotRequired[None]
    ack: NotRequired[None]
    position: NotRequired[None]


class ErrorData(TypedDict):
    """What is wrong."""

    code: ErrorCode
    message: str
    retry_after: NotRequired[int]


class GatewayError(TypedDict):
    """API Gateway's own frame, without a `type`: too many messages for the endpoint, or a function that
    failed.
    """

    message: str
    connectionId: NotRequired[str]
    requestId: NotRequired[str]


class Ping(TypedDict):
    """Ask for a sign of life. Send it when you have received nothing for four minutes."""

    type: Literal["ping"]
    data: NotRequired[dict[str, Any]]
    timestamp: NotRequired[Any]


class Resume(TypedDict):
    """Ask for the messages that you missed."""

    type: Literal["resume"]
    data: ResumeData
    timestamp: NotRequired[Any]


class ResumeData(TypedDict):
    """Where you are: `position`, or `last_id` in clients that know no positions. With both, `position`
    counts.
    """

    position: NotRequired[dict[str, str]]
    last_id: NotRequired[EventId]


class Ack(TypedDict):
    """Acknowledge a message that has `ack: true`, once your application has it."""

    type: Literal["ack"]
    data: AckData
    timestamp: NotRequired[Any]


class AckData(TypedDict):
    """Which message you have."""

    id: EventId


class Authenticate(TypedDict):
    """Keep the connection open until a newer token expires."""

    type: Literal["authenticate"]
    data: AuthenticateData
    timestamp: NotRequired[Any]


class AuthenticateData(TypedDict):
    """A newer token."""

    token: str


class SetStatus(TypedDict):
    """Set your own status. The token's `scope` must have the word `status`."""

    type: Literal["status"]
    data: StatusData
    timestamp: NotRequired[Any]


class StatusData(TypedDict):
    """Your own status, beside your calls."""

    status: Status


class Sync(TypedDict):
    """Ask for everyone online, or for the users that you watch."""

    type: Literal["sync"]
    data: NotRequired[dict[str, Any]]
    timestamp: NotRequired[Any]


class Watch(TypedDict):
    """From now on, receive presence of these users alone, added to those that you watch."""

    type: Literal["watch"]
    data: WatchData
    timestamp: NotRequired[Any]


class WatchData(TypedDict):
    """Whom to watch."""

    user_ids: list[Id]


class Unwatch(TypedDict):
    """Receive no more presence of these users."""

    type: Literal["unwatch"]
    data: WatchData
    timestamp: NotRequired[Any]


class Count(TypedDict):
    """Ask how many listeners are online."""

    type: Literal["count"]
    data: NotRequired[dict[str, Any]]
    timestamp: NotRequired[Any]


class History(TypedDict):
    """Ask for a page of your calls and notifications, as far back as they are kept."""

    type: Literal["history"]
    data: NotRequired[HistoryData]
    timestamp: NotRequired[Any]


class HistoryData(TypedDict):
    """Which page: the newest first; with `after` alone the oldest first."""

    before: NotRequired[EventId]
    after: NotRequired[EventId]
    limit: NotRequired[int]


class Transition(TypedDict):
    """A user came online or went offline."""

    id: EventId
    user_id: Id
    username: str | None
    version: int
    last_seen: Timestamp
    connections: int


class Undelivered(TypedDict):
    """A user did not acknowledge a message in time."""

    id: EventId
    user_id: Id
    type: Acknowledgeable
    data: dict[str, Any]
    reason: Literal["not_acknowledged", "not_connected"]


class DeliveryToParticipants(TypedDict):
    """How a call's event is delivered."""

    to: NotRequired[list[Id] | None]
    expires_in: NotRequired[int | None]
    ack_within: NotRequired[int | None]
    idempotency_key: NotRequired[Name | None]


class DeliveryToUsers(TypedDict):
    """To whom, and how, the event is delivered."""

    to: list[Id]
    expires_in: NotRequired[int | None]
    ack_within: NotRequired[int | None]
    idempotency_key: NotRequired[Name | None]


class DeliveryToUsersOrEveryone(TypedDict):
    """To whom, and how, the event is delivered."""

    to: list[Id] | Literal["everyone"]
    expires_in: NotRequired[int | None]
    ack_within: NotRequired[int | None]
    idempotency_key: NotRequired[Name | None]


class DeliveryByPresence(TypedDict):
    """Presence decides who receives the event."""

    expires_in: NotRequired[int | None]
    idempotency_key: NotRequired[Name | None]


class CallStartedDetail(TypedDict):
    """A call began. Both participants receive it, and become busy."""

    call_id: Id
    user_id: Id
    listener_id: Id
    call_type: Name
    status: Name
    delivery: NotRequired[DeliveryToParticipants]


class CallEndedDetail(TypedDict):
    """A call ended. Both participants receive it, and become available."""

    call_id: Id
    user_id: Id
    listener_id: Id
    delivery: NotRequired[DeliveryToParticipants]


class CallBillingDetail(TypedDict):
    """A call was billed. Both participants receive it."""

    call_id: Id
    user_id: Id
    listener_id: Id
    delivery: NotRequired[DeliveryToParticipants]


class FavoriteAddedDetail(TypedDict):
    """A user added the recipients to their favourites."""

    user_id: Id
    username: Name
    action: NotRequired[Name | None]
    delivery: DeliveryToUsers


class FavoriteRemovedDetail(TypedDict):
    """A user removed the recipients from their favourites."""

    user_id: Id
    username: Name
    action: NotRequired[Name | None]
    delivery: DeliveryToUsers


class UserBlockedDetail(TypedDict):
    """A user blocked the recipients, who receive no presence of the user from then on."""

    user_id: Id
    username: Name
    action: NotRequired[Name | None]
    delivery: DeliveryToUsers


class UserUnblockedDetail(TypedDict):
    """A user blocks the recipients no more; they receive the user's presence again."""

    user_id: Id
    username: Name
    action: NotRequired[Name | None]
    delivery: DeliveryToUsers


class SystemNotificationDetail(TypedDict):
    """Whatever you like, for some users or everyone."""

    delivery: DeliveryToUsersOrEveryone


class StatusChangeDetail(TypedDict):
    """A user set themselves to busy or available. Those who see their presence receive it."""

    user_id: Id
    is_busy: bool
    delivery: NotRequired[DeliveryByPresence]


class SessionRevokedDetail(TypedDict):
    """All connections of a user are closed, and tokens issued before the event are refused."""

    user_id: Id
    delivery: NotRequired[DeliveryByPresence]


class WhoRequest(TypedDict):
    """Ask for the presence of users as it is now."""

    action: Literal["who"]
    user_ids: list[Id]


class ConnectionsRequest(TypedDict):
    """Ask for a user's connections."""

    action: Literal["connections"]
    user_id: Id


class DisconnectRequest(TypedDict):
    """Close all connections of a user, or one: with `error` `AUTH_FAILED` as the last frame."""

    action: Literal["disconnect"]
    user_id: NotRequired[Id]
    connection_id: NotRequired[str]
    reason: NotRequired[Name]
    revoke: NotRequired[bool]


class CountsRequest(TypedDict):
    """Ask for counts of users and connections. All connections are read: a read unit for each 8 KB."""

    action: Literal["counts"]


class UsersNow(TypedDict):
    """The answer to `who`: each user once, in the order asked for."""

    users: list[UserNow]


class UserNow(TypedDict):
    """A user as they are now. Whoever is not known is offline, with the version 0."""

    user_id: Id
    is_online: bool
    is_busy: bool
    last_seen: Timestamp | None
    is_away: NotRequired[Literal[True]]
    username: str | None
    version: int
    role: str | None
    connections: int


class UserConnections(TypedDict):
    """The answer to `connections`, the oldest first."""

    user_id: Id
    connections: list[ConnectionNow]


class ConnectionNow(TypedDict):
    """A connection. Its token is stored nowhere."""

    connection_id: str
    stage: str
    endpoints: list[str]
    connected_at: Timestamp
    alive_at: Timestamp
    lease_until: Timestamp
    token_expires_at: Timestamp


class Disconnected(TypedDict):
    """The answer to `disconnect`: the connections that get their last frame now, if there are any."""

    connection_ids: list[str]


class Counts(TypedDict):
    """The answer to `counts`."""

    users_online: int
    listeners_online: int
    listeners_busy: int
    connections: dict[str, int]


class AdminFailure(TypedDict):
    """The answer to a request that was refused or failed."""

    error: FailureData


class FailureData(TypedDict):
    """What is wrong."""

    code: Literal["BAD_REQUEST", "INTERNAL", "UNAVAILABLE"]
    message: str


Message = (
    ListenerOnline
    | ListenerOffline
    | ListenerBusy
    | ListenerAvailable
    | PresenceUpdate
    | StatusChanged
    | CallStarted
    | CallEnded
    | CallBilling
    | FavoriteAdded
    | FavoriteRemoved
    | UserBlocked
    | UserUnblocked
    | SystemNotified
    | Snapshot
    | Stale
    | Occupancy
    | HistoryPage
    | Pong
    | Resumed
    | Acknowledged
    | Authenticated
    | StatusSet
    | Reconnect
    | Error
)
ClientFrame = Ping | Resume | Ack | Authenticate | SetStatus | Sync | Watch | Unwatch | Count | History
ServerFrame = Message | list[Message] | GatewayError
