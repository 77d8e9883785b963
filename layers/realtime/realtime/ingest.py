"""From the bus: a backend's event takes effect on presence and is recorded for each audience, once and as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from realtime import messages
from realtime.audiences import direct, everyone, personal
from realtime.aws.queues import Queue
from realtime.backend_events import ID_FIELDS, BackendEvent, validate
from realtime.deadlines import acknowledged
from realtime.errors import AuthFailed, InvalidEvent
from realtime.ids import event_time_ms, id_as_json, make_event_id
from realtime.tables.calls import Calls
from realtime.tables.connections import Connections
from realtime.tables.outbox import Entry, Outbox
from realtime.tables.transactions import ConditionsFailed
from realtime.tables.users import Users
from realtime.text import describe_value, loads, make_storable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_EARLIEST_MS = (datetime(2000, 1, 1, tzinfo=UTC) - _EPOCH) // _MILLISECOND
AHEAD_MS = 300_000  # a sender's clock may be ahead of ours by so much


def parse(body: str) -> Mapping[str, Any]:
    """Read the text of a message of the queue: EventBridge's event, as JSON.

    Raises InvalidEvent where it is none.
    """
    try:
        event = loads(body)
    except ValueError as error:
        raise InvalidEvent(f"not JSON: {describe_value(str(error))}") from error
    if not isinstance(event, dict):
        raise InvalidEvent("not a JSON object")
    missing = [key for key in ("id", "detail-type", "detail", "time") if key not in event]
    if missing:
        raise InvalidEvent(f"not an event of EventBridge: it has no {', '.join(missing)}")
    return event


def described(event: Mapping[str, Any]) -> dict[str, str]:
    """Return what is logged of an event: what it is, and never what it says."""
    return {
        "event_id": make_storable(str(event["id"]), 100),
        "detail_type": make_storable(str(event["detail-type"]), 100),
    }


def read(event: Mapping[str, Any]) -> BackendEvent:
    """Read and validate EventBridge's event.

    Raises InvalidEvent.
    """
    return validate(event.get("id"), event.get("detail-type"), event.get("detail"), _moment(event.get("time")))


def _moment(text: object) -> int:
    """Return an event's own time in ms.

    Raises InvalidEvent where it is none, or of before 2000: such a clock was never set. What lies ahead is seen to by
    who knows what time it is.
    """
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidEvent(f"time: must be RFC 3339, such as 2024-01-15T10:30:00Z; not {describe_value(text)}")
    at = (moment - _EPOCH) // _MILLISECOND
    if at < _EARLIEST_MS:
        raise InvalidEvent(f"time: {describe_value(text)} is before 2000; is the sender's clock right?")
    return at


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of an event: for how many audiences it was recorded, and whether it had been before."""

    audiences: int
    duplicate: bool


