"""The messages that clients receive."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from realtime.backend_events import Call, Id, Name, SocialEvent, StartedCall, SystemNotification
from realtime.contract.values import Empty, ErrorCode, EventId, Position, Status, Timestamp, Version


class Envelope(TypedDict):
    """What every message has."""

    timestamp: Timestamp


class Event(Envelope):
    """What every message has that reports an event."""

    id: EventId
    position: NotRequired[Position]


class PresenceEvent(Event):
    """What every message has that reports the state of a user."""

    version: Version


class BackendMessage(Event):
    """What every message has that a backend caused."""

    ack: NotRequired[Annotated[Literal[True], Meta(description="Answer with `ack` and this message's `id`.")]]


class Answer(Envelope):
    """What most answers have."""

    position: NotRequired[Position]


# ---- feed -----------------------------------------------------------------------------------------------------------


class UserState(TypedDict):
    """The presence of a user."""

    user_id: Id
    is_online: bool
    is_busy: bool
    last_seen: Annotated[Timestamp | None, Meta(description="When a connection last came or ended; null: never.")]
    is_away: NotRequired[
        Annotated[Literal[True], Meta(description="They set themselves to away; they are busy, too. Absent otherwise.")]
    ]


class ListenerState(UserState):
    """The presence of a user as feed shows it: who is no listener is offline there."""

    username: Annotated[str | None, Meta(description="From the newest token that had a username; null: none had.")]


class ListenerOnline(PresenceEvent):
    """A listener's first connection came."""

    type: Literal["listener_online"]
    data: ListenerState


class ListenerOffline(PresenceEvent):
    """A listener's last connection ended, and none came back within the grace period."""

    type: Literal["listener_offline"]
    data: ListenerState


class ListenerBusy(PresenceEvent):
    """A listener's call began, or they set themselves to busy."""

    type: Literal["listener_busy"]
    data: ListenerState


class ListenerAvailable(PresenceEvent):
    """A listener's last call ended, or they set themselves to available."""

    type: Literal["listener_available"]
    data: ListenerState


# ---- presence -------------------------------------------------------------------------------------------------------


class PresenceUpdate(PresenceEvent):
    """A user came online or went offline, or shows their presence to you again."""

    type: Literal["presence_update"]
    data: UserState


class StatusChanged(PresenceEvent):
    """A user became busy or available."""

    type: Literal["status_change"]
    data: UserState


# ---- calls ----------------------------------------------------------------------------------------------------------


class CallStarted(BackendMessage):
    """A call began; sent to both participants."""

    type: Literal["call_started"]
    data: StartedCall


class CallEnded(BackendMessage):
    """A call ended; sent to both participants."""

    type: Literal["call_ended"]
    data: Call


class CallBilling(BackendMessage):
    """A call was billed; sent to both participants."""

    type: Literal["call_billing"]
    data: Call


# ---- notifications --------------------------------------------------------------------------------------------------


class Deed(SocialEvent, kw_only=True):
    """What `user_id` did to you."""

    action: Annotated[Name | None, Meta(description="The same in words, such as `added_you_to_favorites`.")]


class FavoriteAdded(BackendMessage):
    """Somebody added you to their favourites."""

    type: Literal["favorite_added"]
    data: Deed


class FavoriteRemoved(BackendMessage):
    """Somebody removed you from their favourites."""

    type: Literal["favorite_removed"]
    data: Deed


class UserBlocked(BackendMessage):
    """Somebody blocked you: you receive nothing about their presence from now on."""

    type: Literal["user_blocked"]
    data: Deed


class UserUnblocked(BackendMessage):
    """Somebody blocks you no more."""

    type: Literal["user_unblocked"]
    data: Deed


class SystemNotified(BackendMessage):
    """Whatever a backend tells some users, or everyone."""

    type: Literal["system_notification"]
    data: SystemNotification


# ---- answers, and what the service says of itself -------------------------------------------------------------------


class Pong(Answer):
    """The answer to `ping`."""

    type: Literal["pong"]
    data: Empty


class User(UserState):
    """A user in a snapshot."""

    username: str | None
    version: Version


class SnapshotData(TypedDict):
    """Users as they are now."""

    users: list[User]
    complete: Annotated[bool, Meta(description="Whether this is the last frame of the answer.")]


class Snapshot(Answer):
    """The presence of users as it is now: the answer to `sync`, `watch` and `unwatch`."""

    type: Literal["snapshot"]
    data: SnapshotData


