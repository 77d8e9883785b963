"""The frames that clients send, and what they say when they connect."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from realtime.contract.values import Empty, EventId, Position, Status, UserIds


class Frame(TypedDict):
    """What every frame of a client may have; other keys are ignored."""

    timestamp: NotRequired[Annotated[Any, Meta(description="Not read.")]]


class Ping(Frame):
    """Ask for a sign of life. Send it when you have received nothing for four minutes."""

    type: Literal["ping"]
    data: NotRequired[Empty]


class Sync(Frame):
    """Ask for everyone online, or for the users that you watch."""

    type: Literal["sync"]
    data: NotRequired[Empty]


class WatchData(TypedDict):
    """Whom to watch."""

    user_ids: UserIds


class Watch(Frame):
    """From now on, receive presence of these users alone, added to those that you watch."""

    type: Literal["watch"]
    data: WatchData


class Unwatch(Frame):
    """Receive no more presence of these users."""

    type: Literal["unwatch"]
    data: WatchData


class ResumeData(TypedDict):
    """Where you are: `position`, or `last_id` in clients that know no positions. With both, `position` counts."""

    position: NotRequired[
        Annotated[Position, Meta(extra_json_schema={"minProperties": 1}, description="All that you merged.")]
    ]
    last_id: NotRequired[Annotated[EventId, Meta(description="The highest `id` that you received.")]]


class Resume(Frame):
    """Ask for the messages that you missed."""

    type: Literal["resume"]
    data: Annotated[
        ResumeData, Meta(extra_json_schema={"anyOf": [{"required": ["position"]}, {"required": ["last_id"]}]})
    ]


class AckData(TypedDict):
    """Which message you have."""

    id: EventId


class Ack(Frame):
    """Acknowledge a message that has `ack: true`, once your application has it."""

    type: Literal["ack"]
    data: AckData


class AuthenticateData(TypedDict):
    """A newer token."""

    token: Annotated[str, Meta(description="Of the same user, good for the same endpoints.")]


class Authenticate(Frame):
    """Keep the connection open until a newer token expires."""

    type: Literal["authenticate"]
    data: AuthenticateData


class StatusData(TypedDict):
    """Your own status, beside your calls."""

    status: Annotated[Status, Meta(description="`away`: others see you busy, and away.")]


class SetStatus(Frame):
    """Set your own status. The token's `scope` must have the word `status`."""

    type: Literal["status"]
    data: StatusData


class Count(Frame):
    """Ask how many listeners are online."""

    type: Literal["count"]
    data: NotRequired[Empty]


class HistoryData(TypedDict):
    """Which page: the newest first; with `after` alone the oldest first."""

    before: NotRequired[Annotated[EventId, Meta(description="Messages before this one.")]]
    after: NotRequired[Annotated[EventId, Meta(description="Messages after this one.")]]
    limit: NotRequired[Annotated[int, Meta(ge=1, le=100, description="How many at most; 50 if absent.")]]


class History(Frame):
    """Ask for a page of your calls and notifications, as far back as they are kept."""

    type: Literal["history"]
    data: NotRequired[HistoryData]


FRAMES: list[type] = [Ping, Resume, Ack, Authenticate, SetStatus]  # on all endpoints
FRAMES_OF_PRESENCE: list[type] = [Sync, Watch, Unwatch, Count]  # on feed, presence and live
FRAMES_OF_USER: list[type] = [History]  # on calls, notifications and live


class Parameters(TypedDict):
    """The query parameters of a handshake; others are ignored."""

    token: NotRequired[Annotated[str, Meta(description="The token, unless a subprotocol or a header has it.")]]
    types: NotRequired[Annotated[str, Meta(description="Receive only these types of messages, separated by commas.")]]
    watch: NotRequired[
        Annotated[str, Meta(description="On feed, presence and live: up to 100 users to watch, separated by commas.")]
    ]
    batch: NotRequired[Annotated[Literal["true", "false"], Meta(description="`true`: a frame may be an array.")]]
    endpoints: NotRequired[Annotated[str, Meta(description="On live: hear these endpoints, separated by commas.")]]