class Ingestion:
    """Records backends' events."""

    def __init__(
        self,
        connections: Connections,
        users: Users,
        calls: Calls,
        outbox: Outbox,
        deadlines: Queue,
        *,
        shards: int,
        history_seconds: int,
    ) -> None:
        self._connections = connections
        self._users = users
        self._calls = calls
        self._outbox = outbox
        self._deadlines = deadlines
        self._shards = shards
        self._history_seconds = history_seconds

    def ingest(self, event: BackendEvent, now: int) -> Ingested:
        """Record an event and its effects; `now` in ms is when it is recorded, which orders it among others.

        Raises InvalidEvent if its own time is ahead of now, or if by that time it came too late to be heard: then its
        effects hold all the same, and who is to acknowledge it is looked after.
        """
        if event.at_ms > now + AHEAD_MS:
            ahead = (event.at_ms - now) // 1000
            raise InvalidEvent(f"time: {ahead} s ahead of now; is the sender's clock right, and the zone of its time?")
        entries = self._ends_of_sessions(event, now) if event.kind == "session_revoked" else self._entries(event, now)
        asked = event.to if event.ack_within_s and isinstance(event.to, tuple) else ()
        awaited = [self._outbox.awaiting(user_id, entries[0].event_id, entries[0].expires_at) for user_id in asked]
        effects = self._effects(event, now)
        try:
            recorded = self._outbox.put_once(event.event_id, now // 1000, entries, [*effects, *awaited])
        except ConditionsFailed:  # the call has ended before: its start is told, but makes nobody busy
            recorded = self._outbox.put_once(event.event_id, now // 1000, entries, awaited)
        if asked and event.ack_within_s:
            # A duplicate, too, is looked after: nobody may have been told to when the event was recorded.
            identity = entries[0].event_id if recorded else self._outbox.recorded_as(event.event_id)
            self._order_checks(messages.ENDPOINT_OF[event.kind], asked, identity, event.ack_within_s)
        self._check_in_time(event, entries, now, recorded=recorded)
        return Ingested(len(entries), duplicate=not recorded)

    def _check_in_time(self, event: BackendEvent, entries: Sequence[Entry], now: int, *, recorded: bool) -> None:
        """Raise InvalidEvent if an event was recorded when it was not worth hearing any more: nobody has been told."""
        if not entries or entries[0].not_after is None:
            return
        recorded_at = now if recorded else event_time_ms(self._outbox.recorded_as(event.event_id))
        late = recorded_at // 1000 - entries[0].not_after
        if late > 0:
            raise InvalidEvent(
                f"detail.delivery.expires_in: ran out {late} s before the event came, by the event's own time, so that "
                "nobody was told; its effect on presence holds. Is the zone of its time right?"
            )

    def _order_checks(self, endpoint: str, asked: Sequence[str], identity: str, ack_within: int) -> None:
        """Have somebody look in time whether an event was acknowledged; at once for who has no connection."""
        connected = {user.user_id for user in self._users.get_many(asked) if user.connection_ids}
        away = [user_id for user_id in asked if user_id not in connected]
        present = [user_id for user_id in asked if user_id in connected]
        if away:
            self._deadlines.send(acknowledged(identity, endpoint, away, "not_connected"))
        if present:
            order = acknowledged(identity, endpoint, present, "not_acknowledged")
            self._deadlines.send(order, delay_seconds=ack_within)

    def _entries(self, event: BackendEvent, now: int) -> list[Entry]:
        if event.to is None:
            return []
        endpoint = messages.ENDPOINT_OF[event.kind]
        audiences = (
            everyone(endpoint, self._shards)
            if event.to == "everyone"
            else [personal(endpoint, user_id) for user_id in event.to]
        )
        identity = make_event_id(now, event.event_id)
        data = {name: id_as_json(value) if name in ID_FIELDS else value for name, value in event.data.items()}
        message = messages.encode(event.kind, data, event.at_ms, identity, ack=event.ack_within_s is not None)
        return [
            Entry(
                audience=audience,
                event_id=identity,
                kind=event.kind,
                message=message,
                expires_at=now // 1000 + self._history_seconds,
                not_after=event.at_ms // 1000 + event.expires_in_s if event.expires_in_s else None,
            )
            for audience in audiences
        ]

    def _ends_of_sessions(self, event: BackendEvent, now: int) -> list[Entry]:
        """Return what tells a user's present connections that they are over, and closes them."""
        user = self._users.get(event.data["user_id"])
        sessions = self._connections.sessions(user.connection_ids) if user else []
        message = messages.encode_error(AuthFailed("Session revoked"), event.at_ms)
        return [
            Entry(
                audience=direct(connection.connection_id),
                event_id=make_event_id(now, event.event_id),
                kind="error",
                message=message,
                expires_at=now // 1000 + self._history_seconds,
                endpoint=connection.endpoint,
                connected_at=connection.connected_at,
                close=True,
            )
            for connection in (session.connection for session in sessions)
        ]

    def _effects(self, event: BackendEvent, now: int) -> list[dict[str, Any]]:
        """Return the updates of users that an event brings about."""
        users, data = self._users, event.data
        match event.kind:
            case "call_started" | "call_ended":
                participants = frozenset({data["user_id"], data["listener_id"]})
                ongoing = event.kind == "call_started"
                return self._calls.changing(users, data["call_id"], participants, now, ongoing=ongoing)
            case "status_change":
                return [users.busying(data["user_id"], now, busy=data["is_busy"])]
            case "user_blocked" | "user_unblocked":
                hidden = event.kind == "user_blocked"
                return [users.hiding(data["user_id"], frozenset(event.to or ()), now, hidden=hidden)]
            case _:
                return []
