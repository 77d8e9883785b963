"""The `detail` of the events that the service puts on the bus, with the source `realtime`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta

from realtime.backend_events import Id
from realtime.contract.values import Acknowledgeable, EventId, Timestamp, Version


class Transition(TypedDict):
    """A user came online or went offline."""

    id: EventId
    user_id: Id
    username: Annotated[str | None, Meta(description="From the newest token that had a username; null: none had.")]
    version: Version
    last_seen: Annotated[Timestamp, Meta(description="When a connection of the user last came or ended.")]
    connections: Annotated[int, Meta(ge=0, description="How many connections the user has.")]


class Undelivered(TypedDict):
    """A user did not acknowledge a message in time."""

    id: Annotated[EventId, Meta(description="The message's id.")]
    user_id: Annotated[Id, Meta(description="Who did not acknowledge it.")]
    type: Annotated[Acknowledgeable, Meta(description="The message's type.")]
    data: Annotated[
        dict[str, Any], Meta(description="The message's data.", extra_json_schema={"additionalProperties": True})
    ]
    reason: Literal["not_acknowledged", "not_connected"]


EVENTS: dict[str, type] = {
    "user_online": Transition,
    "user_offline": Transition,
    "message_undelivered": Undelivered,
}
SUMMARIES = {
    "user_online": "A user's first connection came.",
    "user_offline": "A user's last connection ended, and none came back within the grace period.",
    "message_undelivered": "A user did not acknowledge in time a message that had `ack_within`.",
}
