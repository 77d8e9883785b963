"""Ingest a backend's event: record it for each audience, with its effects on presence, once and in a transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from realtime import messages
from realtime.acknowledgement_checks import order_checks
from realtime.audiences import everyone, personal
from realtime.aws.queues import Queue
from realtime.backend_events import ID_FIELDS, BackendEvent, validate
from realtime.errors import AuthFailed, InvalidEvent
from realtime.ids import event_time_ms, id_as_json, make_event_id
from realtime.revocation import last_frames, revoke
from realtime.tables import Tables
from realtime.tables.calls import CallEnded, OtherParticipants, Report
from realtime.tables.entries import Entry
from realtime.tables.outbox import Recorded
from realtime.tables.transactions import TRANSACTION_LIMIT, Write
from realtime.tables.users import FEW_BLOCKS, ManyBlocks
from realtime.text import describe_value, loads, make_storable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_EARLIEST_MS = (datetime(2000, 1, 1, tzinfo=UTC) - _EPOCH) // _MILLISECOND
_OF_CALLS = frozenset({"call_started", "call_ended"})  # recorded in the call's own item, which saves a write
AHEAD_MS = 300_000  # how far a sender's clock may be ahead of ours


def parse_body(body: str) -> Mapping[str, Any]:
    """Return EventBridge's event from the body of a message of the queue.

    Raises InvalidEvent if it is no event.
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


def describe(event: Mapping[str, Any]) -> dict[str, str]:
    """Return what may be logged of an event, which never includes its data."""
    return {"detail_type": make_storable(str(event["detail-type"]), 100)}


def read_event(event: Mapping[str, Any]) -> BackendEvent:
    """Read and validate EventBridge's event.

    Raises InvalidEvent.
    """
    return validate(
        event.get("id"),
        event.get("source"),
        event.get("detail-type"),
        event.get("detail"),
        _time_ms(event.get("time")),
    )


def _time_ms(text: object) -> int:
    """Return an event's own time.

    Raises InvalidEvent if it is no time, or one before 2000: such a clock was never set. `ingest` judges times in the
    future.
    """
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidEvent(f"time: must be RFC 3339, such as 2024-01-15T10:30:00Z; not {describe_value(text)}")
    at_ms = (moment - _EPOCH) // _MILLISECOND
    if at_ms < _EARLIEST_MS:
        raise InvalidEvent(f"time: {describe_value(text)} is before 2000; is the sender's clock right?")
    return at_ms


@dataclass(frozen=True, slots=True)
class Ingested:
    """The outcome of an event: the id that clients get, the number of audiences, whether it was recorded before."""

    event_id: str | None  # None if it has no audience
    audiences: int
    duplicate: bool


