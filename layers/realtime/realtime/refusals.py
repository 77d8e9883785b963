"""Close a registered connection with a last message that tells the client the reason."""

from __future__ import annotations

from typing import Protocol

from realtime import messages
from realtime.audiences import direct
from realtime.errors import ClientError
from realtime.ids import make_event_id
from realtime.tables.entries import Entry
from realtime.tables.outbox import Outbox

_HISTORY_SECONDS = 60  # nobody asks for a last message again


class Addressee(Protocol):
    """The connection that gets the message: a Connection, a Handshake; times since the epoch."""

    @property
    def connection_id(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def connected_at_ms(self) -> int: ...


def last_message(connection: Addressee, kind: str, frame: str, now_ms: int) -> Entry:
    """Return the entry of a connection's last frame, which also closes the connection."""
    return Entry(
        audience=direct(connection.connection_id),
        event_id=make_event_id(now_ms, kind, connection.connection_id),
        kind=kind,
        message=frame,
        expires_at_s=now_ms // 1000 + _HISTORY_SECONDS,
        stage=connection.stage,
        connected_at_ms=connection.connected_at_ms,
        close=True,
    )


def refuse(outbox: Outbox, connection: Addressee, problem: ClientError, now_ms: int) -> None:
    """Record an `error` frame that closes a registered connection."""
    close(outbox, connection, "error", messages.encode_error(problem, now_ms), now_ms)


def close(outbox: Outbox, connection: Addressee, kind: str, frame: str, now_ms: int) -> None:
    """Record a last frame that closes a registered connection; `broadcast` posts it and closes."""
    outbox.put(last_message(connection, kind, frame, now_ms))
