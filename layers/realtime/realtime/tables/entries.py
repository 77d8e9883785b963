"""What the outbox holds: entries, each a message for an audience, and changes of presence, which stand for several.

A change of a user is one item, however many audiences there are: it carries the messages of feed and of presence, and
stands for an entry of each wide audience of its shard. The item of shard 0 stands for those who watch the user as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from realtime import trace
from realtime.audiences import connection_of, is_wide, personal, shard_of, wide
from realtime.errors import RealtimeError
from realtime.messages import STAGES
from realtime.tables.dynamodb import item, plain

Reach = Literal["narrow", "wide"]  # of audiences: those about one user, or those of everyone on an endpoint
_BOTH = "both"  # a change of presence that both functions read


class Unreadable(RealtimeError):
    """An item that none of our functions wrote, so no try will ever post it; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message for one audience; times since the epoch."""

    audience: str
    event_id: str
    kind: str  # the message's type, for filters
    message: str  # the exact frame
    expires_at_s: int
    stage: str | None = None  # where the one connection addressed is, if the audience is `connection/{id}`
    connected_at_ms: int | None = None  # likewise, if it is known: a 410 of a young connection is not believed
    close: bool = False  # close that connection after the message
    is_streamed: bool = True  # False if `broadcast` is not shown it, because another function posts it
    not_after_s: int | None = None  # past it the message is not worth sending
    hidden_from: frozenset[str] = frozenset()  # users who must not receive it
    listed_blocks: int = 0  # above 0: nor those on the list of its subject's blocks, which was changed so often
    shown_to: frozenset[str] = frozenset()  # the only users who may receive it; none = all
    subject: str | None = None  # the user whose state it reports
    version: int = 0  # of that state: a higher one makes it stale
    trace_id: str = field(default_factory=trace.current)  # of what it tells

    def as_item(self) -> dict[str, Any]:
        """Return the entry as it is stored."""
        return item(
            {
                "audience": self.audience,
                "event_id": self.event_id,
                "reach": self._reach(),
                "kind": self.kind,
                "message": self.message,
                "expires_at": self.expires_at_s,
                "endpoint": self.stage,  # so called from when each stage had one endpoint
                "connected_at": self.connected_at_ms,
                "close": self.close or None,
                "not_after": self.not_after_s,
                "hidden_from": self.hidden_from,
                "listed_blocks": self.listed_blocks or None,
                "shown_to": self.shown_to,
                "subject": self.subject,
                "version": self.version or None,
                "trace_id": self.trace_id or None,
            }
        )

    def is_worth_sending(self, now_s: int) -> bool:
        """Return whether the message is still of use; DynamoDB deletes expired items up to two days late."""
        return self.expires_at_s > now_s and (self.not_after_s is None or self.not_after_s >= now_s)

    def _reach(self) -> str | None:
        """Return the value by which the stream's mappings decide which function posts the entry."""
        if not self.is_streamed:
            return None
        return "wide" if is_wide(self.audience) else "narrow"


_TYPES: dict[str, Any] = {
    "audience": str,
    "event_id": str,
    "kind": str,
    "message": str,
    "expires_at_s": int,
    "connected_at_ms": int | None,
    "not_after_s": int | None,
    "hidden_from": frozenset,
    "listed_blocks": int,
    "shown_to": frozenset,
    "subject": str | None,
    "version": int,
    "trace_id": str,
}
_LARGEST = 2**53  # of a time or a version, far beyond any; DynamoDB's numbers go up to 10^126, which no float takes


def read_entry(image: Any) -> Entry:
    """Read an entry from an item or a stream's image.

    Raises Unreadable if none of our functions wrote it.
    """
    try:
        values = plain(image)
        entry = Entry(
            audience=values["audience"],
            event_id=values["event_id"],
            kind=values["kind"],
            message=values["message"],
            expires_at_s=values["expires_at"],
            stage=values.get("endpoint"),
            connected_at_ms=values.get("connected_at"),
            close=values.get("close", False),
            is_streamed="reach" in values,
            not_after_s=values.get("not_after"),
            hidden_from=values.get("hidden_from", frozenset()),
            listed_blocks=values.get("listed_blocks", 0),
            shown_to=values.get("shown_to", frozenset()),
            subject=values.get("subject"),
            version=values.get("version", 0),
            trace_id=values.get("trace_id", ""),
        )
        _check(entry)
    except Exception as error:  # whatever the error is, this item is at fault
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    return entry