class Ingestion:
    """Record backends' events."""

    def __init__(self, tables: Tables, deadlines: Queue, *, shards: int, history_seconds: int) -> None:
        self._tables = tables
        self._deadlines = deadlines
        self._shards = shards
        self._history_seconds = history_seconds

    def ingest(self, event: BackendEvent, now_ms: int) -> Ingested:
        """Record an event and its effects; `now_ms` is when it is recorded, which orders it among others.

        Raises InvalidEvent if its own time is in the future, or if by that time it had expired when it came. An expired
        event is recorded nevertheless: it has its effects, and its acknowledgements are checked.
        """
        if event.at_ms > now_ms + AHEAD_MS:
            ahead_s = (event.at_ms - now_ms) // 1000
            raise InvalidEvent(
                f"time: {ahead_s} s ahead of now; is the sender's clock right, and the zone of its time?"
            )
        is_revocation = event.kind == "session_revoked"
        entries = self._last_frames(event, now_ms) if is_revocation else self._entries(event, now_ms)
        acknowledging = event.to if event.ack_within_s and isinstance(event.to, tuple) else ()
        recorded = self._record(event, entries, acknowledging, now_ms)
        if acknowledging and event.ack_within_s and recorded.event_id:
            # For a duplicate, too: when the event was recorded, `ingest` may have failed before it ordered the checks.
            endpoint = messages.ENDPOINT_OF[event.kind]
            order_checks(
                self._deadlines, self._tables.users, recorded.event_id, endpoint, acknowledging, event.ack_within_s
            )
        _check_in_time(entries, recorded, now_ms)
        return Ingested(recorded.event_id, len(entries), duplicate=not recorded.is_new)

    def _record(
        self,
        event: BackendEvent,
        entries: Sequence[Entry],
        acknowledging: Sequence[str],
        now_ms: int,
        in_call: frozenset[str] | None = None,
    ) -> Recorded:
        """Record an event; `in_call` are the participants that its call has, if they are not those of the event."""
        awaits: list[Write] = []
        if acknowledging:
            first = entries[0]
            awaits = self._tables.acknowledgements.await_writes(acknowledging, first.event_id, first.expires_at_s)
        put_once = self._tables.outbox.put_once
        try:
            effects = [*self._effects(event, entries, now_ms, in_call), *awaits]
            return put_once(event.event_id, now_ms, entries, effects, is_marked=event.kind in _OF_CALLS)
        except OtherParticipants as others:  # of the event that came before
            return self._record(event, entries, acknowledging, now_ms, others.participants)
        except CallEnded:  # clients still receive its start, but it makes nobody busy
            return put_once(event.event_id, now_ms, entries, awaits)
        except ManyBlocks:
            last, lists = self._listed_blocks(event, now_ms)
            effects = [*chain.from_iterable(lists), last, *awaits]
            if 1 + len(effects) + len(entries) <= TRANSACTION_LIMIT:
                return put_once(event.event_id, now_ms, entries, effects)
            return put_once(event.event_id, now_ms, entries, [last, *awaits], earlier=lists)

    def _entries(self, event: BackendEvent, now_ms: int) -> list[Entry]:
        if event.to is None:
            return []
        endpoint = messages.ENDPOINT_OF[event.kind]
        audiences = (
            everyone(endpoint, self._shards)
            if event.to == "everyone"
            else [personal(endpoint, user_id) for user_id in event.to]
        )
        event_id = make_event_id(now_ms, event.event_id)
        data = {name: id_as_json(value) if name in ID_FIELDS else value for name, value in event.data.items()}
        message = messages.encode(event.kind, data, event.at_ms, event_id, ack=event.ack_within_s is not None)
        return [
            Entry(
                audience=audience,
                event_id=event_id,
                kind=event.kind,
                message=message,
                expires_at_s=now_ms // 1000 + self._history_seconds,
                not_after_s=event.at_ms // 1000 + event.expires_in_s if event.expires_in_s else None,
            )
            for audience in audiences
        ]

    def _last_frames(self, event: BackendEvent, now_ms: int) -> Sequence[Entry]:
        """Revoke a user's tokens; return the entries that tell the connections of this moment, and close them."""
        at_ms = min(event.at_ms, now_ms)
        if event.has_key:  # a later event with the same key must not revoke the tokens that were issued in between
            at_ms = self._tables.outbox.first_time_ms(event.event_id, at_ms, now_ms // 1000)
        sessions = revoke(self._tables, event.data["user_id"], at_ms // 1000)
        frame = messages.encode_error(AuthFailed("Session revoked"), event.at_ms)
        event_id = make_event_id(now_ms, event.event_id)
        return last_frames(sessions, frame, event_id, now_ms // 1000 + self._history_seconds)

    def _effects(
        self, event: BackendEvent, entries: Sequence[Entry], now_ms: int, in_call: frozenset[str] | None
    ) -> list[Write]:
        """Return the writes by which an event changes users and calls."""
        users, data = self._tables.users, event.data
        match event.kind:
            case "call_started" | "call_ended":
                participants = frozenset({data["user_id"], data["listener_id"]})
                ongoing = event.kind == "call_started"
                report = Report(event.event_id, entries[0].event_id)
                return self._tables.calls.call_writes(
                    data["call_id"], participants, now_ms, ongoing=ongoing, report=report, before=in_call
                )
            case "status_change":
                return [users.busy_write(data["user_id"], now_ms, busy=data["is_busy"])]
            case "user_blocked" | "user_unblocked":
                blocked, others = event.kind == "user_blocked", frozenset(event.to or ())
                if len(others) > FEW_BLOCKS:
                    raise ManyBlocks("no room for so many blocks")
                return [
                    users.block_write(data["user_id"], others, now_ms, blocked=blocked),
                    *self._tables.blocks.writes(data["user_id"], sorted(others), blocked=blocked),
                ]
            case _:
                return []

    def _listed_blocks(self, event: BackendEvent, now_ms: int) -> tuple[Write, list[list[Write]]]:
        """Return how a user with many blocks gets more or fewer: the write of the user, and groups of earlier ones."""
        user_id, others, blocked = event.data["user_id"], frozenset(event.to or ()), event.kind == "user_blocked"
        lists = self._tables.blocks.groups_of_writes(user_id, sorted(others), blocked=blocked)
        return self._tables.users.listed_block_write(user_id, others, now_ms, blocked=blocked), lists


def _check_in_time(entries: Sequence[Entry], recorded: Recorded, now_ms: int) -> None:
    """Raise InvalidEvent if an event had expired when it was recorded: no client received it."""
    if not entries or entries[0].not_after_s is None:
        return
    recorded_ms = now_ms if recorded.is_new else event_time_ms(recorded.event_id)
    late_s = recorded_ms // 1000 - entries[0].not_after_s
    if late_s > 0:
        raise InvalidEvent(
            f"detail.delivery.expires_in: ran out {late_s} s before the event came, by the event's own time, so that "
            "nobody was told; its effect on presence holds. Is the zone of its time right?"
        )