class ResumedData(TypedDict):
    """What became of a `resume`."""

    recovered: Annotated[bool, Meta(description="Whether nothing is missing. If not, load your data again, or `sync`.")]
    replayed: Annotated[int, Meta(ge=0, description="How many messages came.")]
    complete: NotRequired[
        Annotated[bool, Meta(description="`false`: send `resume` again at once. Absent in the answer to a `last_id`.")]
    ]


class Resumed(Answer):
    """The end of the answer to `resume`: the messages that you missed came before."""

    type: Literal["resumed"]
    data: ResumedData


class AcknowledgedData(TypedDict):
    """Which message is acknowledged."""

    id: EventId


class Acknowledged(Envelope):
    """The answer to `ack`."""

    type: Literal["acknowledged"]
    data: AcknowledgedData


class AuthenticatedData(TypedDict):
    """How long the connection may stay."""

    expires_at: Annotated[Timestamp, Meta(description="When the token expires.")]


class Authenticated(Answer):
    """The answer to `authenticate`: the newer token counts from now on."""

    type: Literal["authenticated"]
    data: AuthenticatedData


class StatusSetData(TypedDict):
    """The status that you have now, beside your calls."""

    status: Status


class StatusSet(Answer):
    """The answer to `status`. Those who see your presence are told, if it is another than before."""

    type: Literal["status_set"]
    data: StatusSetData


class OccupancyData(TypedDict):
    """How many listeners are online."""

    listeners_online: Annotated[int, Meta(ge=0)]
    listeners_busy: Annotated[int, Meta(ge=0, description="How many of them are busy.")]
    counted_at: Timestamp
    refresh_after: Annotated[
        int, Meta(ge=1, description="Seconds in which the answer stays the same: the larger the count, the longer.")
    ]


class Occupancy(Answer):
    """The answer to `count`: one count serves all who ask within some seconds."""

    type: Literal["occupancy"]
    data: OccupancyData


class HistoryPageData(TypedDict):
    """A page of your history."""

    messages: Annotated[list[dict[str, Any]], Meta(description="As you received them, or would have.")]
    left_out: Annotated[list[EventId], Meta(description="Messages that are too large for a page.")]
    next: Annotated[
        EventId | None, Meta(description="There may be more: ask again with it in place of `before` or `after`.")
    ]


class HistoryPage(Answer):
    """The answer to `history`: calls and notifications, also to everyone, that you may have seen before."""

    type: Literal["history_page"]
    data: HistoryPageData


class StaleData(TypedDict):
    """Since when presence may be wrong."""

    since: Timestamp


class Stale(Envelope):
    """Presence since a time could not be sent to you: send `sync`, not more than once a minute because of this."""

    type: Literal["stale"]
    data: StaleData


class ReconnectData(TypedDict):
    """How soon to move."""

    within_seconds: Annotated[int, Meta(ge=0, description="0: this connection is closed; open another at once.")]


class Reconnect(Envelope):
    """Open a new connection at a random moment within this time, `resume` there, then close this one."""

    type: Literal["reconnect"]
    data: ReconnectData


class ErrorData(TypedDict):
    """What is wrong."""

    code: ErrorCode
    message: Annotated[str, Meta(min_length=1, description="For people; it may change.")]
    retry_after: NotRequired[Annotated[int, Meta(ge=1, description="Seconds after which to try again.")]]


class Error(Envelope):
    """What you sent is refused, or the service failed; where the connection may not stay, it is closed afterwards."""

    type: Literal["error"]
    data: ErrorData


class GatewayError(TypedDict):
    """API Gateway's own frame, without a `type`: too many messages for the endpoint, or a function that failed."""

    message: Annotated[str, Meta(description="Such as `Too Many Requests` or `Internal server error`.")]
    connectionId: NotRequired[str]
    requestId: NotRequired[str]


OF_ENDPOINTS: dict[str, list[type]] = {
    "feed": [ListenerOnline, ListenerOffline, ListenerBusy, ListenerAvailable],
    "presence": [PresenceUpdate, StatusChanged],
    "calls": [CallStarted, CallEnded, CallBilling],
    "notifications": [FavoriteAdded, FavoriteRemoved, UserBlocked, UserUnblocked, SystemNotified],
}
OF_PRESENCE: list[type] = [Snapshot, Stale, Occupancy]  # on feed, presence and live
OF_USER: list[type] = [HistoryPage]  # on calls, notifications and live
OF_ALL: list[type] = [Pong, Resumed, Acknowledged, Authenticated, StatusSet, Reconnect, Error]