def _check(entry: Entry) -> None:
    for name, kind in _TYPES.items():
        value = getattr(entry, name)
        if not isinstance(value, kind):
            raise TypeError(f"{name} is of type {type(value).__name__}")
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise ValueError(f"{name} is a number of {value.bit_length()} bits")
    if connection_of(entry.audience) is not None and entry.stage not in STAGES:
        # A post to an unknown stage gets a 403, as if a right were missing.
        raise ValueError(f"stage is {entry.stage!r}")
    entry.message.encode()


_LATE = "late"  # the kind of a LateMark

# The attributes of a change's message, by its endpoint.
_PARTS = {
    "presence": ("presence_id", "presence_kind", "presence_message"),
    "feed": ("feed_id", "feed_kind", "feed_message"),
}


@dataclass(frozen=True, slots=True)
class Message:
    """A message about a change of presence, as one endpoint gets it; `frame` is the exact frame."""

    event_id: str
    kind: str
    frame: str


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a user's presence, in one shard; times since the epoch."""

    audience: str  # `presence/*/{shard}`; it stands for `feed/*/{shard}` as well
    subject: str  # the user
    messages: Mapping[str, Message]  # by endpoint: feed, presence or both
    expires_at_s: int
    is_for_watchers: bool  # true for one of the shards
    hidden_from: frozenset[str] = frozenset()
    listed_blocks: int = 0
    shown_to: frozenset[str] = frozenset()
    version: int = 0  # of the user's state
    trace_id: str = ""  # of what changed it

    @property
    def event_id(self) -> str:
        """The sort key. The ids of all its messages have the same time, so they sort like this one."""
        return next(self.messages[each].event_id for each in _PARTS if each in self.messages)

    def as_item(self) -> dict[str, Any]:
        """Return the change as it is stored."""
        values: dict[str, Any] = {
            "audience": self.audience,
            "event_id": self.event_id,
            "reach": _BOTH if self.is_for_watchers else "wide",
            "subject": self.subject,
            "version": self.version or None,
            "expires_at": self.expires_at_s,
            "hidden_from": self.hidden_from,
            "listed_blocks": self.listed_blocks or None,
            "shown_to": self.shown_to,
            "trace_id": self.trace_id or None,
        }
        for endpoint, message in self.messages.items():
            names = _PARTS[endpoint]
            values |= dict(zip(names, (message.event_id, message.kind, message.frame), strict=True))
        return item(values)


@dataclass(frozen=True, slots=True)
class LateMark:
    """Notes in a log of presence that changes with older ids were recorded at the time of its own id.

    Whoever reads what came after a client's position looks for no ids that are older than those around it.
    """

    audience: str
    event_id: str
    expires_at_s: int
    subject: None = None  # it is no state of a user

    def as_item(self) -> dict[str, Any]:
        """Return the mark as it is stored; the stream shows it to nobody."""
        keys = {"audience": self.audience, "event_id": self.event_id}
        return item({**keys, "kind": _LATE, "expires_at": self.expires_at_s})


def is_late_mark(image: Mapping[str, Any]) -> bool:
    """Return whether an item is a LateMark."""
    return bool(image.get("kind") == {"S": _LATE})


def read_entries(image: Any, reach: Reach) -> list[Entry]:
    """Read what an item stands for: its own entry, or those entries of a change of presence that have this reach.

    Raises Unreadable if none of our functions wrote it.
    """
    if not isinstance(image, Mapping) or not any(names[-1] in image for names in _PARTS.values()):
        return [read_entry(image)]
    try:
        values = plain(image)
        return _entries_of_change(values, reach)
    except Exception as error:  # whatever the error is, this item is at fault
        raise Unreadable(f"{type(error).__name__}: {error}") from error


def _entries_of_change(values: Mapping[str, Any], reach: Reach) -> list[Entry]:
    if reach == "narrow" and values.get("reach") != _BOTH:
        return []
    subject, shard = values["subject"], shard_of(values["audience"])
    entries = []
    for endpoint, names in _PARTS.items():
        if names[-1] not in values:
            continue
        event_id, kind, frame = (values[name] for name in names)
        entry = Entry(
            audience=wide(endpoint, shard) if reach == "wide" else personal(endpoint, subject),
            event_id=event_id,
            kind=kind,
            message=frame,
            expires_at_s=values["expires_at"],
            hidden_from=values.get("hidden_from", frozenset()),
            listed_blocks=values.get("listed_blocks", 0),
            shown_to=values.get("shown_to", frozenset()),
            subject=subject,
            version=values.get("version", 0),
            trace_id=values.get("trace_id", ""),
        )
        _check(entry)
        entries.append(entry)
    return entries
